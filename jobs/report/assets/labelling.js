// Labels for the pairs that were drawn: one key each. They stay in this browser until they are
// saved as a CSV for the job `calibrate`.

function labelling(host) {
  if (!data.pairs.length) return;
  const key = `latent-dedup labels ${data.pairs_id}`;
  // A mixed order, the same each time: whoever stops early has labelled some of every stratum.
  const mixed = (text) => {
    let hash = 2166136261;
    for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
    hash = Math.imul(hash ^ (hash >>> 15), 2246822507);
    return (hash ^ (hash >>> 13)) >>> 0;
  };
  const pairs = data.pairs.slice().sort((a, b) => mixed(a[0]) - mixed(b[0]) || (a[0] < b[0] ? -1 : 1));
  const labels = stored();
  const history = [];
  let place = firstOpen(0);

  const said = make("span", { role: "status" });
  const numbered = make("span", {});
  const bar = make("progress", { max: pairs.length, "aria-label": "Pairs labelled" });
  const shown = make("div", { class: "shown" });
  const differ = button("Not the same ", () => answer(0), { class: "differ" });
  const same = button("Same ", () => answer(1), { class: "same" });
  const skip = button("Skip ", () => move(1));
  const undo = button("Undo ", back);
  differ.append(make("kbd", {}, "D"));
  same.append(make("kbd", {}, "S"));
  skip.append(make("kbd", {}, "K"));
  undo.append(make("kbd", {}, "U"));
  const save = button("Save labels.csv", download, { class: "main" });
  const panel = make("div", {
    class: "panel labelling", tabindex: 0, role: "group",
    "aria-label": "Pair to label: S or right arrow same, D or left arrow not, K skip, U undo",
  },
  make("div", { class: "progress" }, said, numbered), bar, shown,
  make("div", { class: "answers" }, differ, same, skip, undo),
  make("div", { class: "save" },
    make("span", {}, "The labels stay in this browser until you save them."), save));
  host.append(panel);

  const keys = {
    s: () => answer(1), ArrowRight: () => answer(1), d: () => answer(0), ArrowLeft: () => answer(0),
    k: () => move(1), u: back, Backspace: back,
  };
  panel.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  function stored() {
    try {
      return new Map(Object.entries(JSON.parse(localStorage.getItem(key) || "{}")));
    } catch {
      return new Map(); // no storage here: the labels live as long as the page is open
    }
  }

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify(Object.fromEntries(labels)));
    } catch {
      // as above
    }
  }

  function firstOpen(from) {
    for (let step = 0; step < pairs.length; step += 1) {
      const at = (from + step) % pairs.length;
      if (!labels.has(pairs[at][0])) return at;
    }
    return from % pairs.length;
  }

  function answer(value) {
    const [id] = pairs[place];
    history.push([place, labels.get(id)]);
    labels.set(id, value);
    keep();
    place = firstOpen(place + 1);
    show();
  }

  function move(by) {
    history.push([place, labels.get(pairs[place][0])]);
    place = (place + by) % pairs.length;
    show();
  }

  function back() {
    if (!history.length) return;
    const [at, before] = history.pop();
    place = at;
    if (before === undefined) labels.delete(pairs[at][0]);
    else labels.set(pairs[at][0], before);
    keep();
    show();
  }

  function show() {
    const [id, one, other, , label] = pairs[place];
    const yes = [...labels.values()].filter((value) => value === 1).length;
    said.textContent = `${count(labels.size)} of ${count(pairs.length)} labelled`
      + (labels.size ? `: ${count(yes)} same, ${count(labels.size - yes)} not` : "");
    numbered.textContent = `pair ${place + 1} · ${data.labels[label]}`;
    bar.value = labels.size;
    shown.replaceChildren(...[one, other].map((number) => make("figure", {},
      picture(number, "pair"), make("figcaption", {}, data.names[number]))));
    same.setAttribute("aria-pressed", String(labels.get(id) === 1));
    differ.setAttribute("aria-pressed", String(labels.get(id) === 0));
    undo.disabled = !history.length;
    save.disabled = !labels.size;
  }

  function download() {
    const field = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const rows = data.pairs.filter(([id]) => labels.has(id)).map(([id, one, other, similarity]) =>
      [id, data.names[one], data.names[other], String(similarity), String(labels.get(id))]);
    const lines = [["pair_id", "image_id", "other_id", "similarity", "same"], ...rows];
    const text = lines.map((row) => row.map(field).join(",")).join("\n");
    const url = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" }));
    const link = make("a", { href: url, download: "labels.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  show();
}
