// Makes elements, numbers as people write them, and pictures. Names of images and classes only ever
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
const counted = (number, singular, plural) =>
  `${count(number)} ${number === 1 ? singular : plural}`;

// Returns the picture of an image by its number, or its id if there is none. The alternative text is
// the id, with `role` before it.
function picture(number, role) {
  const name = data.names[number];
  const encoded = data.pictures[number];
  const text = role ? `${role}: ${name}` : name;
  if (!encoded) {
    return make("span", { class: "blank", role: "img", "aria-label": text, title: name }, name);
  }
  return make("img", {
    class: "picture", src: `data:image/jpeg;base64,${encoded}`, alt: text, title: name,
    width: 64, height: 64, decoding: "async",
  });
}

let choosers = 0;

// Returns a select and the field that holds it and its label. options: [text, value] of each.
function chooser(label, options, value, changed) {
  choosers += 1;
  const id = `chooser-${choosers}`;
  const select = make("select", { id, onchange: () => changed(select.value) });
  for (const [text, key] of options) {
    select.append(make("option", { value: key, selected: String(key) === String(value) }, text));
  }
  return { select, field: make("div", { class: "field" }, make("label", { for: id }, label), select) };
}

const button = (text, pressed, attributes = {}) =>
  make("button", { type: "button", onclick: pressed, ...attributes }, text);
