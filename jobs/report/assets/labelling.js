// Asks for the labels of the pairs that were drawn, one key each. The labels stay in this browser
// until they are saved as a CSV for the job `calibrate`.

function csvField(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// A spreadsheet takes a name that begins with one of these characters for a formula, and runs it.
function csvName(text) {
  return /^\s*[=+\-@]|^[\t\r]/.test(text) ? `'${text}` : text;
}

function labelling(host) {
  if (!data.pairs.length) return;
  const key = `latent-dedup labels ${data.pairs_id}`;
  // The pairs come in the order of a hash: whoever stops early has labelled pairs of every stratum.
  const hashed = (text) => {
    let hash = 2166136261;
    for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
    hash = Math.imul(hash ^ (hash >>> 15), 2246822507);
    return (hash ^ (hash >>> 13)) >>> 0;
  };
  const pairs = data.pairs.slice().sort((a, b) => hashed(a[0]) - hashed(b[0]) || (a[0] < b[0] ? -1 : 1));
  const labels = stored();
  const history = [];
  let isLaid = false; // whether one picture is laid over the other where both were registered
  let index = firstUnlabelled(0);

  const status = make("span", { role: "status" });
  const position = make("span", {});
  const bar = make("progress", { max: pairs.length, "aria-label": "Pairs labelled" });
  const shown = make("div", { class: "shown" });
  const mix = mixer("one", "other");
  const lay = button("Lay over ", layOver, { "aria-pressed": "false" });
  const differ = button("Not the same ", () => answer(0), { class: "differ" });
  const same = button("Same ", () => answer(1), { class: "same" });
  const skip = button("Skip ", () => move(1));
  const undo = button("Undo ", back);
  differ.append(make("kbd", {}, "D"));
  same.append(make("kbd", {}, "S"));
  skip.append(make("kbd", {}, "K"));
  undo.append(make("kbd", {}, "U"));
  lay.append(make("kbd", {}, "O"));
  const save = button("Save labels.csv", download, { class: "main" });
  const panel = make("div", {
    class: "panel labelling", tabindex: 0, role: "group",
    "aria-label": "Pair to label: S or right arrow same, D or left arrow not, K skip, U undo, O lay over",
  },
  make("div", { class: "progress" }, status, position), bar, shown, mix.host,
  make("div", { class: "answers" }, differ, same, skip, undo, lay),
  make("div", { class: "save" },
    make("span", {}, "The labels stay in this browser until you save them."), save));
  host.append(panel);

  const keys = {
    s: () => answer(1), ArrowRight: () => answer(1), d: () => answer(0), ArrowLeft: () => answer(0),
    k: () => move(1), u: back, Backspace: back,
    o: layOver, b: () => { if (!mix.host.hidden) mix.toggle(); },
  };
  panel.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || movesSlider(event)) return;
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  function stored() {
    try {
      return new Map(Object.entries(JSON.parse(localStorage.getItem(key) || "{}")));
    } catch {
      return new Map(); // the browser has no storage: the labels last as long as the page is open
    }
  }

  function store() {
    try {
      localStorage.setItem(key, JSON.stringify(Object.fromEntries(labels)));
    } catch {
      // the browser has no storage
    }
  }

  function firstUnlabelled(from) {
    for (let step = 0; step < pairs.length; step += 1) {
      const candidate = (from + step) % pairs.length;
      if (!labels.has(pairs[candidate][0])) return candidate;
    }
    return from % pairs.length;
  }

  function answer(value) {
    const [id] = pairs[index];
    history.push([index, labels.get(id)]);
    labels.set(id, value);
    store();
    index = firstUnlabelled(index + 1);
    show();
  }

  function move(step) {
    history.push([index, labels.get(pairs[index][0])]);
    index = (index + step) % pairs.length;
    show();
  }

  function back() {
    if (!history.length) return;
    const [earlier, before] = history.pop();
    index = earlier;
    if (before === undefined) labels.delete(pairs[earlier][0]);
    else labels.set(pairs[earlier][0], before);
    store();
    show();
  }

  function layOver() {
    isLaid = !isLaid;
    show();
  }

  // Shows both pictures. The numbers of their registration stay away: the answer is to be the eye's.
  function showPictures(left, right) {
    const proof = proofOf(left, right) ?? proofOf(right, left);
    lay.hidden = !proof?.matrix;
    lay.setAttribute("aria-pressed", String(isLaid));
    const laid = proof?.matrix && isLaid ? laidOver(proof, ["one", "other"]) : null;
    const numbers = laid ? [proof.other, proof.image] : [left, right];
    shown.replaceChildren(...numbers.map((number, at) => make("figure", {},
      laid ? laid.pictures[at] : picture(number, "pair"), make("figcaption", {}, data.names[number]))));
    mix.show(laid ? laid.moved : null);
    if (document.activeElement.closest("[hidden]")) panel.focus(); // the keys go on
  }

  function show() {
    const [id, left, right, , label] = pairs[index];
    const sameCount = [...labels.values()].filter((value) => value === 1).length;
    status.textContent = `${count(labels.size)} of ${count(pairs.length)} labelled`
      + (labels.size ? `: ${count(sameCount)} same, ${count(labels.size - sameCount)} not` : "");
    position.textContent = `pair ${index + 1} · ${data.labels[label]}`;
    bar.value = labels.size;
    showPictures(left, right);
    same.setAttribute("aria-pressed", String(labels.get(id) === 1));
    differ.setAttribute("aria-pressed", String(labels.get(id) === 0));
    undo.disabled = !history.length;
    save.disabled = !labels.size;
  }

  function download() {
    const rows = data.pairs.filter(([id]) => labels.has(id)).map(([id, left, right, similarity]) =>
      [id, csvName(data.names[left]), csvName(data.names[right]), String(similarity), String(labels.get(id))]);
    const lines = [["pair_id", "image_id", "other_id", "similarity", "same"], ...rows];
    const text = lines.map((row) => row.map(csvField).join(",")).join("\n");
    const url = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" }));
    const link = make("a", { href: url, download: "labels.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  show();
}
