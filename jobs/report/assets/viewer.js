// A dialog that shows one or two images large, side by side. Arrow keys go through the list that it
// was opened from.

const viewer = (() => {
  const title = make("h2", { id: "h-viewer", "aria-live": "polite" });
  const pair = make("div", { class: "big" });
  const previous = button("← Previous", () => step(-1));
  const next = button("Next →", () => step(1));
  const dialog = make("dialog", { "aria-labelledby": "h-viewer" },
    make("div", { class: "top" }, title, button("Close", () => dialog.close())),
    pair,
    make("div", { class: "pages" }, previous, make("span", {}), next));
  let items = [];
  let index = 0;

  // Shows the current item: { title, sides: [{ number, role, label }] }.
  function show() {
    const item = items[index];
    title.textContent = item.title;
    pair.replaceChildren(...item.sides.map((side) => make("figure", {},
      picture(side.number, side.role),
      make("figcaption", {}, make("b", {}, side.role + (side.label ? ` · ${side.label}` : "")),
        data.names[side.number]))));
    dialog.querySelector(".pages span").textContent = `${index + 1} of ${items.length}`;
    previous.disabled = index === 0;
    next.disabled = index === items.length - 1;
  }

  function step(change) {
    const target = index + change;
    if (target < 0 || target >= items.length) return;
    index = target;
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
    open(list, first) {
      items = list;
      index = first;
      show();
      dialog.showModal();
    },
  };
})();
