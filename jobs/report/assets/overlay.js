// Lays a picture over another one by their registration. A picture's frame is [−1, 1] from left to
// right and from top to bottom; a matrix [a, b, e, c, d, f] takes (x, y) of the one picture's frame
// to (a·x + b·y + e, c·x + d·y + f) of the other one's.

const FRAME = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
const BLINK = 700; // ms that each picture is seen: slow enough not to flicker

// Returns the registration of an image with the other one, by their numbers; null if there is none.
// Its `matrix` is null if a picture is missing.
function proofOf(image, other) {
  const row = data.proofs[`${image} ${other}`];
  if (!row) return null;
  const [registration, agreement, overlap, scale, rotation, right, down, orientation, ...matrix] = row;
  const isDrawn = matrix.length === 6 && data.pictures[image] && data.pictures[other];
  return {
    image, other, registration, agreement, overlap, scale, rotation, right, down, orientation,
    matrix: isDrawn ? matrix : null,
  };
}

const mapped = ([a, b, e, c, d, f], [x, y]) => [a * x + b * y + e, c * x + d * y + f];

function inverse([a, b, e, c, d, f]) {
  const area = a * d - b * c;
  return [d / area, -b / area, (b * f - d * e) / area, -c / area, a / area, (c * e - a * f) / area];
}

// Returns the part of a convex polygon that lies inside the frame: cut at one edge after the other.
function inFrame(polygon) {
  let points = polygon;
  for (const [axis, edge] of [[0, -1], [0, 1], [1, -1], [1, 1]]) {
    const isInside = (point) => point[axis] * edge <= 1;
    points = points.flatMap((point, index) => {
      const next = points[(index + 1) % points.length];
      const part = (edge - point[axis]) / (next[axis] - point[axis]);
      const crossing = point.map((value, at) => value + part * (next[at] - value));
      return [...(isInside(point) ? [point] : []), ...(isInside(point) === isInside(next) ? [] : [crossing])];
    });
  }
  return points;
}

const wholeImage = (number, attributes = {}) => draw("image", {
  href: `data:image/jpeg;base64,${data.pictures[number]}`, x: -1, y: -1, width: 2, height: 2,
  preserveAspectRatio: "none", ...attributes,
});

// Returns the picture of an image with the outline of the overlap, which `matrix` takes from the
// other image's frame to this one's; over: what lies between picture and outline.
function outlined(number, text, matrix, ...over) {
  const points = inFrame(FRAME.map((corner) => mapped(matrix, corner)))
    .map((point) => point.map((value) => value.toFixed(4)).join(",")).join(" ");
  return draw("svg", { class: "picture laid", viewBox: "-1 -1 2 2", role: "img", "aria-label": text },
    wholeImage(number), ...over,
    draw("polygon", { class: "halo", points }), draw("polygon", { class: "outline", points }));
}

// Returns both pictures of a proof: the other one with the image laid over it, whose element is
// `moved`, and the image itself. roles: of the other one and of the image.
function laidOver(proof, [role, movedRole]) {
  const { image, other, matrix } = proof;
  const [a, b, e, c, d, f] = matrix;
  const moved = wholeImage(image, { class: "moved", transform: `matrix(${[a, c, b, d, e, f].join(" ")})` });
  const shared = `${percent(proof.overlap)} of the ${movedRole} picture`;
  return {
    moved,
    pictures: [
      outlined(other, `${role}: ${data.names[other]}, with the ${movedRole} picture laid over it; `
        + `the outline holds ${shared}`, matrix, moved),
      outlined(image, `${movedRole}: ${data.names[image]}; the outline holds ${shared}`, inverse(matrix)),
    ],
  };
}

// Returns the slider and the button that fade and blink between the two pictures of a proof.
function mixer(role, movedRole) {
  const slider = make("input", {
    type: "range", min: 0, max: 100, step: 5, value: 50, "aria-label": `Opacity of the ${movedRole} picture`,
    oninput: () => { stop(); apply(); },
  });
  const blinking = button("Blink ", toggle, { "aria-pressed": "false" });
  blinking.append(make("kbd", {}, "B"));
  const host = make("div", { class: "mixer", hidden: true },
    make("span", {}, role), slider, make("span", {}, movedRole), blinking);
  let moved = null;
  let timer = 0;
  let before = slider.value;

  function apply() {
    moved?.setAttribute("opacity", String(Number(slider.value) / 100));
    slider.setAttribute("aria-valuetext", `${slider.value} %`);
  }

  function toggle() {
    if (timer) {
      stop();
      slider.value = before;
    } else {
      before = slider.value;
      slider.value = 100;
      timer = setInterval(() => {
        slider.value = slider.value === "100" ? 0 : 100;
        apply();
      }, BLINK);
      blinking.setAttribute("aria-pressed", "true");
    }
    apply();
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    blinking.setAttribute("aria-pressed", "false");
  }

  return {
    host,
    toggle,
    // Takes the element of the picture that lies over the other one; null if there is none.
    show(element) {
      moved = element;
      host.hidden = !element;
      if (!element && timer) toggle();
      apply();
    },
  };
}

// Whether a key that was pressed moves a slider, so that it has no other meaning.
const movesSlider = (event) => event.target.type === "range" && event.key.startsWith("Arrow");

// Returns a length or an angle without its sign, with its direction in words; none for zero.
function directed(number, unit, positive, negative) {
  const size = Math.abs(number).toFixed(1);
  return size === "0.0" ? `0${unit}` : `${size}${unit} ${number < 0 ? negative : positive}`;
}

function orientationText(orientation) {
  const turned = orientation % 4 ? `turned by ${90 * (orientation % 4)}°` : "";
  return [orientation > 3 ? "mirrored" : "", turned].filter(Boolean).join(", ");
}

// Returns the numbers of a proof for people.
function measures(proof) {
  const rows = [
    ["registration", proof.registration.toFixed(3)],
    ["agreement", proof.agreement === null ? "–" : proof.agreement.toFixed(2)],
    ["overlap", percent(proof.overlap)],
    ["scale", proof.scale.toFixed(3)],
    ["rotation", directed(proof.rotation, "°", "anticlockwise", "clockwise")],
    ["shift", `${directed(proof.right, " px", "right", "left")}, ${directed(proof.down, " px", "down", "up")}`],
    ...(proof.orientation ? [["orientation", orientationText(proof.orientation)]] : []),
  ];
  return make("dl", { class: "measures" }, ...rows.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}
