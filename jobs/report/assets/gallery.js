// The gallery: groups of one rule, each an image that stays and images that were removed for it.

const DOUBTFUL = 0.005; // a similarity that is less than this above T is highlighted

function gallery(host) {
  let rule = data.published;
  let label = "";
  let order = "close";
  const groups = paging(18, "groups", { class: "groups" }, group);
  const status = make("p", { class: "says-count", role: "status" });
  const rules = chooser("Rule", data.rules.map((each, index) => [each.title, index]), rule,
    (value) => { rule = Number(value); labels(); show(); });
  const classes = chooser("Class", [], label, (value) => { label = value; show(); });
  const sorts = chooser("Sort",
    [["closest to T first", "close"], ["largest first", "size"]], order,
    (value) => { order = value; show(); });
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

  const closest = (row) => row[3][0][2];

  function show() {
    const { rows, total } = data.groups[rule];
    const selected = label === "" ? rows.slice() : rows.filter((row) => row[0] === Number(label));
    selected.sort(order === "size" ? (a, b) => b[2] - a[2] || closest(a) - closest(b)
      : (a, b) => closest(a) - closest(b));
    status.textContent = label === ""
      ? `shown: ${count(rows.length)} of ${counted(total, "group", "groups")}`
        + (rows.length < total ? "; all are in the table selection" : "")
      : `${count(selected.length)} of the ${counted(rows.length, "group", "groups")} shown`;
    groups.set(selected);
  }

  function group([number, kept, removed, members]) {
    const items = members.map(([image, similarity, margin, ownLabel]) => pairItem(
      "stays", kept, "removed", image, similarity, `T ${cosine(similarity - margin)}`,
      [data.labels[number], data.labels[ownLabel ?? number]]));
    const shown = members.map(([image, similarity, margin], index) => make("li", {},
      make("button", { type: "button", onclick: () => viewer.open(items, index) },
        picture(image, "removed"),
        make("span", { class: margin < DOUBTFUL ? "sim close" : "sim" }, cosine(similarity)))));
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
  show();
}
