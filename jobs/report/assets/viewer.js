// A dialog that shows one or two images large, side by side; where registration proved a removal,
// the removed image also lies over the one that stays. Arrow keys go through the list that it was
// opened from.

const viewer = (() => {
  const title = make("h2", { id: "h-viewer", "aria-live": "polite" });
  const pair = make("div", { class: "big" });
  const previous = button("← Previous", () => step(-1));
  const next = button("Next →", () => step(1));
  const mix = mixer("stays", "removed");
  const evidence = make("div", {});
  const dialog = make("dialog", { "aria-labelledby": "h-viewer", onclose: () => mix.show(null) },
    make("div", { class: "top" }, title, button("Close", () => dialog.close())),
    pair, mix.host, evidence,
    make("div", { class: "pages" }, previous, make("span", {}), next));
  let items = [];
  let index = 0;

  // Shows the current item: { title, sides: [{ number, role, label }], proof }.
  function show() {
    const item = items[index];
    title.textContent = item.title;
    const laid = item.proof?.matrix ? laidOver(item.proof, item.sides.map((side) => side.role)) : null;
    pair.replaceChildren(...item.sides.map((side, at) => make("figure", {},
      laid ? laid.pictures[at] : picture(side.number, side.role),
      make("figcaption", {}, make("b", {}, side.role + (side.label ? ` · ${side.label}` : "")),
        data.names[side.number]))));
    mix.show(laid ? laid.moved : null);
    evidence.replaceChildren(...(item.proof ? [measures(item.proof)] : []));
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
    if (movesSlider(event)) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
    if (event.key.toLowerCase() === "b" && !mix.host.hidden) mix.toggle();
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
