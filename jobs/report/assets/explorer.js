// The threshold explorer: steps through the rules that were computed, without interpolation.

const MOST_STOPS = 7; // names under the slider; if there are more, only the current one is shown

function explorer(host) {
  const spaces = [...new Set(data.rules.map((rule) => rule.space))];
  let space = data.rules[data.published].space;
  let order = "least";
  let doubt = "overlap";
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
  const doubts = chooser("Order of the pairs",
    [["least overlap first", "overlap"], ["weakest registration first", "registration"]],
    doubt, (value) => { doubt = value; examples(); });
  const segments = make("div", { class: "segments", role: "group", "aria-label": "Space" },
    ...spaces.map((name) => button(name, () => choose(name), { "data-space": name })));

  host.append(make("div", { class: "panel" },
    spaces.length > 1 ? segments : null,
    reading, slider, stops,
    make("div", { class: "split" },
      make("div", {}, make("h3", {}, "What stays of each class"),
        make("div", { class: "tools" }, sort.field), bars.host),
      make("div", {}, pairsTitle, make("div", { class: "tools" }, doubts.field), none, pairs))));

  const current = () => rules[Number(slider.value)];

  function choose(name) {
    space = name;
    for (const item of segments.children) {
      item.setAttribute("aria-pressed", String(item.dataset.space === name));
    }
    rules = data.rules.map((_, index) => index).filter((index) => data.rules[index].space === name);
    slider.max = rules.length - 1;
    slider.value = Math.max(rules.indexOf(data.published), 0);
    stops.replaceChildren(...rules.map((index, step) => {
      const stop = make("li", {}, make("span", {}, short(data.rules[index])));
      stop.style.left = `${(100 * step) / Math.max(rules.length - 1, 1)}%`;
      return stop;
    }));
    stops.toggleAttribute("data-many", rules.length > MOST_STOPS);
    show();
  }

  function short(rule) {
    if (rule.overlap !== null) return `≥ ${rule.overlap}`;
    return rule.threshold === null ? rule.rule.replace(":", " ") : String(rule.threshold);
  }

  function titleOfPairs(rule) {
    if (rule.overlap !== null) return `Removed pairs with the ${doubt === "overlap" ? "least overlap" : "weakest registration"}`;
    return rule.threshold === null ? "Removed pairs nearest to their T" : `Removed pairs just above ${rule.threshold}`;
  }

  function show() {
    const rule = data.rules[current()];
    const share = data.total ? rule.kept / data.total : 0;
    reading.replaceChildren(
      make("span", { class: "now" }, rule.title),
      make("strong", {}, count(rule.kept)),
      make("span", {}, `of ${count(data.total)} images stay (${percent(share)})`),
      ...(rule.audited ? [make("span", {}, `audited precision ${rule.audited}`)] : []));
    slider.setAttribute("aria-valuetext", `${rule.title}: ${count(rule.kept)} images stay`);
    [...stops.children].forEach((stop, index) =>
      stop.toggleAttribute("data-now", index === Number(slider.value)));
    list();
    examples();
  }

  function list() {
    const { of_class: kept } = data.rules[current()];
    const share = (index) => kept[index] / data.images[index];
    const by = {
      least: (a, b) => share(a) - share(b) || data.images[b] - data.images[a],
      size: (a, b) => data.images[b] - data.images[a],
      name: () => 0,
    };
    bars.set(Array.from({ length: data.classes }, (_, index) => index).sort(by[order]));
  }

  function bar(index) {
    const rule = data.rules[current()];
    const [kept, all] = [rule.of_class[index], data.images[index]];
    const inside = make("span", { class: "fill" });
    inside.style.width = `${(100 * kept) / all}%`;
    const threshold = rule.found ? ` at T = ${rule.found[index]}` : "";
    const row = [
      make("span", { class: "of", title: data.labels[index] }, data.labels[index]),
      make("span", { class: "track", title: percent(kept / all) + threshold }, inside),
      make("span", { class: "n" }, make("b", {}, count(kept)), ` of ${count(all)}`),
    ];
    const parts = document.createDocumentFragment();
    parts.append(...row);
    return parts;
  }

  function examples() {
    const rule = data.rules[current()];
    const isProved = rule.overlap !== null;
    const rows = isProved && doubt === "registration" ? data.weakest[current()] : data.examples[current()];
    doubts.field.parentElement.hidden = !isProved;
    pairsTitle.textContent = titleOfPairs(rule);
    none.textContent = rows.length ? "The most doubtful removals: are they still the same?"
      + (isProved ? " Open a pair to lay one picture over the other." : "")
      : "No example pair: nothing was removed, or the page shows no pictures.";
    const items = rows.map(([kept, removed, similarity, margin]) =>
      isProved ? provedItem(kept, removed, similarity)
        : pairItem("stays", kept, "removed", removed, similarity,
          rule.threshold === null ? `T ${cosine(similarity - margin)}` : ""));
    pairs.replaceChildren(...items.map((item, index) => make("li", {}, pairCard(item, index, items))));
  }

  choose(space);
}

// Returns what the viewer and the card of a pair show: two images with their roles and labels, the
// similarity, and a note.
function pairItem(role, number, otherRole, other, similarity, note, labels = []) {
  return {
    title: `Similarity ${cosine(similarity)}`, score: cosine(similarity), note,
    sides: [{ number, role, label: labels[0] }, { number: other, role: otherRole, label: labels[1] }],
  };
}

// Returns the same of a removal that registration proved: the overlap takes the similarity's place.
function provedItem(kept, removed, similarity, labels = []) {
  const item = pairItem("stays", kept, "removed", removed, similarity, "", labels);
  const proof = proofOf(removed, kept);
  if (!proof) return item;
  const [score, fit] = [percent(proof.overlap), proof.registration.toFixed(2)];
  return { ...item, title: `Overlap ${score}, registration ${fit}`, score, note: `R ${fit}`, proof };
}

function pairCard(item, index, items) {
  const [left, right] = item.sides;
  return make("button", { type: "button", class: "pair", onclick: () => viewer.open(items, index) },
    make("span", { class: "two" }, picture(left.number, left.role), picture(right.number, right.role)),
    left.label ? make("span", { class: "labels" },
      make("span", { title: left.label }, left.label), make("span", { title: right.label }, right.label)) : null,
    make("span", { class: "under" }, make("b", {}, item.score), make("span", {}, item.note || "")));
}
