// Two planes of codes with a point to move on each, the pictures that two decoders make of the
// points, and a digit to draw, whose code the encoder finds. vaetl_helpers/living/latent_plane.py
// makes the data.

const SIDE = 28; // pixels of a digit, in width and height
const PIXELS = SIDE * SIDE;
const PEN = 1.2; // half its width, in pixels of the digit
const BOX = 20; // a drawn digit is fitted into so many pixels, as MNIST's were
const TILES = 15; // of the map of pictures, in each direction
const LENS = 6; // standard deviations of q that the lens shows to each side
const GRID = 25; // places in each direction at which the lens knows the true posterior
const MOST_NATS = 400; // at the end of a bar
const WORK = 6; // milliseconds a frame for what can wait

async function render({ model, el }) {
  const { vae, autoencoder, labels, digits, note } = model.get("data");
  const decoders = await Promise.all([network(vae.decoder), network(autoencoder.decoder)]);
  const encoder = vae.encoder ? await network(vae.encoder) : null;
  const figure = stage(el, model.get("alt"));
  const ask = inNextFrame(answer);
  const row = append(figure.root, "div", { class: "row" });
  const planes = [
    planeView(row, { ...vae, labels, decoder: decoders[0], name: "Variational autoencoder", hasPrior: true }, ask),
    planeView(row, { ...autoencoder, labels, decoder: decoders[1], name: "Plain autoencoder" }, ask),
  ];
  const mapLine = append(figure.root, "p", { style: "margin: 0.8rem 0 0" });
  mapButton(mapLine, planes);
  const studio = encoder ? studioView(figure.root, { digits, encoder, decoder: decoders[0], plane: planes[0] }, ask) : null;
  append(figure.root, "p", { class: "note" }, note);
  const parts = studio ? [...planes, studio] : planes;
  const endColours = whenColoursChange(() => parts.forEach((part) => part.paint()));

  function answer() {
    const [first, second] = planes.map((plane) => plane.answer());
    const drawn = studio ? studio.answer() : null;
    figure.show({ vae: first, autoencoder: second, drawn }, parts.map((part) => part.words()).join(" "));
  }

  ask();
  return () => {
    ask.cancel();
    endColours();
    parts.forEach((part) => part.close());
    figure.close();
  };
}

export default { render };

// ---------------------------------------------------------------- a plane and its picture

// A plane with the codes of the test digits, and beside its point's code what the decoder makes of it.
function planeView(parent, { name, decoder, codes, centre, reach, start, labels, hasPrior }, ask) {
  const column = append(parent, "div");
  append(column, "p", { class: "title" }, name);
  const ranges = centre.map((middle) => [middle - reach, middle + reach]);
  const cloud = { places: placesOf(codes, centre, reach), labels, reach };
  const map = tileMap(decoder, ranges);
  const view = { z: start, name, map, mark: null };
  const point = pad(column, {
    label: `code of the ${name.toLowerCase()}`,
    x: ranges[0],
    y: ranges[1],
    step: reach / 90,
    format: (x, y) => `first latent ${decimals(x)}, second latent ${decimals(y)}`,
    moved: (x, y) => { view.z = [x, y]; ask(); },
    resized: () => view.paint(),
  });
  const below = append(column, "div", { style: "display: flex; gap: 0.9rem; align-items: center; margin-top: 0.6rem" });
  const picture = pictureView(below, "6.5rem", `what the ${name.toLowerCase()} makes of the code`);
  const text = append(below, "div");
  const code = append(text, "div", { style: "font-variant-numeric: tabular-nums" });
  const near = append(text, "div", { class: "note", style: "margin: 0" });

  view.paint = () => {
    paintPlane(point, cloud, { ranges, map, hasPrior, mark: view.mark });
    picture.paint();
  };
  let last = null; // what was answered, until the point moves
  view.answer = () => {
    if (last?.z === view.z) return last;
    const pixels = decoded(decoder, view.z);
    picture.show(pixels);
    code.textContent = `z = (${view.z.map((value) => decimals(value)).join(", ")})`;
    near.textContent = placeInWords(view.z, cloud);
    last = { z: view.z, pixels: Array.from(pixels, (value) => Math.round(1000 * value)) };
    return last;
  };
  view.words = () => `${name}, ${code.textContent}: ${near.textContent}.`;
  view.move = (z) => {
    view.z = z.map((value, axis) => clamp(value, ranges[axis]));
    point.place(...view.z);
  };
  view.close = () => { point.close(); map.stop(); };
  point.place(...start);
  return view;
}

// The probability of ink of each pixel.
function decoded(decoder, z) {
  return run(decoder, Float32Array.from(z)).map(sigmoid);
}

// The codes [x, y] of all points.
function placesOf(codes, centre, reach) {
  const steps = int8Of(codes);
  const places = [];
  for (let place = 0; place < steps.length; place += 2) {
    places.push([0, 1].map((axis) => centre[axis] + (reach * steps[place + axis]) / 127));
  }
  return places;
}

// Which digits have their codes near z.
function placeInWords(z, { places, labels, reach }) {
  const near = places
    .map(([x, y], number) => ({ distance: Math.hypot(x - z[0], y - z[1]), label: labels[number] }))
    .sort((one, other) => one.distance - other.distance)
    .slice(0, 9);
  if (near[0].distance > reach / 15) return `no code of a test digit is near, the nearest lies ${decimals(near[0].distance)} away`;
  const counts = new Map();
  for (const { label } of near) counts.set(label, (counts.get(label) ?? 0) + 1);
  const [first, second] = [...counts].sort((one, other) => other[1] - one[1]);
  return second && second[1] > 2 ? `among codes of ${first[0]}s and ${second[0]}s` : `among codes of ${first[0]}s`;
}

function paintPlane({ surface: { context, width, canvas }, pixel }, cloud, { ranges, map, hasPrior, mark }) {
  if (!width) return;
  const colours = palette(canvas);
  context.fillStyle = colours.wash;
  context.fillRect(0, 0, width, width);
  if (map.isShown) {
    map.paint(context, width, colours);
  } else {
    paintAxes(context, pixel, ranges, width, colours);
    if (hasPrior) paintPrior(context, pixel, colours);
    paintDots(context, pixel, cloud, colours);
    paintNumerals(context, pixel, cloud, colours);
  }
  if (mark) paintMark(context, pixel(...mark), colours);
}

function paintAxes(context, pixel, ranges, width, colours) {
  const span = ranges[0][1] - ranges[0][0];
  const step = [1, 2, 5, 10, 20, 50].find((size) => span / size < 6);
  context.strokeStyle = colours.line;
  context.fillStyle = colours.faint;
  context.lineWidth = 1;
  context.font = "12px system-ui, sans-serif";
  ranges.forEach(([lowest, highest], axis) => {
    for (let value = Math.ceil(lowest / step) * step; value < highest; value += step) {
      const [x, y] = pixel(value, value);
      context.beginPath();
      context.moveTo(axis ? 0 : x, axis ? y : 0);
      context.lineTo(axis ? width : x, axis ? y : width);
      context.stroke();
      context.fillText(decimals(value, 0), axis ? 4 : x + 3, axis ? y - 3 : width - 5);
    }
  });
}

// The circle of two standard deviations, which holds 86 % of the prior.
function paintPrior(context, pixel, colours) {
  const [x, y] = pixel(0, 0);
  context.save();
  context.setLineDash([5, 4]);
  context.strokeStyle = colours.ink;
  context.globalAlpha = 0.6;
  context.beginPath();
  context.arc(x, y, pixel(2, 0)[0] - x, 0, 2 * Math.PI);
  context.stroke();
  context.restore();
}

function paintDots(context, pixel, { places, labels }, colours) {
  context.globalAlpha = 0.7;
  places.forEach((place, number) => {
    context.fillStyle = colours.series[labels[number]];
    context.beginPath();
    context.arc(...pixel(...place), 2.3, 0, 2 * Math.PI);
    context.fill();
  });
  context.globalAlpha = 1;
}

// Each class's numeral in the middle of its codes.
function paintNumerals(context, pixel, { places, labels }, colours) {
  context.save();
  context.font = "600 18px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 5;
  context.lineJoin = "round";
  context.strokeStyle = colours.wash;
  for (let label = 0; label < 10; label += 1) {
    const own = places.filter((_, number) => Number(labels[number]) === label);
    const [x, y] = pixel(...[0, 1].map((axis) => median(own.map((place) => place[axis]))));
    context.strokeText(label, x, y);
    context.fillStyle = colours.series[label];
    context.fillText(label, x, y);
  }
  context.restore();
}

function median(values) {
  return values.sort((one, other) => one - other)[Math.floor(values.length / 2)];
}

// Four corners around the place that the encoder has chosen; its ellipse is smaller than a dot.
function paintMark(context, [x, y], colours) {
  context.strokeStyle = colours.ink;
  context.lineWidth = 2;
  for (const [right, down] of [[-1, -1], [1, -1], [1, 1], [-1, 1]]) {
    context.beginPath();
    context.moveTo(x + 17 * right, y + 9 * down);
    context.lineTo(x + 17 * right, y + 17 * down);
    context.lineTo(x + 9 * right, y + 17 * down);
    context.stroke();
  }
}

// ---------------------------------------------------------------- pictures

// A digit of 28 × 28 pixels, ink on paper; without a label it is left out for screen readers.
function pictureView(parent, width, label = "") {
  const attributes = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  const canvas = append(parent, "canvas", { width: SIDE, height: SIDE, ...attributes });
  canvas.style.cssText = `width: ${width}; flex: none; aspect-ratio: 1; border-radius: 6px;
    border: 1px solid var(--living-line); image-rendering: pixelated;`;
  const view = { canvas, pixels: new Float32Array(PIXELS) };
  view.paint = () => canvas.getContext("2d").putImageData(inkOnPaper(view.pixels, palette(canvas)), 0, 0);
  view.show = (pixels) => { view.pixels = pixels; view.paint(); };
  return view;
}

function inkOnPaper(pixels, { paper, ink }) {
  const image = new ImageData(SIDE, SIDE);
  const [from, to] = [channels(paper), channels(ink)];
  for (let place = 0; place < PIXELS; place += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      image.data[4 * place + channel] = from[channel] + pixels[place] * (to[channel] - from[channel]);
    }
    image.data[4 * place + 3] = 255;
  }
  return image;
}

// Does a step of work again and again until it says that it is done: a little in each frame, so that
// points can still be moved. Returns what stops it.
function inSpareTime(step, afterFrame) {
  let frame = 0;

  function go() {
    const end = performance.now() + WORK;
    let isDone = false;
    while (!isDone && performance.now() < end) isDone = step();
    afterFrame();
    if (!isDone) frame = requestAnimationFrame(go);
  }

  frame = requestAnimationFrame(go);
  return () => cancelAnimationFrame(frame);
}

// What a grid of places decodes to.
function tileMap(decoder, ranges) {
  const pictures = [];
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = TILES * SIDE;
  const map = { isShown: false, stop: () => {} };
  let painted = 0; // how many pictures are on the canvas, in which ink
  let inkUsed = "";

  function decodeNext() {
    const part = [pictures.length % TILES, TILES - 1 - Math.floor(pictures.length / TILES)];
    const z = part.map((place, axis) => {
      const [lowest, highest] = ranges[axis];
      return lowest + ((place + 0.5) / TILES) * (highest - lowest);
    });
    pictures.push(decoded(decoder, z));
    return pictures.length === TILES * TILES;
  }

  map.start = (afterFrame) => {
    if (pictures.length < TILES * TILES) map.stop = inSpareTime(decodeNext, afterFrame);
  };
  map.paint = (context, width, colours) => {
    if (colours.ink !== inkUsed) painted = 0;
    inkUsed = colours.ink;
    for (; painted < pictures.length; painted += 1) {
      const place = [SIDE * (painted % TILES), SIDE * Math.floor(painted / TILES)];
      canvas.getContext("2d").putImageData(inkOnPaper(pictures[painted], colours), ...place);
    }
    context.drawImage(canvas, 0, 0, width, width);
  };
  return map;
}

// A button that puts the maps of pictures in place of the dots, and back.
function mapButton(parent, planes) {
  const tag = button(parent, "Show what every place becomes", () => {
    const isShown = tag.getAttribute("aria-pressed") !== "true";
    tag.setAttribute("aria-pressed", isShown);
    for (const { map, paint } of planes) {
      map.isShown = isShown;
      map.stop();
      paint();
      if (isShown) map.start(paint);
    }
  });
  tag.setAttribute("aria-pressed", "false");
}

// ---------------------------------------------------------------- a digit to draw

// A sheet to draw on, a lens on q(z|x), and the two prices in nats of the digit on the sheet.
function studioView(parent, { digits, encoder, decoder, plane }, ask) {
  append(parent, "p", { class: "title", style: "margin-top: 1.4rem" }, "Draw a digit, and move its code");
  const row = append(parent, "div", { class: "row" });
  const columns = [0, 1, 2].map(() => append(row, "div", { style: "flex-basis: 13rem" }));
  const drawn = { pixels: null, mean: [0, 0], sigma: [1, 1] };
  const sheet = sheetView(columns[0], encode);
  const samples = sampleButtons(columns[0], bitsOf(digits), (pixels) => { sheet.begin(pixels); encode(pixels); });
  const lens = lensView(columns[1], { decoder, drawn, plane }, ask);
  const prices = pricesView(columns[2]);
  button(columns[2], "Back to the encoder’s choice", () => { plane.move(drawn.mean); ask(); });
  let current = null;

  function encode(pixels) {
    Object.assign(drawn, { pixels }, posteriorOf(encoder, pixels));
    plane.mark = drawn.mean;
    plane.move(drawn.mean);
    plane.paint();
    lens.look();
    prices.mark(pricesAt(decoder, drawn, drawn.mean));
    ask();
  }

  function answer() {
    current = pricesAt(decoder, drawn, plane.z);
    prices.show(current);
    lens.follow(plane.z);
    return { mean: drawn.mean, sigma: drawn.sigma, ...current };
  }

  const first = samples.at(5);
  sheet.begin(first.pixels);
  encode(first.pixels);
  return {
    answer,
    words: () => `The digit on the sheet costs ${decimals(current.reconstruction, 1)} nats for its pixels and ${decimals(current.kl, 1)} for its code.`,
    paint: () => [sheet, lens, ...samples].forEach((part) => part.paint()),
    close: () => lens.close(),
  };
}

// A button for each of the ten digits.
function sampleButtons(parent, images, chosen) {
  const group = append(parent, "div", { role: "group", "aria-label": "a test digit in place of a drawing" });
  group.style.cssText = "display: grid; grid-template-columns: repeat(5, 40px); gap: 3px; margin-top: 0.6rem";
  return images.map((pixels, label) => {
    const tag = button(group, "", () => chosen(pixels));
    tag.setAttribute("aria-label", `test digit ${label}`);
    tag.style.cssText = "padding: 2px; min-width: 0; min-height: 40px";
    const sample = pictureView(tag, "34px");
    sample.show(pixels);
    return sample;
  });
}

// Ten digits in black and white, a bit a pixel.
function bitsOf(base64) {
  const bytes = bytesOf(base64);
  const images = [];
  for (let number = 0; number < 10; number += 1) {
    images.push(new Float32Array(PIXELS).map((_, place) => {
      const bit = number * PIXELS + place;
      return (bytes[bit >> 3] >> (7 - (bit & 7))) & 1;
    }));
  }
  return images;
}

// q(z|x): mean and standard deviation of each latent.
function posteriorOf(encoder, pixels) {
  const [first, second, ...logVariances] = run(encoder, pixels);
  return { mean: [first, second], sigma: logVariances.map((value) => Math.exp(0.5 * clamp(value, [-14, 14]))) };
}

// The two prices in nats if q keeps the encoder's widths and has its centre at z: the pixels,
// averaged over q by four nodes at √2 σ, which is exact for cubic functions, and the code,
// KL(q ‖ N(0, I)).
function pricesAt(decoder, { pixels, sigma }, z) {
  let reconstruction = 0;
  for (const node of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
    const code = node.map((side, axis) => z[axis] + Math.SQRT2 * sigma[axis] * side);
    reconstruction += costOf(decoder, code, pixels) / 4;
  }
  const kl = z.reduce((sum, value, axis) => sum + klOf(value, sigma[axis]), 0);
  return { reconstruction, kl };
}

// −log p(x|z) in nats of black-and-white pixels.
function costOf(decoder, z, pixels) {
  const logits = run(decoder, Float32Array.from(z));
  let cost = 0;
  for (let place = 0; place < PIXELS; place += 1) cost += softplus(logits[place]) - pixels[place] * logits[place];
  return cost;
}

// KL(N(mean, sigma²) ‖ N(0, 1)) in nats.
function klOf(mean, sigma) {
  return 0.5 * (mean ** 2 + sigma ** 2 - 1) - Math.log(sigma);
}

// ---------------------------------------------------------------- the sheet

// A sheet to draw on. What is drawn is fitted into the box that MNIST's digits fill, and becomes
// black-and-white pixels, which are what the encoder sees.
function sheetView(parent, encode) {
  const picture = pictureView(parent, "min(100%, 13.4rem)", "the sheet: draw a digit with a mouse or a finger, or choose one by the buttons below");
  const { canvas } = picture;
  canvas.style.touchAction = "none";
  canvas.style.cursor = "crosshair";
  let strokes = [];

  function point(event) {
    const edge = canvas.getBoundingClientRect();
    return [event.clientX - edge.left, event.clientY - edge.top].map((place) => (SIDE * place) / edge.width);
  }

  function draw() {
    picture.show(inkOf(strokes));
    encode(inkOf(fitted(strokes)));
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    strokes.push([point(event)]);
    draw();
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    strokes.at(-1).push(point(event));
    draw();
  });
  canvas.addEventListener("pointerup", () => {
    strokes = fitted(strokes); // what was drawn goes where the encoder sees it
    picture.show(inkOf(strokes));
  });
  const view = { paint: picture.paint };
  view.begin = (pixels) => { strokes = []; picture.show(pixels); };
  const line = append(parent, "p", { style: "margin: 0.5rem 0 0" });
  button(line, "Clear the sheet", () => view.begin(new Float32Array(PIXELS)));
  return view;
}

// The strokes, as large as MNIST's digits and with their ink's centre in the middle.
function fitted(strokes) {
  const points = strokes.flat();
  const spans = [0, 1].map((axis) => {
    const values = points.map((place) => place[axis]);
    return Math.max(...values) - Math.min(...values);
  });
  const scale = Math.min(3, (BOX - 2 * PEN) / Math.max(1, ...spans));
  const larger = moved(strokes, (value) => value * scale);
  const centre = centreOf(larger);
  return moved(larger, (value, axis) => value - centre[axis] + SIDE / 2);
}

function moved(strokes, change) {
  return strokes.map((stroke) => stroke.map((place) => place.map(change)));
}

// The mean place along all strokes, long pieces counting more.
function centreOf(strokes) {
  let length = 0;
  const sums = [0, 0];
  for (const stroke of strokes) {
    for (const [start, end] of pieces(stroke)) {
      const piece = Math.hypot(end[0] - start[0], end[1] - start[1]) + 1e-6;
      length += piece;
      for (const axis of [0, 1]) sums[axis] += (piece * (start[axis] + end[axis])) / 2;
    }
  }
  return sums.map((sum) => sum / length);
}

// The straight pieces [start, end] of a stroke; a single point is a piece of no length.
function pieces(stroke) {
  if (stroke.length === 1) return [[stroke[0], stroke[0]]];
  return stroke.slice(1).map((end, number) => [stroke[number], end]);
}

// Pixels whose middle lies under the pen.
function inkOf(strokes) {
  const pixels = new Float32Array(PIXELS);
  for (const stroke of strokes) {
    for (const piece of pieces(stroke)) inkPiece(pixels, piece);
  }
  return pixels;
}

function inkPiece(pixels, [start, end]) {
  const [left, right] = pixelRange(start[0], end[0]);
  const [top, bottom] = pixelRange(start[1], end[1]);
  for (let row = top; row <= bottom; row += 1) {
    for (let column = left; column <= right; column += 1) {
      if (distanceTo(start, end, column + 0.5, row + 0.5) < PEN) pixels[SIDE * row + column] = 1;
    }
  }
}

function pixelRange(one, other) {
  const range = [0, SIDE - 1];
  return [clamp(Math.floor(Math.min(one, other) - PEN), range), clamp(Math.ceil(Math.max(one, other) + PEN), range)];
}

// Of a point to the piece from start to end.
function distanceTo(start, end, x, y) {
  const along = [end[0] - start[0], end[1] - start[1]];
  const square = along[0] ** 2 + along[1] ** 2;
  const share = square ? clamp(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / square, [0, 1]) : 0;
  return Math.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1]);
}

// ---------------------------------------------------------------- the lens

// The neighbourhood of the encoder's choice, enlarged: q(z|x) as ellipses of one and two standard
// deviations, and as a shade the true posterior, p(x|z) p(z) on a grid of places, each divided by the
// largest. Its point is the plane's.
function lensView(parent, { decoder, drawn, plane }, ask) {
  append(parent, "p", { class: "title" }, "q(z|x), enlarged");
  const unit = [-LENS, LENS]; // the pad counts in the larger standard deviation of q, from its mean
  const lens = { stop: () => {}, logs: [] };
  const box = append(parent, "div", { style: "max-width: 13.4rem" });
  const point = pad(box, {
    label: "code, seen through the lens",
    isHollow: true,
    x: unit,
    y: unit,
    step: 0.5,
    format: (x, y) => `${decimals(x, 1)} to the right and ${decimals(y, 1)} up, in standard deviations of q`,
    moved: (x, y) => { plane.move([x, y].map((value, axis) => drawn.mean[axis] + value * width())); ask(); },
    resized: () => lens.paint(),
  });

  function width() {
    return Math.max(...drawn.sigma);
  }

  // The logarithm of p(x|z) p(z), up to a constant, at the next place of the grid.
  function weighNext() {
    const part = [lens.logs.length % GRID, GRID - 1 - Math.floor(lens.logs.length / GRID)];
    const z = part.map((place, axis) => drawn.mean[axis] + width() * LENS * ((2 * place + 1) / GRID - 1));
    lens.logs.push(-costOf(decoder, z, drawn.pixels) - 0.5 * (z[0] ** 2 + z[1] ** 2));
    return lens.logs.length === GRID * GRID;
  }

  lens.paint = () => {
    const { context, width: side, canvas } = point.surface;
    if (!side) return;
    const colours = palette(canvas);
    context.fillStyle = colours.wash;
    context.fillRect(0, 0, side, side);
    paintShade(context, lens.logs, side, colours);
    paintEllipses(context, point.pixel, drawn.sigma.map((sigma) => sigma / width()), colours);
  };
  lens.look = () => {
    lens.stop();
    lens.logs = [];
    lens.stop = inSpareTime(weighNext, lens.paint);
  };
  lens.follow = (z) => point.place(...z.map((value, axis) => (value - drawn.mean[axis]) / width()));
  lens.close = () => { lens.stop(); point.close(); };
  append(parent, "p", { class: "note" }, "Ellipses: the encoder’s q. Shade: the true posterior, summed on a grid.");
  return lens;
}

function paintShade(context, logs, side, colours) {
  const most = Math.max(...logs);
  const cell = side / GRID;
  context.fillStyle = colours.series[1];
  logs.forEach((log, number) => {
    context.globalAlpha = 0.85 * Math.exp(log - most);
    context.fillRect(cell * (number % GRID), cell * Math.floor(number / GRID), cell + 0.5, cell + 0.5);
  });
  context.globalAlpha = 1;
}

function paintEllipses(context, pixel, sigma, colours) {
  const [x, y] = pixel(0, 0);
  const unit = pixel(1, 0)[0] - x;
  context.strokeStyle = colours.series[0];
  for (const deviations of [1, 2]) {
    context.lineWidth = 3 - deviations;
    context.beginPath();
    context.ellipse(x, y, deviations * unit * sigma[0], deviations * unit * sigma[1], 0, 0, 2 * Math.PI);
    context.stroke();
  }
}

// ---------------------------------------------------------------- prices

// Bars for the two prices and their sum, each with a tick where the encoder's choice stands.
function pricesView(parent) {
  append(parent, "p", { class: "title" }, "Its cost in nats");
  const bars = {
    reconstruction: barView(parent, "pixels, −E log p(x|z)", 0),
    kl: barView(parent, "code, KL(q ‖ p)", 1),
    sum: barView(parent, "sum, −ELBO", 4),
  };

  function withSum(prices) {
    return { ...prices, sum: prices.reconstruction + prices.kl };
  }

  return {
    show: (prices) => Object.entries(withSum(prices)).forEach(([name, value]) => bars[name].show(value)),
    mark: (prices) => Object.entries(withSum(prices)).forEach(([name, value]) => bars[name].mark(value)),
  };
}

function barView(parent, label, series) {
  const line = append(parent, "div", { style: "margin: 0 0 0.6rem" });
  const head = append(line, "div", { style: "display: flex; justify-content: space-between; gap: 1rem" });
  append(head, "span", {}, label);
  const value = append(head, "span", { style: "font-variant-numeric: tabular-nums; font-weight: 600" });
  const track = append(line, "div", { style: "position: relative; height: 12px; border-radius: 3px; background: var(--living-wash); overflow: hidden" });
  const bar = append(track, "div", { style: "height: 100%" });
  const tick = append(track, "div", { style: "position: absolute; top: 0; width: 2px; height: 100%; background: var(--living-ink)" });

  function share(nats) {
    return `${Math.min(100, (100 * nats) / MOST_NATS)}%`;
  }

  return {
    show: (nats) => {
      bar.style.background = palette(parent).series[series];
      bar.style.width = share(nats);
      value.textContent = decimals(nats, 1);
    },
    mark: (nats) => { tick.style.left = `min(${share(nats)}, calc(100% - 2px))`; },
  };
}
