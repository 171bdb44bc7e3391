// Conflicts, leaks and anomalies: pictures with what is said of them.

function pairList(host, rows, what) {
  if (!rows.length) return;
  const list = paging(12, what, { class: "pairs" }, pairCard);
  host.className = "large";
  host.append(list.host);
  list.set(rows);
}

function conflicts(host) {
  const rows = data.conflicts.slice().sort((a, b) => b[4] - a[4]);
  pairList(host, rows.map(([one, label, other, otherLabel, similarity]) => pairItem(
    "one", one, "other", other, similarity, "", [data.labels[label], data.labels[otherLabel]])),
  "conflicts");
}

function leaks(host) {
  const rows = data.leaks.slice().sort((a, b) => b[4] - a[4]);
  pairList(host, rows.map(([one, label, other, otherLabel, similarity, split, reference]) => pairItem(
    split || "leaks", one, reference || "reference", other, similarity,
    `${split || "–"} → ${reference || "–"}`, [data.labels[label], data.labels[otherLabel]])),
  "leaks");
}

function anomalies(host) {
  if (!data.anomalies.length) return;
  const items = data.anomalies.map(([number, label, density, rank]) => ({
    title: density === null ? "Outside of its class's density" : `Log-density ${density.toFixed(2)}`,
    sides: [{ number, role: `rank ${rank}`, label: data.labels[label] }],
    density,
  }));
  const list = paging(24, "anomalies", { class: "pairs" }, (item, place) => {
    const [side] = item.sides;
    return make("button", { type: "button", class: "pair", onclick: () => viewer.open(items, place) },
      picture(side.number, "anomalous"),
      make("span", { class: "labels one" }, make("span", { title: side.label }, side.label)),
      make("span", { class: "under" },
        make("b", {}, item.density === null ? "−∞" : item.density.toFixed(2).replace("-", "−"))));
  });
  host.className = "singles";
  host.append(list.host);
  list.set(items);
}
