// The section "Class by class": densities, similarities and heat map of one class at a time.

const WIDTH = 320; // of a plot, px
const HEIGHT = 150; // of a plot above its axis, px
const FOOT = 20; // for the numbers below the axis, px

function classes(host) {
  if (!data.classes) return;
  let label = data.images.indexOf(Math.max(...data.images));
  let rule = data.published;
  const classField = chooser("Class", data.labels.slice(0, data.classes).map((name, index) => [name, index]),
    label, (value) => { label = Number(value); show(); });
  const plotted = data.rules.map((_, index) => index)
    .filter((index) => index === data.published || data.densities.some((row) => index in row[5]));
  const ruleField = chooser("Rule", plotted.map((index) => [data.rules[index].title, index]), rule,
    (value) => { rule = Number(value); show(); });
  const previous = button("←", () => step(-1), { "aria-label": "Previous class" });
  const next = button("→", () => step(1), { "aria-label": "Next class" });
  const plots = make("div", { class: "plots" });
  const similarityPlots = make("div", { class: "plots two" });
  const legend = make("p", { class: "key" },
    make("span", {}, make("i", {}), "before removal"),
    make("span", {}, make("i", { class: "after" }), "after, on the same grid"));
  const status = make("p", { class: "note", role: "status" });
  host.append(make("div", { class: "tools" }, previous, classField.field, next, ruleField.field),
    status, legend, plots, similarityPlots);

  function step(change) {
    label = (label + change + data.classes) % data.classes;
    classField.select.value = String(label);
    show();
  }

  function show() {
    const [kept, all] = [data.rules[rule].of_class[label], data.images[label]];
    status.textContent = `${data.labels[label]}: ${count(kept)} of ${count(all)} images stay `
      + `(${percent(kept / all)}) at ${data.rules[rule].title}.`;
    const rows = data.densities.filter((row) => row[0] === label);
    const space = data.rules[rule].space;
    const similarities = data.similarities.filter((row) => row.class === label);
    similarities.sort((a, b) => (b.space === space) - (a.space === space));
    plots.replaceChildren(...rows.map(marginal));
    similarityPlots.replaceChildren(...similarities.map(histogram),
      ...similarities.filter((row) => row.map).map(heat));
    legend.hidden = !rows.length;
    if (!rows.length && !similarities.length) {
      plots.append(make("p", { class: "note" }, "This class has no component: its images are one, or all alike."));
    }
  }

  // Returns the path of the quadratic B-spline with control points (t_i, p_i / h), which is the
  // density of the model exactly: the curve between two midpoints is one quadratic Bézier.
  function curve(first, counts, step, x, y) {
    const n = counts.reduce((sum, number) => sum + number, 0);
    const heights = [0, ...counts.map((number) => number / n / step), 0];
    let path = `M${x(first - 1.5)} ${y(0)}`;
    heights.forEach((height, cell) => {
      const following = heights[cell + 1] ?? 0;
      path += `Q${x(first - 1 + cell)} ${y(height)} ${x(first - 0.5 + cell)} ${y((height + following) / 2)}`;
    });
    return path;
  }

  function marginal([, component, origin, step, counts, after]) {
    const rest = after[rule];
    const n = counts.reduce((sum, number) => sum + number, 0);
    const tops = [Math.max(...counts) / n];
    if (rest) tops.push(Math.max(...rest[1]) / rest[1].reduce((sum, number) => sum + number, 0));
    const top = Math.max(...tops) / step;
    const cells = counts.length + 3;
    const x = (cell) => (((cell + 2) / cells) * WIDTH).toFixed(2);
    const y = (height) => (HEIGHT - (height / top) * (HEIGHT - 8)).toFixed(2);
    const plot = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + FOOT}`, role: "img",
      "aria-label": `Density of ${data.labels[label]} along component ${component}, before and after removal` });
    plot.append(draw("path", { class: "area", d: `${curve(0, counts, step, x, y)}Z` }));
    if (rest) plot.append(draw("path", { class: "line", d: curve(rest[0], rest[1], step, x, y) }));
    axis(plot, origin - 2 * step, origin + (counts.length + 1) * step);
    const modes = data.modes.find((row) => row[0] === label && row[1] === component);
    const positions = modes && modes[2] > 1 ? modes[3] : [];
    for (const position of positions) {
      const left = x((position - origin) / step);
      plot.append(draw("path", { class: "mode", d: `M${left} ${HEIGHT - 1}l-5 -8h10z` }));
    }
    const note = positions.length > 1 ? `${positions.length} stable modes` : "";
    return figure(`Component ${component}`, note, plot);
  }

  function axis(plot, low, high, ticks = 5) {
    plot.append(draw("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }));
    const rough = (high - low) / ticks;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let tick = Math.ceil(low / step); tick * step <= high; tick += 1) {
      const left = ((tick * step - low) / (high - low)) * WIDTH;
      const anchor = left < 10 ? "start" : left > WIDTH - 10 ? "end" : "middle";
      plot.append(draw("text", { class: "tick", x: left.toFixed(1), y: HEIGHT + 15, "text-anchor": anchor },
        (tick * step).toFixed(digits).replace("-", "−")));
    }
  }

  function histogram(row) {
    const { origin, step, counts } = row;
    const end = origin + counts.length * step;
    const high = Math.log1p(Math.max(...counts));
    const width = WIDTH / counts.length;
    const plot = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + FOOT}`, role: "img",
      "aria-label": `Similarities of pairs of ${data.labels[label]}, ${row.space}` });
    counts.forEach((number, bin) => {
      if (!number) return;
      const barHeight = (Math.log1p(number) / high) * (HEIGHT - 8);
      plot.append(draw("rect", { class: "cells", x: (bin * width).toFixed(2), y: (HEIGHT - barHeight).toFixed(2),
        width: Math.max(width - 0.5, 0.5).toFixed(2), height: barHeight.toFixed(2) }));
    });
    axis(plot, origin, end);
    for (const shown of data.rules.filter((each) => each.space === row.space)) {
      const threshold = shown.found ? Number.parseFloat(shown.found[label]) : shown.threshold;
      if (threshold === null || !(threshold >= origin && threshold <= end)) continue;
      const left = (((threshold - origin) / (end - origin)) * WIDTH).toFixed(2);
      plot.append(draw("line", { class: "cut", x1: left, x2: left, y1: 0, y2: HEIGHT },
        draw("title", {}, shown.title)));
    }
    return figure(`Similarities, ${row.space}`, `${count(row.sampled)} images, log scale; dashed: T`, plot);
  }

  function heat(row) {
    const map = make("img", { class: "map", src: `data:image/png;base64,${row.map}`,
      alt: `Heat map of the similarities of the first ${row.side} images of ${data.labels[label]}` });
    const ramp = make("div", { class: "ramp" }, row.low.toFixed(2).replace("-", "−"), make("i", {}), "1");
    return figure(`Heat map, ${row.space}`, `the first ${row.side} images in order`, map, ramp);
  }

  const figure = (title, note, ...content) =>
    make("figure", { class: "plot" },
      make("figcaption", {}, make("b", {}, title), make("span", {}, note)), ...content);

  show();
}
