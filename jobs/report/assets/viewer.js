// Two images large, side by side, in a dialog: arrow keys go through the list it was opened from.

const viewer = (() => {
  const title = make("h2", { id: "h-viewer", "aria-live": "polite" });
  const pair = make("div", { class: "big" });
  const back = button("← Previous", () => step(-1));
  const on = button("Next →", () => step(1));
  const dialog = make("dialog", { "aria-labelledby": "h-viewer" },
    make("div", { class: "top" }, title, button("Close", () => dialog.close())),
    pair,
    make("div", { class: "pages" }, back, make("span", {}), on));
  let items = [];
  let place = 0;

  // An item: { title, sides: [{ number, role, label }] }.
  function show() {
    const item = items[place];
    title.textContent = item.title;
    pair.replaceChildren(...item.sides.map((side) => make("figure", {},
      picture(side.number, side.role),
      make("figcaption", {}, make("b", {}, side.role + (side.label ? ` · ${side.label}` : "")),
        data.names[side.number]))));
    dialog.querySelector(".pages span").textContent = `${place + 1} of ${items.length}`;
    back.disabled = place === 0;
    on.disabled = place === items.length - 1;
  }

  function step(by) {
    const next = place + by;
    if (next < 0 || next >= items.length) return;
    place = next;
    show();
  }

  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);

  return {
    open(list, at) {
      items = list;
      place = at;
      show();
      dialog.showModal();
    },
  };
})();
