// One class at a time: its marginal densities, its similarities, its heat map.

const WIDE = 320;
const HIGH = 150;
const FOOT = 20;

function classes(host) {
  if (!data.classes) return;
  let label = data.images.indexOf(Math.max(...data.images));
  let rule = data.published;
  const chosen = chooser("Class", data.labels.slice(0, data.classes).map((name, place) => [name, place]),
    label, (value) => { label = Number(value); show(); });
  const drawn = data.rules.map((_, place) => place)
    .filter((place) => place === data.published || data.densities.some((row) => place in row[5]));
  const rules = chooser("Rule", drawn.map((place) => [data.rules[place].title, place]), rule,
    (value) => { rule = Number(value); show(); });
  const back = button("←", () => step(-1), { "aria-label": "Previous class" });
  const on = button("→", () => step(1), { "aria-label": "Next class" });
  const plots = make("div", { class: "plots" });
  const alike = make("div", { class: "plots two" });
  const legend = make("p", { class: "key" },
    make("span", {}, make("i", {}), "before removal"),
    make("span", {}, make("i", { class: "after" }), "after, on the same grid"));
  const said = make("p", { class: "note", role: "status" });
  host.append(make("div", { class: "tools" }, back, chosen.field, on, rules.field), said, legend, plots, alike);

  function step(by) {
    label = (label + by + data.classes) % data.classes;
    chosen.select.value = String(label);
    show();
  }

  function show() {
    const [kept, all] = [data.rules[rule].of_class[label], data.images[label]];
    said.textContent = `${data.labels[label]}: ${count(kept)} of ${count(all)} images stay `
      + `(${percent(kept / all)}) at ${data.rules[rule].title}.`;
    const rows = data.densities.filter((row) => row[0] === label);
    const space = data.rules[rule].space;
    const similar = data.similarities.filter((row) => row.class === label);
    similar.sort((a, b) => (b.space === space) - (a.space === space));
    plots.replaceChildren(...rows.map(marginal));
    alike.replaceChildren(...similar.map(histogram), ...similar.filter((row) => row.map).map(heat));
    legend.hidden = !rows.length;
    if (!rows.length && !similar.length) {
      plots.append(make("p", { class: "note" }, "This class has no component: its images are one, or all alike."));
    }
  }

  // The quadratic B-spline curve with control points (t_i, p_i / h): the density itself, exactly.
  function curve(first, counts, step, x, y) {
    const n = counts.reduce((sum, number) => sum + number, 0);
    const heights = [0, ...counts.map((number) => number / n / step), 0];
    let path = `M${x(first - 1.5)} ${y(0)}`;
    heights.forEach((height, place) => {
      const next = heights[place + 1] ?? 0;
      path += `Q${x(first - 1 + place)} ${y(height)} ${x(first - 0.5 + place)} ${y((height + next) / 2)}`;
    });
    return path;
  }

  function marginal([, component, origin, step, counts, after]) {
    const now = after[rule];
    const n = counts.reduce((sum, number) => sum + number, 0);
    const tops = [Math.max(...counts) / n];
    if (now) tops.push(Math.max(...now[1]) / now[1].reduce((sum, number) => sum + number, 0));
    const top = Math.max(...tops) / step;
    const cells = counts.length + 3;
    const x = (cell) => (((cell + 2) / cells) * WIDE).toFixed(2);
    const y = (height) => (HIGH - (height / top) * (HIGH - 8)).toFixed(2);
    const plot = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH + FOOT}`, role: "img",
      "aria-label": `Density of ${data.labels[label]} along component ${component}, before and after removal` });
    plot.append(draw("path", { class: "area", d: `${curve(0, counts, step, x, y)}Z` }));
    if (now) plot.append(draw("path", { class: "line", d: curve(now[0], now[1], step, x, y) }));
    axis(plot, origin - 2 * step, origin + (counts.length + 1) * step);
    const modes = data.modes.find((row) => row[0] === label && row[1] === component);
    const at = modes && modes[2] > 1 ? modes[3] : [];
    for (const position of at) {
      const left = x((position - origin) / step);
      plot.append(draw("path", { class: "mode", d: `M${left} ${HIGH - 1}l-5 -8h10z` }));
    }
    return figure(`Component ${component}`, at.length > 1 ? `${at.length} stable modes` : "", plot);
  }

  function axis(plot, low, high, ticks = 5) {
    plot.append(draw("line", { class: "axis", x1: 0, x2: WIDE, y1: HIGH, y2: HIGH }));
    const rough = (high - low) / ticks;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let tick = Math.ceil(low / step); tick * step <= high; tick += 1) {
      const left = ((tick * step - low) / (high - low)) * WIDE;
      const anchor = left < 10 ? "start" : left > WIDE - 10 ? "end" : "middle";
      plot.append(draw("text", { class: "tick", x: left.toFixed(1), y: HIGH + 15, "text-anchor": anchor },
        (tick * step).toFixed(digits).replace("-", "−")));
    }
  }

  function histogram(row) {
    const { origin, step, counts } = row;
    const end = origin + counts.length * step;
    const high = Math.log1p(Math.max(...counts));
    const width = WIDE / counts.length;
    const plot = draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH + FOOT}`, role: "img",
      "aria-label": `Similarities of pairs of ${data.labels[label]}, ${row.space}` });
    counts.forEach((number, place) => {
      if (!number) return;
      const tall = (Math.log1p(number) / high) * (HIGH - 8);
      plot.append(draw("rect", { class: "cells", x: (place * width).toFixed(2), y: (HIGH - tall).toFixed(2),
        width: Math.max(width - 0.5, 0.5).toFixed(2), height: tall.toFixed(2) }));
    });
    axis(plot, origin, end);
    for (const one of data.rules.filter((other) => other.space === row.space)) {
      const cut = one.found ? Number.parseFloat(one.found[label]) : one.threshold;
      if (!(cut >= origin && cut <= end)) continue;
      const left = (((cut - origin) / (end - origin)) * WIDE).toFixed(2);
      plot.append(draw("line", { class: "cut", x1: left, x2: left, y1: 0, y2: HIGH },
        draw("title", {}, one.title)));
    }
    return figure(`Similarities, ${row.space}`, `${count(row.sampled)} images, log scale; dashed: T`, plot);
  }

  function heat(row) {
    const map = make("img", { class: "map", src: `data:image/png;base64,${row.map}`,
      alt: `Heat map of the similarities of the first ${row.side} images of ${data.labels[label]}` });
    const ramp = make("div", { class: "ramp" }, row.low.toFixed(2).replace("-", "−"), make("i", {}), "1");
    return figure(`Heat map, ${row.space}`, `the first ${row.side} images in order`, map, ramp);
  }

  const figure = (title, more, ...content) =>
    make("figure", { class: "plot" },
      make("figcaption", {}, make("b", {}, title), make("span", {}, more)), ...content);

  show();
}
