// Groups of one rule: an image that stays and those removed for it.

const DOUBTFUL = 0.005; // of Sim above T: such a number is marked

function gallery(host) {
  let rule = data.published;
  let label = "";
  let order = "close";
  const groups = paging(18, "groups", { class: "groups" }, group);
  const said = make("p", { class: "says-count", role: "status" });
  const rules = chooser("Rule", data.rules.map((one, place) => [one.title, place]), rule,
    (value) => { rule = Number(value); labels(); show(); });
  const classes = chooser("Class", [], label, (value) => { label = value; show(); });
  const sorts = chooser("Sort",
    [["closest to T first", "close"], ["largest first", "size"]], order,
    (value) => { order = value; show(); });
  host.append(make("div", { class: "tools" }, rules.field, classes.field, sorts.field, said), groups.host);

  function labels() {
    const there = new Map();
    for (const [number] of data.groups[rule].rows) there.set(number, (there.get(number) || 0) + 1);
    const known = [...there.keys()].sort((a, b) => (data.labels[a] < data.labels[b] ? -1 : 1));
    if (!there.has(Number(label))) label = "";
    classes.select.replaceChildren(make("option", { value: "" }, "all classes"),
      ...known.map((number) => make("option", { value: number, selected: String(number) === label },
        `${data.labels[number]} (${there.get(number)})`)));
  }

  const closest = (row) => row[3][0][2];

  function show() {
    const { rows, total } = data.groups[rule];
    const some = label === "" ? rows.slice() : rows.filter((row) => row[0] === Number(label));
    some.sort(order === "size" ? (a, b) => b[2] - a[2] || closest(a) - closest(b)
      : (a, b) => closest(a) - closest(b));
    said.textContent = label === ""
      ? `shown: ${count(rows.length)} of ${plural(total, "group", "groups")}`
        + (rows.length < total ? "; all are in the table selection" : "")
      : `${count(some.length)} of the ${plural(rows.length, "group", "groups")} shown`;
    groups.set(some);
  }

  function group([number, kept, removed, members]) {
    const items = members.map(([image, similarity, margin, other]) => pairItem(
      "stays", kept, "removed", image, similarity, `T ${cosine(similarity - margin)}`,
      [data.labels[number], data.labels[other ?? number]]));
    const shown = members.map(([image, similarity, margin], place) => make("li", {},
      make("button", { type: "button", onclick: () => viewer.open(items, place) },
        picture(image, "removed"),
        make("span", { class: margin < DOUBTFUL ? "sim close" : "sim" }, cosine(similarity)))));
    const more = removed - members.length;
    return make("article", { class: "group" },
      make("div", {},
        make("button", { type: "button", class: "kept", onclick: () => viewer.open(items, 0) },
          picture(kept, "stays")),
        make("div", { class: "who", title: data.names[kept] }, data.names[kept])),
      make("div", {},
        make("p", { class: "what" }, make("b", { title: data.labels[number] }, data.labels[number]),
          make("span", {}, `stands for ${count(removed)}`)),
        make("ul", { class: "members" }, ...shown),
        more > 0 ? make("p", { class: "who" }, `and ${count(more)} more`) : null));
  }

  labels();
  show();
}
