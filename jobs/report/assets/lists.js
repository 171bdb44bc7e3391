// The lists of label conflicts, leaks and anomalies, as cards of pictures.

function pairList(host, rows, name) {
  if (!rows.length) return;
  const list = paging(12, name, { class: "pairs" }, pairCard);
  host.className = "large";
  host.append(list.host);
  list.set(rows);
}

function conflicts(host) {
  const rows = data.conflicts.slice().sort((a, b) => b[4] - a[4]);
  pairList(host, rows.map(([left, label, right, otherLabel, similarity]) => pairItem(
    "one", left, "other", right, similarity, "", [data.labels[label], data.labels[otherLabel]])),
  "conflicts");
}

function leaks(host) {
  const rows = data.leaks.slice().sort((a, b) => b[4] - a[4]);
  pairList(host, rows.map(([left, label, right, otherLabel, similarity, split, reference]) => pairItem(
    split || "leaks", left, reference || "reference", right, similarity,
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
  const list = paging(24, "anomalies", { class: "pairs" }, (item, index) => {
    const [side] = item.sides;
    return make("button", { type: "button", class: "pair", onclick: () => viewer.open(items, index) },
      picture(side.number, "anomalous"),
      make("span", { class: "labels one" }, make("span", { title: side.label }, side.label)),
      make("span", { class: "under" },
        make("b", {}, item.density === null ? "−∞" : item.density.toFixed(2).replace("-", "−"))));
  });
  host.className = "singles";
  host.append(list.host);
  list.set(items);
}
