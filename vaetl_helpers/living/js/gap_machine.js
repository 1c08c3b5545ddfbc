// The gap machine: a normal q over one latent, moved by its mean and its spread, before the true
// posterior. Every value is a sum over the grid of codes that living/gap_machine.py uses.

const LOWEST_NATS = -8;
const SHOWN_CODES = [-3, 3];
const TOP_DENSITY = 2.8; // of the narrowest q, with some air
const CLIMB = { pace: 0.03, longest: 0.06, level: 2e-3, steps: 600 };

export default {
  render({ model, el }) {
    const data = model.get("data");
    const { root, show, close } = stage(el, model.get("alt"));
    const codes = gridOf(data);
    const cell = codes[1] - codes[0];
    const logPrior = codes.map((z) => logNormal(z, 0, 1));
    const pixels = codes.map((z) => decode(data.units, z));
    const at = { ...data.start };
    let truth = truthOf(at.x);
    let climbing = 0;

    const columns = append(root, "div", { class: "row" });
    const left = append(columns, "div");
    const right = append(columns, "div");
    const box = append(left, "div", { class: "pad", style: "cursor: default" });
    const plane = surface(box, { ratio: 1.02, resized: () => draw() });
    const meanHandle = dragged(box, (z) => move({ mu: z }));
    const spreadHandle = dragged(box, (z) => move({ sigma: z - at.mu }));

    append(right, "p", { class: "title" }, "Three images of one pixel");
    const choices = append(right, "div", { class: "choices", style: "display: flex; gap: 0.5rem; margin-bottom: 0.9rem" });
    const images = data.images.map((x) => {
      const tag = button(choices, `x = ${decimals(x, 1)}`, () => choose(x));
      return { x, tag };
    });
    const bar = boundBar(right, LOWEST_NATS);
    const [muSlider, sigmaSlider] = [["μ of q", "mu"], ["σ of q", "sigma"]].map(([label, name]) => slider(right, {
      label, min: data[name][0], max: data[name][1], step: 0.01, value: at[name],
      format: (value) => decimals(value), moved: (value) => move({ [name]: value }),
    }));
    button(right, "Climb the ELBO", climb);

    function truthOf(x) {
      const logLikelihood = pixels.map((pixel) => logNormal(x, pixel, data.noise));
      const logEvidence = logSum(logPrior.map((value, code) => value + logLikelihood[code])) + Math.log(cell);
      const posterior = codes.map((_, code) => Math.exp(logPrior[code] + logLikelihood[code] - logEvidence));
      return { logLikelihood, posterior };
    }

    function boundAt(mu, sigma) {
      return boundOf(logPrior, truth.logLikelihood, codes.map((z) => logNormal(z, mu, sigma)), cell);
    }

    function move(change) {
      cancelAnimationFrame(climbing);
      set(change);
    }

    function set({ mu = at.mu, sigma = at.sigma }) {
      at.mu = clamp(mu, data.mu);
      at.sigma = clamp(sigma, data.sigma);
      ask();
    }

    function choose(x) {
      at.x = x;
      truth = truthOf(x);
      move({});
    }

    // Follows the slope of the ELBO uphill, a step a frame; for those who prefer calm at once.
    function climb() {
      cancelAnimationFrame(climbing);
      if (prefersCalm()) {
        for (let step = 0; step < CLIMB.steps && stepUphill(); step += 1);
      } else {
        climbing = requestAnimationFrame(function next() {
          if (stepUphill()) climbing = requestAnimationFrame(next);
        });
      }
    }

    // Whether it was still a step worth taking. In log σ, so that σ stays positive.
    function stepUphill() {
      const small = 1e-4;
      const slopeOf = (up, down) => (boundAt(...up).elbo - boundAt(...down).elbo) / (2 * small);
      const mean = slopeOf([at.mu + small, at.sigma], [at.mu - small, at.sigma]);
      const spread = slopeOf([at.mu, at.sigma * Math.exp(small)], [at.mu, at.sigma * Math.exp(-small)]);
      const pace = (slope) => clamp(CLIMB.pace * slope, [-CLIMB.longest, CLIMB.longest]);
      set({ mu: at.mu + pace(mean), sigma: at.sigma * Math.exp(pace(spread)) });
      return Math.hypot(mean, spread) > CLIMB.level;
    }

    const ask = inNextFrame(draw);

    function draw() {
      if (!plane.width) return;
      const colours = palette(root);
      const bound = boundAt(at.mu, at.sigma);
      const frame = framesOf(plane);
      plane.context.clearRect(0, 0, plane.width, plane.height);
      drawDecoder(plane.context, frame, colours);
      drawDensities(plane.context, frame, colours);
      put(meanHandle, frame, at.mu);
      put(spreadHandle, frame, at.mu + at.sigma);
      bar.set(bound, colours);
      muSlider.set(at.mu);
      sigmaSlider.set(at.sigma);
      for (const { x, tag } of images) tag.setAttribute("aria-pressed", x === at.x);
      show({ ...at, ...bound }, wordsFor(bound));
    }

    function wordsFor(bound) {
      return `For x = ${decimals(at.x, 1)} and q with μ = ${decimals(at.mu)}, σ = ${decimals(at.sigma)}: ` +
        `ELBO ${decimals(bound.elbo)} nats, gap ${decimals(bound.gap)} nats. ` +
        `Their sum, log p(x) = ${decimals(bound.log_px)} nats, does not depend on q.`;
    }

    // The codes that give the image, above: where the decoder's curve crosses the band of the image.
    function drawDecoder(context, { across, decoder }, colours) {
      const up = scale([-0.6, 2.7], [decoder.bottom, decoder.top]);
      const [low, high] = [up(at.x - data.noise), up(at.x + data.noise)];
      area(context, [[across.left, high], [across.right, high]], low, colours.faint, 0.14);
      line(context, [[across.left, up(at.x)], [across.right, up(at.x)]], colours.faint, 1.5, [5, 4]);
      line(context, curve(codes, pixels, across, up), colours.ink, 2);
      caption(context, "the decoder: a pixel for each code", across.left, decoder.top - 10, colours.ink);
      caption(context, `x = ${decimals(at.x, 1)} ± noise`, across.left, high - 5, colours.ink);
    }

    function drawDensities(context, { across, density }, colours) {
      const up = scale([0, TOP_DENSITY], [density.bottom, density.top]);
      const q = codes.map((z) => Math.exp(logNormal(z, at.mu, at.sigma)));
      const posterior = curve(codes, truth.posterior, across, up);
      area(context, posterior, density.bottom, colours.faint, 0.28);
      line(context, posterior, colours.faint, 1.5);
      line(context, curve(codes, q, across, up), colours.series[0], 2.5);
      line(context, curve(codes, logPrior.map(Math.exp), across, up), colours.ink, 1.5, [1.5, 4]);
      line(context, [[across.left, density.bottom], [across.right, density.bottom]], colours.ink, 1);
      for (let z = -3; z <= 3; z += 1) {
        caption(context, decimals(z, 0), across(z), density.bottom + 18, colours.faint, "center");
      }
      caption(context, "code z", across(0), density.bottom + 36, colours.faint, "center");
      key(context, across.left, density.top - 14, colours);
    }

    // One row above the curves: a sample of each, and its name.
    function key(context, x, y, colours) {
      const entries = [
        ["q", (left) => line(context, [[left, y], [left + 20, y]], colours.series[0], 2.5)],
        ["true posterior", (left) => area(context, [[left, y - 5], [left + 20, y - 5]], y + 5, colours.faint, 0.4)],
        ["prior", (left) => line(context, [[left, y], [left + 20, y]], colours.ink, 1.5, [1.5, 4])],
      ];
      let left = x;
      for (const [name, sample] of entries) {
        sample(left);
        caption(context, name, left + 26, y + 4, colours.ink);
        left += context.measureText(name).width + 46;
      }
    }

    function put(handle, { across, density }, z) {
      const up = scale([0, TOP_DENSITY], [density.bottom, density.top]);
      handle.style.left = `${clamp(across(z), [across.left, across.right])}px`;
      handle.style.top = `${up(Math.exp(logNormal(z, at.mu, at.sigma)))}px`;
    }

    // A point of the curve that a finger or a mouse moves sideways; keys have the sliders.
    function dragged(parent, moved) {
      const handle = append(parent, "div", { class: "handle", "aria-hidden": "true" });
      handle.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        handle.setPointerCapture(event.pointerId);
        event.preventDefault();
      });
      handle.addEventListener("pointermove", (event) => {
        if (!handle.hasPointerCapture(event.pointerId)) return;
        const { across } = framesOf(plane);
        moved(across.inverse(event.clientX - box.getBoundingClientRect().left));
      });
      return handle;
    }

    const forget = whenColoursChange(ask);
    return () => {
      cancelAnimationFrame(climbing);
      ask.cancel();
      forget();
      plane.close();
      close();
    };
  },
};

// ---------------------------------------------------------------- the model

function gridOf({ end, cells }) {
  return Array.from({ length: cells + 1 }, (_, step) => -end + (2 * end * step) / cells);
}

function decode(units, z) {
  return units.reduce((pixel, [toPixel, fromCode, bias]) => pixel + toPixel * Math.tanh(fromCode * z + bias), 0);
}

function logNormal(value, mean, deviation) {
  const distance = (value - mean) / deviation;
  return -0.5 * (distance * distance + Math.log(2 * Math.PI)) - Math.log(deviation);
}

// ---------------------------------------------------------------- drawing

// Where the two panels lie, and how codes are laid out in both.
function framesOf({ width, height }) {
  const across = scale(SHOWN_CODES, [10, width - 10]);
  return {
    across: Object.assign(across, { left: 10, right: width - 10 }),
    decoder: { top: 20, bottom: 0.36 * height },
    density: { top: 0.46 * height, bottom: height - 42 },
  };
}

// A linear map from [lowest, highest] to pixels, with its inverse.
function scale([low, high], [from, to]) {
  const map = (value) => from + ((value - low) / (high - low)) * (to - from);
  map.inverse = (pixel) => low + ((pixel - from) / (to - from)) * (high - low);
  return map;
}

// The points of a curve over the codes that are shown.
function curve(codes, values, across, up) {
  const points = [];
  for (let code = 0; code < codes.length; code += 1) {
    const z = codes[code];
    if (z >= SHOWN_CODES[0] && z <= SHOWN_CODES[1]) points.push([across(z), up(values[code])]);
  }
  return points;
}

function line(context, points, colour, width, dash = []) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.setLineDash(dash);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.stroke();
  context.setLineDash([]);
}

function area(context, points, bottom, colour, strength) {
  context.beginPath();
  context.moveTo(points[0][0], bottom);
  for (const [x, y] of points) context.lineTo(x, y);
  context.lineTo(points.at(-1)[0], bottom);
  context.globalAlpha = strength;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
}

function caption(context, text, x, y, colour, align = "left") {
  context.font = "13px system-ui, sans-serif";
  context.textAlign = align;
  context.fillStyle = colour;
  context.fillText(text, x, y);
}
