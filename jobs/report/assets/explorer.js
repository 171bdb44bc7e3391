// The threshold explorer: steps through the rules that were computed, nothing between them.

const MOST_STOPS = 7; // names under the slider; of more only the current one

function explorer(host) {
  const spaces = [...new Set(data.rules.map((rule) => rule.space))];
  let space = data.rules[data.published].space;
  let order = "least";
  let rules = [];

  const slider = make("input", { type: "range", min: 0, step: 1, "aria-label": "Rule", oninput: show });
  const stops = make("ol", { class: "stops", "aria-hidden": "true" });
  const reading = make("p", { class: "reading", "aria-live": "polite" });
  const bars = paging(24, "classes", { class: "bars" }, bar);
  const pairs = make("ul", { class: "pairs" });
  const pairsTitle = make("h3", {});
  const none = make("p", { class: "note" });
  const sort = chooser("Order of the classes",
    [["fewest stay first", "least"], ["largest first", "size"], ["by name", "name"]],
    order, (value) => { order = value; list(); });
  const segments = make("div", { class: "segments", role: "group", "aria-label": "Space" },
    ...spaces.map((name) => button(name, () => choose(name), { "data-space": name })));

  host.append(make("div", { class: "panel" },
    spaces.length > 1 ? segments : null,
    reading, slider, stops,
    make("div", { class: "split" },
      make("div", {}, make("h3", {}, "What stays of each class"),
        make("div", { class: "tools" }, sort.field), bars.host),
      make("div", {}, pairsTitle, none, pairs))));

  const current = () => rules[Number(slider.value)];

  function choose(name) {
    space = name;
    for (const item of segments.children) {
      item.setAttribute("aria-pressed", String(item.dataset.space === name));
    }
    rules = data.rules.map((_, place) => place).filter((place) => data.rules[place].space === name);
    slider.max = rules.length - 1;
    slider.value = Math.max(rules.indexOf(data.published), 0);
    stops.replaceChildren(...rules.map((place, step) => {
      const stop = make("li", {}, make("span", {}, short(data.rules[place])));
      stop.style.left = `${(100 * step) / Math.max(rules.length - 1, 1)}%`;
      return stop;
    }));
    stops.toggleAttribute("data-many", rules.length > MOST_STOPS);
    show();
  }

  const short = (rule) => (rule.threshold === null ? rule.rule.replace(":", " ") : String(rule.threshold));

  function show() {
    const rule = data.rules[current()];
    const share = data.total ? rule.kept / data.total : 0;
    reading.replaceChildren(
      make("span", { class: "now" }, rule.title),
      make("strong", {}, count(rule.kept)),
      make("span", {}, `of ${count(data.total)} images stay (${percent(share)})`),
      ...(rule.audited ? [make("span", {}, `audited precision ${rule.audited}`)] : []));
    slider.setAttribute("aria-valuetext", `${rule.title}: ${count(rule.kept)} images stay`);
    [...stops.children].forEach((stop, place) =>
      stop.toggleAttribute("data-now", place === Number(slider.value)));
    list();
    examples();
  }

  function list() {
    const { of_class: kept } = data.rules[current()];
    const share = (place) => kept[place] / data.images[place];
    const by = {
      least: (a, b) => share(a) - share(b) || data.images[b] - data.images[a],
      size: (a, b) => data.images[b] - data.images[a],
      name: () => 0,
    };
    bars.set(Array.from({ length: data.classes }, (_, place) => place).sort(by[order]));
  }

  function bar(place) {
    const rule = data.rules[current()];
    const [kept, all] = [rule.of_class[place], data.images[place]];
    const inside = make("span", { class: "fill" });
    inside.style.width = `${(100 * kept) / all}%`;
    const found = rule.found ? ` at T = ${rule.found[place]}` : "";
    const row = [
      make("span", { class: "of", title: data.labels[place] }, data.labels[place]),
      make("span", { class: "track", title: percent(kept / all) + found }, inside),
      make("span", { class: "n" }, make("b", {}, count(kept)), ` of ${count(all)}`),
    ];
    const parts = document.createDocumentFragment();
    parts.append(...row);
    return parts;
  }

  function examples() {
    const rule = data.rules[current()];
    const rows = data.examples[current()];
    pairsTitle.textContent = rule.threshold === null
      ? "Removed pairs nearest to their T" : `Removed pairs just above ${rule.threshold}`;
    none.textContent = rows.length ? "The most doubtful removals: are they still the same?"
      : "No example pair: nothing was removed, or the page shows no pictures.";
    const items = rows.map(([kept, removed, similarity, margin]) =>
      pairItem("stays", kept, "removed", removed, similarity,
        rule.threshold === null ? `T ${cosine(similarity - margin)}` : ""));
    pairs.replaceChildren(...items.map((item, place) => make("li", {}, pairCard(item, place, items))));
  }

  choose(space);
}

// What the viewer shows of a pair, and its card.
function pairItem(role, number, otherRole, other, similarity, more, labels = []) {
  return {
    title: `Similarity ${cosine(similarity)}`, similarity, more,
    sides: [{ number, role, label: labels[0] }, { number: other, role: otherRole, label: labels[1] }],
  };
}

function pairCard(item, place, items) {
  const [one, other] = item.sides;
  return make("button", { type: "button", class: "pair", onclick: () => viewer.open(items, place) },
    make("span", { class: "two" }, picture(one.number, one.role), picture(other.number, other.role)),
    one.label ? make("span", { class: "labels" },
      make("span", { title: one.label }, one.label), make("span", { title: other.label }, other.label)) : null,
    make("span", { class: "under" }, make("b", {}, cosine(item.similarity)), make("span", {}, item.more || "")));
}
