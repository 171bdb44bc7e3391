// Returns a list that shows one page of `size` items at a time; `card` makes the element of an item.

function paging(size, name, attributes, card) {
  const list = make("ul", attributes);
  const status = make("span", { "aria-live": "polite" });
  const previous = button("← Previous", () => turn(-1), { "aria-label": `Previous page of ${name}` });
  const next = button("Next →", () => turn(1), { "aria-label": `Next page of ${name}` });
  const pages = make("div", { class: "pages" }, previous, status, next);
  const host = make("div", {}, list, pages);
  let items = [];
  let page = 0;

  function show() {
    const last = Math.max(Math.ceil(items.length / size) - 1, 0);
    const from = page * size;
    const shown = items.slice(from, from + size);
    list.replaceChildren(...shown.map((item, index) => make("li", {}, card(item, from + index, items))));
    status.textContent = `Page ${page + 1} of ${last + 1}`;
    previous.disabled = page === 0;
    next.disabled = page === last;
    pages.hidden = last === 0;
  }

  // A button that is disabled at the first or last page loses the focus: the other one gets it.
  function turn(step) {
    const last = Math.ceil(items.length / size) - 1;
    if (page + step < 0 || page + step > last) return;
    page += step;
    show();
    if (document.activeElement === document.body) (next.disabled ? previous : next).focus();
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
