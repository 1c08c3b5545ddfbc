// The dial of β: recorded VAEs with two latents. Plane, reconstructions, samples and the dot on
// rate and distortion follow one slider. Between two recorded β nothing is made up: the dots move
// from where they were to where they are, and what is shown is always a recorded VAE.

const SIDE = 28; // pixels of a picture
const PLANE = [-4.2, 4.2];
const GLIDE = 260; // milliseconds in which the dots move to the next β
const DIAL_STYLE = `
.vaetl-living .strip { display: grid; grid-template-columns: repeat(10, 1fr); gap: 2px; margin: 0 0 0.2rem; }
.vaetl-living .strip canvas { aspect-ratio: 1; }
.vaetl-living .strips { margin-top: 0.6rem; }
.vaetl-living .strips p { margin: 0.5rem 0 0.15rem; font-size: 0.88rem; color: var(--living-faint); }
.vaetl-living label.slider.dial { grid-template-columns: 2rem 1fr 4rem; font-size: 1.05rem; }
`;

export default {
  render({ model, el }) {
    const data = model.get("data");
    const { root, show, close } = stage(el, model.get("alt"));
    append(root, "style", {}, DIAL_STYLE);
    const vaes = vaesOf(data);
    const originalLevels = levelsOf(data.originals);
    const best = vaes.reduce((one, other) => (other.elbo > one.elbo ? other : one));
    let chosen = vaes[data.start];
    let from = chosen; // where the dots come from
    let left = 0; // when they left there
    let gliding = false;
    let painted = ""; // of which VAE the strips are, and on which paper

    const control = slider(root, {
      label: "β", min: 0, max: vaes.length - 1, step: 1, value: data.start,
      format: (row) => String(vaes[row].beta), moved: (row) => turn(vaes[row]),
    });
    control.input.parentElement.classList.add("dial");
    const columns = append(root, "div", { class: "row" });
    const [planeBox, curveBox] = [`Codes of ${data.labels.length} digits, and q of ten`, "Rate and distortion"].map((title) => {
      const box = append(columns, "div");
      append(box, "p", { class: "title" }, title);
      return box;
    });
    const plane = surface(planeBox, { resized: () => draw() });
    const curve = surface(curveBox, { resized: () => draw() });
    const strips = append(root, "div", { class: "strips" });
    const originals = stripOf(strips, "Ten digits");
    const reconstructions = stripOf(strips, "What comes back of them");
    const samples = stripOf(strips, "Samples, from the codes marked + on the plane");
    append(root, "p", { class: "note" }, data.origin);

    function turn(vae) {
      if (vae === chosen) return;
      from = chosen;
      chosen = vae;
      left = performance.now();
      gliding = !prefersCalm();
      ask();
    }

    const ask = inNextFrame(draw);

    function draw() {
      if (!plane.width || !curve.width) return;
      const colours = palette(root);
      const way = gliding ? Math.min(1, (performance.now() - left) / GLIDE) : 1;
      gliding = way < 1;
      drawPlane(plane, data, between(from.means, chosen.means, eased(way)), chosen, colours);
      drawCurve(curve, vaes, chosen, best, colours);
      paintStrips(colours);
      const { beta, rates, rate, distortion, elbo, active } = chosen;
      show({ beta, rates, rate, distortion, elbo, active, gliding }, wordsFor(chosen));
      if (gliding) ask();
    }

    function paintStrips(colours) {
      const wanted = `${chosen.beta} on ${colours.paper}`;
      if (painted === wanted) return;
      if (!painted.endsWith(colours.paper)) drawStrip(originals, originalLevels, colours);
      painted = wanted;
      drawStrip(reconstructions, chosen.reconstructions, colours);
      drawStrip(samples, chosen.samples, colours);
    }

    function wordsFor({ beta, rate, distortion, elbo, rates }) {
      const each = rates.map((nats) => decimals(nats)).join(" and ");
      const below = best === chosen ? "the best of all" : `${decimals(best.elbo - elbo, 1)} below the best, β = ${best.beta}`;
      return `β = ${beta}: rate ${decimals(rate, 1)} nats (the two latents carry ${each}), ` +
        `distortion ${decimals(distortion, 1)} nats, ELBO ${decimals(elbo, 1)} nats, ${below}.`;
    }

    const forget = whenColoursChange(ask);
    return () => {
      ask.cancel();
      forget();
      plane.close();
      curve.close();
      close();
    };
  },
};

// ---------------------------------------------------------------- the recorded VAEs

function vaesOf(data) {
  const codes = int8Of(data.means);
  const reconstructions = levelsOf(data.reconstructions);
  const samples = levelsOf(data.samples);
  const perVae = 2 * data.labels.length;
  const perStrip = 10 * SIDE * SIDE;
  return data.betas.map((beta, row) => {
    const rates = data.rates[row];
    const rate = rates[0] + rates[1];
    const distortion = data.distortions[row];
    return {
      beta, rates, rate, distortion, elbo: -rate - distortion,
      active: rates.filter((nats) => nats > 0.1).length,
      means: Float32Array.from(codes.subarray(row * perVae, (row + 1) * perVae), (code) => code * data.codeStep),
      sigmas: data.sigmas[row],
      reconstructions: reconstructions.subarray(row * perStrip, (row + 1) * perStrip),
      samples: samples.subarray(row * perStrip, (row + 1) * perStrip),
    };
  });
}

// Levels of ink from 0 to 15; a byte holds two, the first in its upper half.
function levelsOf(base64) {
  const bytes = bytesOf(base64);
  const levels = new Uint8Array(2 * bytes.length);
  bytes.forEach((byte, place) => {
    levels[2 * place] = byte >> 4;
    levels[2 * place + 1] = byte & 15;
  });
  return levels;
}

function between(from, to, way) {
  return way === 1 ? to : to.map((value, place) => from[place] + way * (value - from[place]));
}

function eased(way) {
  return way * way * (3 - 2 * way);
}

// ---------------------------------------------------------------- drawing

function drawPlane({ context, width, height }, data, means, vae, colours) {
  const across = (value) => (width * (value - PLANE[0])) / (PLANE[1] - PLANE[0]);
  const up = (value) => height - across(value);
  const unit = across(1) - across(0);
  context.clearRect(0, 0, width, height);
  for (const radius of [1, 2, 3]) ring(context, across(0), up(0), radius * unit, radius * unit, colours.line);
  context.globalAlpha = 0.75;
  data.labels.forEach((label, digit) => {
    dot(context, across(means[2 * digit]), up(means[2 * digit + 1]), 2.2, colours.series[label]);
  });
  context.globalAlpha = 1;
  data.priorCodes.forEach(([x, y]) => cross(context, across(x), up(y), colours.faint));
  data.rows.forEach((digit, number) => {
    const [x, y] = [means[2 * digit], means[2 * digit + 1]];
    const [wide, high] = vae.sigmas[number];
    const colour = colours.series[data.labels[digit]];
    ring(context, across(x), up(y), wide * unit, high * unit, colour, 1.5);
    numeral(context, data.labels[digit], across(x), up(y), colours, colour);
  });
}

function drawCurve({ context, width, height }, vaes, chosen, best, colours) {
  const edge = { left: 44, right: width - 12, top: 10, bottom: height - 40 };
  const highest = Math.max(...vaes.map(({ rate }) => rate)) * 1.08;
  const [low, high] = [Math.min(...vaes.map(({ distortion }) => distortion)) - 6, Math.max(...vaes.map(({ distortion }) => distortion)) + 6];
  const across = (rate) => edge.left + ((edge.right - edge.left) * rate) / highest;
  const up = (distortion) => edge.bottom - ((edge.bottom - edge.top) * (distortion - low)) / (high - low);
  context.clearRect(0, 0, width, height);
  axes(context, edge, across, up, highest, [low, high], colours);
  stroke(context, vaes.map(({ rate, distortion }) => [across(rate), up(distortion)]), colours.line, 2);
  context.save();
  context.beginPath();
  context.rect(edge.left, edge.top, edge.right - edge.left, edge.bottom - edge.top);
  context.clip();
  const sum = -best.elbo;
  stroke(context, [[across(0), up(sum)], [across(highest), up(sum - highest)]], colours.faint, 1.2, [5, 4]);
  const reach = 0.16 * highest; // of the tangent, whose slope is −β
  const rise = Math.min(chosen.beta * reach, 0.3 * (high - low));
  const run = rise / chosen.beta;
  stroke(context, [-1, 1].map((side) => [across(chosen.rate + side * run), up(chosen.distortion - side * rise)]), colours.series[1], 2);
  context.restore();
  for (const { rate, distortion } of vaes) dot(context, across(rate), up(distortion), 3, colours.series[0]);
  dot(context, across(chosen.rate), up(chosen.distortion), 7, colours.series[1]);
  note(context, "same ELBO as the best", edge.right, edge.top + 14, colours.faint, "right");
  const before = edge.right - context.measureText("same ELBO as the best").width - 8;
  stroke(context, [[before - 22, edge.top + 9.5], [before, edge.top + 9.5]], colours.faint, 1.2, [5, 4]);
  note(context, `slope −β = −${chosen.beta}`, edge.right, edge.top + 34, colours.series[1], "right");
}

function axes(context, edge, across, up, highest, [low, high], colours) {
  stroke(context, [[edge.left, edge.top], [edge.left, edge.bottom], [edge.right, edge.bottom]], colours.faint, 1);
  for (let rate = 0; rate <= highest; rate += 2) note(context, decimals(rate, 0), across(rate), edge.bottom + 17, colours.faint, "center");
  for (let nats = Math.ceil(low / 20) * 20; nats <= high; nats += 20) note(context, String(nats), edge.left - 7, up(nats) + 4, colours.faint, "right");
  note(context, "rate, nats per image", (edge.left + edge.right) / 2, edge.bottom + 35, colours.faint, "center");
  context.save();
  context.translate(11, (edge.top + edge.bottom) / 2);
  context.rotate(-Math.PI / 2);
  note(context, "distortion, nats per image", 0, 0, colours.faint, "center");
  context.restore();
}

function stripOf(parent, title) {
  append(parent, "p", {}, title);
  const strip = append(parent, "div", { class: "strip", "aria-hidden": "true" });
  return Array.from({ length: 10 }, () => append(strip, "canvas", { width: SIDE, height: SIDE }));
}

// Ten pictures in the colours of ink and paper.
function drawStrip(canvases, levels, colours) {
  const [ink, paper] = [channels(colours.ink), channels(colours.paper)];
  const shades = Array.from({ length: 16 }, (_, level) => (
    paper.map((value, channel) => Math.round(value + (level / 15) * (ink[channel] - value)))
  ));
  const image = new ImageData(SIDE, SIDE);
  canvases.forEach((canvas, number) => {
    for (let pixel = 0; pixel < SIDE * SIDE; pixel += 1) {
      image.data.set(shades[levels[number * SIDE * SIDE + pixel]], 4 * pixel);
      image.data[4 * pixel + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  });
}

function stroke(context, points, colour, width, dash = []) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.setLineDash(dash);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
  context.setLineDash([]);
}

function ring(context, x, y, wide, high, colour, width = 1) {
  context.beginPath();
  context.ellipse(x, y, wide, high, 0, 0, 2 * Math.PI);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

function dot(context, x, y, radius, colour) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
}

function cross(context, x, y, colour) {
  stroke(context, [[x - 4, y], [x + 4, y]], colour, 1.5);
  stroke(context, [[x, y - 4], [x, y + 4]], colour, 1.5);
}

function numeral(context, label, x, y, colours, colour) {
  context.font = "bold 15px system-ui, sans-serif";
  context.textAlign = "center";
  context.lineWidth = 4;
  context.strokeStyle = colours.paper;
  context.strokeText(label, x, y + 5);
  context.fillStyle = colour;
  context.fillText(label, x, y + 5);
}

function note(context, text, x, y, colour, align = "left") {
  context.font = "13px system-ui, sans-serif";
  context.textAlign = align;
  context.fillStyle = colour;
  context.fillText(text, x, y);
}
