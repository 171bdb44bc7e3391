// Elements, numbers as people write them, and pictures. Names of images and classes only ever
// become text: none is read as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const make = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

const whole = new Intl.NumberFormat("en");
const count = (number) => whole.format(number);
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;
const cosine = (number) => number.toFixed(4);
const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

// A picture by its number; where there is none, the id in its place. `role` stands before the id.
function picture(number, role) {
  const name = data.names[number];
  const coded = data.pictures[number];
  const said = role ? `${role}: ${name}` : name;
  if (!coded) {
    return make("span", { class: "blank", role: "img", "aria-label": said, title: name }, name);
  }
  return make("img", {
    class: "picture", src: `data:image/jpeg;base64,${coded}`, alt: said, title: name,
    width: 64, height: 64, decoding: "async",
  });
}

let choosers = 0;

// A select with its label: [shown, value] of each option.
function chooser(label, options, value, changed) {
  choosers += 1;
  const id = `chooser-${choosers}`;
  const select = make("select", { id, onchange: () => changed(select.value) });
  for (const [shown, key] of options) {
    select.append(make("option", { value: key, selected: String(key) === String(value) }, shown));
  }
  return { select, field: make("div", { class: "field" }, make("label", { for: id }, label), select) };
}

const button = (text, pressed, attributes = {}) =>
  make("button", { type: "button", onclick: pressed, ...attributes }, text);
