// A list of which one page is in the document: pages of `size` items, each drawn by `card`.

function paging(size, what, attributes, card) {
  const list = make("ul", attributes);
  const said = make("span", { "aria-live": "polite" });
  const back = button("← Previous", () => turn(-1), { "aria-label": `Previous page of ${what}` });
  const on = button("Next →", () => turn(1), { "aria-label": `Next page of ${what}` });
  const pages = make("div", { class: "pages" }, back, said, on);
  const host = make("div", {}, list, pages);
  let items = [];
  let page = 0;

  function show() {
    const last = Math.max(Math.ceil(items.length / size) - 1, 0);
    const from = page * size;
    const shown = items.slice(from, from + size);
    list.replaceChildren(...shown.map((item, place) => make("li", {}, card(item, from + place, items))));
    said.textContent = `Page ${page + 1} of ${last + 1}`;
    back.disabled = page === 0;
    on.disabled = page === last;
    pages.hidden = last === 0;
  }

  // Past the last page the focus stays: on a button that can be pressed.
  function turn(by) {
    const last = Math.ceil(items.length / size) - 1;
    if (page + by < 0 || page + by > last) return;
    page += by;
    show();
    if (document.activeElement === document.body) (on.disabled ? back : on).focus();
  }

  pages.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  });

  return {
    host,
    set(list) {
      items = list;
      page = 0;
      show();
    },
  };
}
