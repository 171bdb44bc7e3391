// The gallery: groups of one rule, each an image that stays and images that were removed for it.

// What is less than this above T, or above the least overlap of an overlap rule, is highlighted.
const DOUBTFUL = 0.005;
const DOUBTFUL_OVERLAP = 0.02;

function gallery(host) {
  let rule = data.published;
  let label = "";
  let order = "close";
  const groups = paging(18, "groups", { class: "groups" }, group);
  const status = make("p", { class: "says-count", role: "status" });
  const rules = chooser("Rule", data.rules.map((each, index) => [each.title, index]), rule,
    (value) => { rule = Number(value); labels(); orders(); show(); });
  const classes = chooser("Class", [], label, (value) => { label = value; show(); });
  const sorts = chooser("Sort", [], order, (value) => { order = value; show(); });
  host.append(make("div", { class: "tools" }, rules.field, classes.field, sorts.field, status), groups.host);

  function labels() {
    const sizes = new Map();
    for (const [number] of data.groups[rule].rows) sizes.set(number, (sizes.get(number) || 0) + 1);
    const sorted = [...sizes.keys()].sort((a, b) => (data.labels[a] < data.labels[b] ? -1 : 1));
    if (!sizes.has(Number(label))) label = "";
    classes.select.replaceChildren(make("option", { value: "" }, "all classes"),
      ...sorted.map((number) => make("option", { value: number, selected: String(number) === label },
        `${data.labels[number]} (${sizes.get(number)})`)));
  }

  const isProved = () => data.rules[rule].overlap !== null;

  function orders() {
    const options = isProved()
      ? [["least overlap first", "close"], ["weakest registration first", "fit"]]
      : [["closest to T first", "close"]];
    options.push(["largest first", "size"]);
    if (!options.some(([, value]) => value === order)) order = "close";
    sorts.select.replaceChildren(...options.map(([text, value]) =>
      make("option", { value, selected: value === order }, text)));
  }

  const closest = (row) => row[3][0][2];
  const weakest = ([, kept, , members]) =>
    Math.min(...members.map(([image]) => proofOf(image, kept)?.registration ?? 1));

  function show() {
    const { rows, total } = data.groups[rule];
    const selected = label === "" ? rows.slice() : rows.filter((row) => row[0] === Number(label));
    const by = {
      close: (a, b) => closest(a) - closest(b),
      fit: (a, b) => weakest(a) - weakest(b) || closest(a) - closest(b),
      size: (a, b) => b[2] - a[2] || closest(a) - closest(b),
    };
    selected.sort(by[order]);
    status.textContent = label === ""
      ? `shown: ${count(rows.length)} of ${counted(total, "group", "groups")}`
        + (rows.length < total ? "; all are in the table selection" : "")
      : `${count(selected.length)} of the ${counted(rows.length, "group", "groups")} shown`;
    groups.set(selected);
  }

  function group([number, kept, removed, members]) {
    const items = members.map(([image, similarity, margin, ownLabel]) => {
      const both = [data.labels[number], data.labels[ownLabel ?? number]];
      return isProved() ? provedItem(kept, image, similarity, both)
        : pairItem("stays", kept, "removed", image, similarity, `T ${cosine(similarity - margin)}`, both);
    });
    const doubtful = isProved() ? DOUBTFUL_OVERLAP : DOUBTFUL;
    const shown = members.map(([image, , margin], index) => make("li", {},
      make("button", { type: "button", onclick: () => viewer.open(items, index) },
        picture(image, "removed"),
        make("span", { class: margin < doubtful ? "sim close" : "sim" },
          order === "fit" ? items[index].note : items[index].score))));
    const hidden = removed - members.length;
    return make("article", { class: "group" },
      make("div", {},
        make("button", { type: "button", class: "kept", onclick: () => viewer.open(items, 0) },
          picture(kept, "stays")),
        make("div", { class: "who", title: data.names[kept] }, data.names[kept])),
      make("div", {},
        make("p", { class: "what" }, make("b", { title: data.labels[number] }, data.labels[number]),
          make("span", {}, `stands for ${count(removed)}`)),
        make("ul", { class: "members" }, ...shown),
        hidden > 0 ? make("p", { class: "who" }, `and ${count(hidden)} more`) : null));
  }

  labels();
  orders();
  show();
}
