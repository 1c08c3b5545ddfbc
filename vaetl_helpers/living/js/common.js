// What all living figures share. Python and the pages put this text in front of each figure's own,
// so these are plain functions, and their names must not be used again in a figure.

const LIVING_STYLE = `
.vaetl-living {
  --living-paper: var(--paper, var(--jp-layout-color0, #fff));
  --living-ink: var(--ink, var(--jp-content-font-color1, #1b1f24));
  --living-faint: var(--faint, var(--jp-content-font-color2, #57606a));
  --living-line: var(--line, var(--jp-border-color2, #d0d7de));
  --living-wash: var(--code, var(--jp-layout-color2, #f5f6f8));
  --living-accent: var(--link, var(--jp-content-link-color, #0b57b0));
  container-type: inline-size; color: var(--living-ink); font: 0.92rem/1.45 system-ui, sans-serif;
  max-width: 62rem; margin: 0.5rem 0;
}
.vaetl-living * { box-sizing: border-box; }
.vaetl-living .row { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; align-items: flex-start; }
.vaetl-living .row > * { flex: 1 1 16rem; min-width: 0; }
.vaetl-living .title { font-weight: 600; margin: 0 0 0.4rem; }
.vaetl-living .note { color: var(--living-faint); font-size: 0.88rem; margin: 0.5rem 0 0; }
.vaetl-living .words { margin: 0.7rem 0 0; min-height: 2.9em; font-variant-numeric: tabular-nums; }
.vaetl-living canvas { display: block; width: 100%; }
.vaetl-living .pad { position: relative; touch-action: pan-y; cursor: crosshair; user-select: none; }
.vaetl-living .pad > canvas { border-radius: 8px; }
.vaetl-living .handle {
  position: absolute; width: 44px; height: 44px; margin: -22px 0 0 -22px; border-radius: 50%;
  touch-action: none; cursor: grab; outline: none;
}
.vaetl-living .handle::after {
  content: ""; position: absolute; inset: 11px; border-radius: 50%; background: var(--living-paper);
  border: 3px solid var(--living-accent); box-shadow: 0 1px 5px #0006;
}
.vaetl-living .handle.hollow::after { inset: 14px; background: none; border-width: 2px; border-color: var(--living-ink); }
.vaetl-living .handle:focus-visible::after { outline: 3px solid var(--living-accent); outline-offset: 3px; }
.vaetl-living .handle:active { cursor: grabbing; }
.vaetl-living label.slider {
  display: grid; grid-template-columns: minmax(5rem, auto) 1fr 4.5rem; gap: 0.7rem; align-items: center;
  min-height: 44px;
}
.vaetl-living input[type="range"] {
  width: 100%; min-height: 44px; margin: 0; accent-color: var(--living-accent);
}
.vaetl-living output { text-align: right; font-variant-numeric: tabular-nums; }
.vaetl-living button {
  font: inherit; color: inherit; background: var(--living-wash); border: 1px solid var(--living-line);
  border-radius: 8px; min-height: 44px; min-width: 44px; padding: 0.4rem 0.8rem; cursor: pointer;
}
.vaetl-living .controls { margin: 0.4rem 0 0; }
.vaetl-living .controls label.slider { grid-template-columns: 11.5rem 1fr 4.5rem; }
@container (max-width: 30rem) {
  .vaetl-living .controls label.slider { grid-template-columns: 1fr 4.5rem; }
  .vaetl-living .controls label.slider > span { grid-column: 1 / -1; margin-bottom: -0.9rem; padding-top: 0.4rem; }
}
.vaetl-living .player { display: flex; gap: 1rem; align-items: center; margin: 0.6rem 0 0; }
.vaetl-living .player > button { flex: 0 0 5.5rem; }
.vaetl-living .player > label.slider { flex: 1 1 10rem; grid-template-columns: auto 1fr 2.5rem; }
.vaetl-living .number { font-size: 1.4rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.vaetl-living .row.numbers { gap: 0 0.8rem; }
.vaetl-living .row.numbers > * { flex-basis: 5.5rem; }
.vaetl-living .choice { display: flex; flex-wrap: wrap; gap: 0.4rem; margin: 0 0 0.5rem; }
.vaetl-living button:hover { border-color: var(--living-accent); }
.vaetl-living button[aria-pressed="true"] {
  border-color: var(--living-accent); box-shadow: inset 0 0 0 1px var(--living-accent);
}
.vaetl-living :is(button, input):focus-visible { outline: 2px solid var(--living-accent); outline-offset: 2px; }
@media (forced-colors: active) { .vaetl-living .handle::after { border-color: Highlight; } }
`;

// Colours that can be told apart, the first seven in the order of the course's other figures; one
// list for light paper, one for dark.
const SERIES_ON_LIGHT = ["#0072b2", "#c94f00", "#00805d", "#b0478e", "#7c3aed", "#8a6400", "#c2255c",
  "#0b7f8f", "#5f574f", "#5c7a00"];
const SERIES_ON_DARK = ["#6fb6ff", "#ff9455", "#4fd1a5", "#f09ad0", "#b9a0ff", "#e5bd4f", "#ff86a8",
  "#5fd0df", "#c6bcb0", "#b9d655"];

// ---------------------------------------------------------------- the figure's frame

// A figure's root, its line of words for everyone, and the state that tests read.
// Returns {root, show, close}: call show(state, words) after each drawing.
function stage(el, alt) {
  const root = append(el, "div", { class: "vaetl-living", role: "group", "aria-label": alt });
  // JupyterLab would take the arrow keys for itself.
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  append(root, "style", {}, LIVING_STYLE);
  const words = document.createElement("p");
  setAttributes(words, { class: "words", "aria-live": "polite" });
  const say = unhurried((text) => { words.textContent = text; }, 250);

  function show(state, text) {
    if (!words.isConnected) root.append(words);
    say(text);
    el.dataset.state = JSON.stringify(state);
    el.dispatchEvent(new CustomEvent("vaetl-drawn", { bubbles: true }));
  }

  function close() {
    say.cancel();
    PALETTES.delete(root);
    root.remove();
  }

  return { root, show, close };
}

// The tag, with its attributes and text, as the last child of the parent.
function append(parent, name, attributes = {}, text = "") {
  const tag = document.createElement(name);
  setAttributes(tag, attributes);
  if (text) tag.textContent = text;
  parent.append(tag);
  return tag;
}

function setAttributes(tag, attributes) {
  for (const [name, value] of Object.entries(attributes)) tag.setAttribute(name, value);
}

// Calls at once, and then at most every so many milliseconds, with what came last: a screen reader
// that is told sixty things a second says none of them.
function unhurried(call, milliseconds) {
  let timer = 0;
  let waiting = null;

  function next() {
    timer = 0;
    if (waiting === null) return;
    const value = waiting;
    waiting = null;
    call(value);
    timer = setTimeout(next, milliseconds);
  }

  function ask(value) {
    waiting = value;
    if (!timer) next();
  }

  ask.cancel = () => clearTimeout(timer);
  return ask;
}

// A function that asks for a drawing in the next frame, however often it is called until then.
function inNextFrame(draw) {
  let asked = 0;

  function ask() {
    if (asked) return;
    asked = requestAnimationFrame(() => { asked = 0; draw(); });
  }

  ask.cancel = () => cancelAnimationFrame(asked);
  return ask;
}

function prefersCalm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

// ---------------------------------------------------------------- colours

// The page's or JupyterLab's colours as a canvas takes them, and `series`, colours for data; `tag` is
// any part of a figure. They are read once, and again when light becomes dark.
function palette(tag) {
  const root = tag.closest(".vaetl-living");
  if (!PALETTES.has(root)) PALETTES.set(root, readPalette(root));
  return PALETTES.get(root);
}

const PALETTES = new Map();

function readPalette(root) {
  const style = getComputedStyle(root);
  const colours = {};
  for (const name of ["paper", "ink", "faint", "line", "wash", "accent"]) {
    colours[name] = style.getPropertyValue(`--living-${name}`).trim();
  }
  colours.isDark = lightness(colours.paper) < 0.5;
  colours.series = colours.isDark ? SERIES_ON_DARK : SERIES_ON_LIGHT;
  return colours;
}

// Of any colour of CSS, between 0 and 1.
function lightness(colour) {
  const [red, green, blue] = channels(colour);
  return (0.3 * red + 0.59 * green + 0.11 * blue) / 255;
}

// Red, green and blue from 0 to 255 of any colour of CSS.
function channels(colour) {
  if (!CHANNELS.has(colour)) CHANNELS.set(colour, paintedChannels(colour));
  return CHANNELS.get(colour);
}

const CHANNELS = new Map();

function paintedChannels(colour) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}

// Calls when light becomes dark or dark light; returns what ends that.
function whenColoursChange(call) {
  const changed = () => { PALETTES.clear(); call(); };
  const query = matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", changed);
  const theme = new MutationObserver(changed); // JupyterLab's
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name"] });
  return () => {
    query.removeEventListener("change", changed);
    theme.disconnect();
  };
}

// ---------------------------------------------------------------- canvas and controls

// A canvas as wide as its parent and `ratio` times as high (a number, or a function of the width),
// sharp on every screen. Returns {canvas, context, width, height, close}; width and height are in
// CSS pixels, and `resized` is called whenever they change.
function surface(parent, { ratio = 1, label = "", resized }) {
  const canvas = append(parent, "canvas", label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" });
  const result = { canvas, context: canvas.getContext("2d"), width: 0, height: 0, close: () => observer.disconnect() };
  const ratioAt = typeof ratio === "function" ? ratio : () => ratio;
  canvas.style.aspectRatio = `1 / ${ratioAt(parent.clientWidth)}`;

  function fit() {
    const width = canvas.clientWidth;
    if (!width) return;
    const scale = window.devicePixelRatio || 1;
    const high = ratioAt(width);
    canvas.style.aspectRatio = `1 / ${high}`;
    result.width = width;
    result.height = width * high;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(width * high * scale);
    result.context.setTransform(scale, 0, 0, scale, 0, 0);
    resized();
  }

  const observer = new ResizeObserver(fit);
  observer.observe(canvas);
  return result;
}

// A labelled slider. `format` makes the text beside it and what a screen reader says of a value.
// Returns {input, set}.
function slider(parent, { label, min, max, step, value, format = String, moved }) {
  const line = append(parent, "label", { class: "slider" });
  append(line, "span", {}, label);
  const input = append(line, "input", { type: "range", min, max, step });
  const output = append(line, "output");

  function set(number) {
    input.value = number;
    output.textContent = format(Number(number)); // the slider itself may round to its step
    input.setAttribute("aria-valuetext", output.textContent);
  }

  input.addEventListener("input", () => {
    set(input.value);
    moved(Number(input.value));
  });
  set(value);
  return { input, set };
}

function button(parent, text, pressed) {
  const tag = append(parent, "button", { type: "button" }, text);
  tag.addEventListener("click", pressed);
  return tag;
}

// A plane with a point to move, `ratio` times as high as wide: by dragging, by a tap, and by the
// arrow keys (with Shift ten times as far). `x` and `y` are [lowest, highest]; `moved(x, y)` is
// called with the new place. A finger that swipes up or down beside the point scrolls the page.
// `isHollow`: what lies under the point shows through.
// Returns {surface, place, pixel, close}.
function pad(parent, { label, x, y, step, ratio = 1, format, moved, resized, isHollow = false }) {
  const box = append(parent, "div", { class: "pad" });
  const plane = surface(box, { ratio, resized: () => { put(); resized(); } });
  const handle = append(box, "div", {
    class: isHollow ? "handle hollow" : "handle", role: "slider", tabindex: 0, "aria-label": label, "aria-valuemin": x[0],
    "aria-valuemax": x[1], "aria-roledescription": "point on a plane",
  });
  const at = { x: 0, y: 0 };

  function pixel(px, py) {
    return [
      (plane.width * (px - x[0])) / (x[1] - x[0]),
      (plane.height * (y[1] - py)) / (y[1] - y[0]),
    ];
  }

  function put() {
    const [left, top] = pixel(at.x, at.y);
    handle.style.left = `${left}px`;
    handle.style.top = `${top}px`;
    handle.setAttribute("aria-valuenow", at.x);
    handle.setAttribute("aria-valuetext", format(at.x, at.y));
  }

  function place(px, py) {
    at.x = clamp(px, x);
    at.y = clamp(py, y);
    put();
  }

  function move(px, py) {
    place(px, py);
    moved(at.x, at.y);
  }

  function follow(event) {
    const edge = plane.canvas.getBoundingClientRect();
    const right = (event.clientX - edge.left) / edge.width;
    const down = (event.clientY - edge.top) / edge.height;
    move(x[0] + right * (x[1] - x[0]), y[1] - down * (y[1] - y[0]));
  }

  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    box.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
    follow(event);
    event.preventDefault();
  });
  box.addEventListener("pointermove", (event) => {
    if (box.hasPointerCapture(event.pointerId)) follow(event);
  });
  handle.addEventListener("keydown", (event) => {
    const direction = {
      ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1],
    }[event.key];
    if (!direction) return;
    const far = event.shiftKey ? 10 * step : step;
    move(at.x + far * direction[0], at.y + far * direction[1]);
    event.preventDefault();
    event.stopPropagation();
  });
  return { surface: plane, place, pixel, handle, close: plane.close };
}

function clamp(value, [lowest, highest]) {
  return Math.min(highest, Math.max(lowest, value));
}

// A number with so many decimals and a true minus sign.
function decimals(value, count = 2) {
  const text = value.toFixed(count);
  return Number(text) === 0 ? (0).toFixed(count) : text.replace("-", "−");
}

// ---------------------------------------------------------------- the bound and its bar

const BOUND_STYLE = `
.vaetl-living .sum { margin: 0; font-variant-numeric: tabular-nums; }
.vaetl-living .sum .term { white-space: nowrap; }
.vaetl-living .swatch { display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.35em; border-radius: 2px; }
.vaetl-living .track { position: relative; height: 2.1rem; margin: 0.4rem 0 0; background: var(--living-wash); border-radius: 4px; overflow: hidden; }
.vaetl-living .track > * { position: absolute; top: 0; bottom: 0; }
.vaetl-living .track .end { width: 2px; background: var(--living-ink); }
.vaetl-living .ticks { position: relative; height: 1.5em; font-size: 0.82rem; color: var(--living-faint); }
.vaetl-living .ticks > * { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.vaetl-living .ticks > :first-child { transform: none; }
.vaetl-living .ticks > :last-child { transform: translateX(-100%); }
@media (forced-colors: active) { .vaetl-living .track > *, .vaetl-living .swatch { forced-color-adjust: none; } }
`;

// The bound of one image by a sum over codes, as vaetl_helpers/living/bound.py has it. Given are
// log p(z), log p(x|z) and log q(z) of each code, and how wide a cell of the grid is. All in nats.
function boundOf(logPrior, logLikelihood, logQ, cell = 1) {
  const logEvidence = logSum(logPrior.map((value, code) => value + logLikelihood[code])) + Math.log(cell);
  let expected = 0;
  let price = 0;
  let gap = 0;
  for (let code = 0; code < logQ.length; code += 1) {
    const q = cell * Math.exp(logQ[code]);
    if (q === 0) continue; // a code that q never draws counts nothing
    expected += q * logLikelihood[code];
    price += q * (logQ[code] - logPrior[code]);
    gap += q * (logQ[code] - (logPrior[code] + logLikelihood[code] - logEvidence));
  }
  return { log_px: logEvidence, elbo: expected - price, gap, expected, price };
}

// log Σ e^v without overflow.
function logSum(values) {
  const largest = values.reduce((one, other) => Math.max(one, other), -Infinity);
  return largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
}

// log p(x) as a bar from `lowest` to 0 nats, made of the ELBO and the gap. Returns {set}.
function boundBar(parent, lowest) {
  append(parent, "style", {}, BOUND_STYLE);
  const title = append(parent, "p", { class: "title sum" });
  const sum = append(parent, "p", { class: "sum" });
  const track = append(parent, "div", { class: "track", "aria-hidden": "true" });
  const elbo = append(track, "div");
  const gap = append(track, "div");
  const end = append(track, "div", { class: "end" });
  const ticks = append(parent, "div", { class: "ticks", "aria-hidden": "true" });
  for (let nats = lowest; nats <= 0; nats += 2) {
    append(ticks, "span", { style: `left: ${100 * (1 - nats / lowest)}%` }, nats ? decimals(nats, 0) : "0 nats");
  }
  const parts = append(parent, "p", { class: "note" });

  function set(bound, colours) {
    const at = (nats) => 100 * (1 - clamp(nats, [lowest, 0]) / lowest);
    const hatched = hatching(colours.series[1], colours.paper);
    const [meet, whole] = [at(bound.elbo), at(bound.log_px)];
    elbo.style.cssText = `left: 0; width: ${meet}%; background: ${colours.series[0]}`;
    gap.style.cssText = `left: ${meet}%; width: ${whole - meet}%; background: ${hatched}`;
    end.style.left = `calc(${whole}% - 2px)`;
    sum.replaceChildren();
    append(sum, "span", { class: "swatch", style: `background: ${colours.series[0]}` });
    append(sum, "span", { class: "term" }, `ELBO ${decimals(bound.elbo)}`);
    sum.append(" + ");
    append(sum, "span", { class: "swatch", style: `background: ${hatched}` });
    append(sum, "span", { class: "term" }, `gap ${decimals(bound.gap)}`);
    title.textContent = `log p(x) = ${decimals(bound.log_px)} nats`;
    const left = bound.elbo < lowest ? " The ELBO lies left of the bar." : "";
    parts.textContent = `ELBO = expected log-likelihood ${decimals(bound.expected)} − price of the code ${decimals(bound.price)}.${left}`;
  }

  return { set };
}

// A background that can be told from a plain one without seeing its colour.
function hatching(colour, paper) {
  const mixed = `color-mix(in srgb, ${colour} 55%, ${paper})`;
  return `repeating-linear-gradient(135deg, ${colour} 0 4px, ${mixed} 4px 8px)`;
}

// ---------------------------------------------------------------- numbers in base64

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  return bytes;
}

function int8Of(base64) {
  return new Int8Array(bytesOf(base64).buffer);
}

// ---------------------------------------------------------------- small networks

// Promises a network that living/weights.py has packed, ready to run.
async function network({ layers, int8, float32 }) {
  const whole = new Int8Array(await inflated(int8));
  const real = new Float32Array(await inflated(float32));
  let wholeUsed = 0;
  let realUsed = 0;

  function nextReal(count) {
    realUsed += count;
    return real.subarray(realUsed - count, realUsed);
  }

  function nextWeights({ rows, columns, rounded }) {
    if (!rounded) return nextReal(rows * columns);
    const scales = nextReal(rows);
    const weights = new Float32Array(rows * columns);
    for (let row = 0, place = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1, place += 1) {
        weights[place] = whole[wholeUsed + place] * scales[row];
      }
    }
    wholeUsed += weights.length;
    return weights;
  }

  return layers.map((layer) => ({ ...layer, weights: nextWeights(layer), bias: nextReal(layer.rows) }));
}

// Promises the bytes of deflated base64.
function inflated(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// The network's output for one input, a Float32Array.
function run(layers, input) {
  return layers.reduce(runLayer, input);
}

function runLayer(input, { rows, columns, weights, bias, activation, skip }) {
  const output = new Float32Array(rows);
  const activate = ACTIVATIONS[activation];
  for (let row = 0; row < rows; row += 1) {
    const value = activate(bias[row] + product(weights, row * columns, input, columns));
    output[row] = skip ? input[row] + value : value;
  }
  return output;
}

// Of `count` weights from `start` on with the input. Four sums side by side: none waits for another.
function product(weights, start, input, count) {
  let [first, second, third, fourth] = [0, 0, 0, 0];
  const inFours = count - (count % 4);
  for (let place = 0; place < inFours; place += 4) {
    first += weights[start + place] * input[place];
    second += weights[start + place + 1] * input[place + 1];
    third += weights[start + place + 2] * input[place + 2];
    fourth += weights[start + place + 3] * input[place + 3];
  }
  for (let place = inFours; place < count; place += 1) first += weights[start + place] * input[place];
  return first + second + third + fourth;
}

const ACTIVATIONS = {
  none: (value) => value,
  ReLU: (value) => Math.max(0, value),
  GELU: (value) => 0.5 * value * (1 + erf(value / Math.SQRT2)),
  Sigmoid: sigmoid,
};

function sigmoid(value) {
  return 1 / (1 + Math.exp(-value));
}

// log(1 + e^v) without overflow.
function softplus(value) {
  return Math.max(value, 0) + Math.log1p(Math.exp(-Math.abs(value)));
}

// The error function, within 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
function erf(value) {
  const t = 1 / (1 + 0.3275911 * Math.abs(value));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const size = 1 - series * Math.exp(-value * value);
  return value < 0 ? -size : size;
}

// ---------------------------------------------------------------- charts

const SMALL = "12px system-ui, sans-serif";

// How a number in [lowest, highest] becomes a pixel in [start, end]; `log`: by its logarithm.
function scale([lowest, highest], [start, end], log = false) {
  const place = log ? Math.log : (value) => value;
  const length = place(highest) - place(lowest);
  return (value) => start + ((place(value) - place(lowest)) / length) * (end - start);
}

// The two axes of a chart in a box {left, top, right, bottom}. An axis is {at, ticks, title}: a
// scale, [[number, text], …] and what is measured. Grid lines belong to the vertical axis alone.
function chartAxes(context, colours, box, x, y) {
  context.font = SMALL;
  context.lineWidth = 1;
  for (const [number, text] of y.ticks) {
    const height = Math.round(y.at(number)) + 0.5;
    stroke(context, [[box.left, height], [box.right, height]], colours.line);
    label(context, text, box.left - 6, height, { colour: colours.faint, align: "right" });
  }
  for (const [number, text] of x.ticks) {
    label(context, text, x.at(number), box.bottom + 12, { colour: colours.faint, align: "center" });
  }
  label(context, y.title, box.left, box.top - 12, { colour: colours.faint });
  label(context, x.title, box.right, box.bottom + 28, { colour: colours.faint, align: "right" });
}

// A line through points [[x, y], …] in pixels.
function stroke(context, points, colour, { width = 1, dash = [], alpha = 1 } = {}) {
  context.save();
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.globalAlpha = alpha;
  context.setLineDash(dash);
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
  context.restore();
}

function disc(context, x, y, radius, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

// A text at a place, its middle at this height. With a `halo` it can be read on lines.
function label(context, text, x, y, { colour, align = "left", font = SMALL, halo = "" }) {
  context.font = font;
  context.textAlign = align;
  context.textBaseline = "middle";
  if (halo) {
    context.strokeStyle = halo;
    context.lineWidth = 4;
    context.lineJoin = "round";
    context.strokeText(text, x, y);
  }
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

// Draws inside a box only.
function inside(context, { left, top, right, bottom }, draw) {
  context.save();
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  context.clip();
  draw();
  context.restore();
}

// A row of buttons of which one is pressed. Returns {set}.
function choice(parent, { label: name, options, value, chosen }) {
  const row = append(parent, "div", { class: "choice", role: "group", "aria-label": name });
  const buttons = options.map((option) => button(row, option, () => {
    set(option);
    chosen(option);
  }));

  function set(option) {
    for (const tag of buttons) tag.setAttribute("aria-pressed", tag.textContent === option);
  }

  set(value);
  return { set };
}

// A slider over a list of numbers or words, in their order.
function listSlider(parent, { label: name, options, value, format = String, moved }) {
  const start = options.indexOf(value);
  return slider(parent, {
    label: name, min: 0, max: options.length - 1, step: 1, value: start,
    format: (place) => format(options[place]),
    moved: (place) => moved(options[place]),
  });
}
