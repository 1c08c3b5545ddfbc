// A ball in a valley that is flat one way and steep the other: the path of a method, step by step,
// and the loss along it.

const TICKS = [1e-9, 1e-6, 1e-3, 1, 1e3];
const PACE = 70; // milliseconds from one step to the next

export default {
  render({ model, el }) {
    const data = model.get("data");
    const { width: wide, height: high, steps } = data;
    const now = { method: data.method, rate: data.rate, momentum: data.momentum, across: data.across, start: [...data.start] };
    let shown = steps; // how many steps are drawn
    let path = [];
    let losses = [];
    let timer = 0;
    const frame = stage(el, model.get("alt"));
    const redraw = inNextFrame(draw);
    choice(frame.root, { label: "method", options: data.methods, value: now.method, chosen: (method) => change({ method }) });
    const panels = append(frame.root, "div", { class: "row" });
    const map = pad(append(panels, "div"), {
      label: "start of the ball", x: [-wide, wide], y: [-high, high], step: 0.05, ratio: high / wide,
      format: (x, y) => `${decimals(x)}, ${decimals(y)}`,
      moved: (x, y) => change({ start: [x, y] }),
      resized: redraw,
    });
    const chart = surface(append(panels, "div"), { ratio: high / wide, resized: redraw });
    const controls = append(frame.root, "div", { class: "controls" });
    listSlider(controls, { label: "step size η", options: data.rates, value: now.rate, moved: (rate) => change({ rate }) });
    listSlider(controls, {
      label: "steepest curvature λ", options: data.curvatures, value: now.across, moved: (across) => change({ across }),
    });
    const momentum = listSlider(controls, {
      label: "momentum β", options: data.momenta, value: now.momentum, moved: (value) => change({ momentum: value }),
    });
    const play = button(append(frame.root, "div"), "Roll it, step by step", roll);
    const still = whenColoursChange(redraw);
    map.place(...now.start);
    change({});

    function change(what) {
      Object.assign(now, what);
      halt();
      momentum.input.disabled = now.method === "gradient descent";
      path = descend(now, data);
      losses = path.map((place) => lossAt(place, now.across, data));
      shown = steps;
      redraw();
    }

    function roll() {
      if (timer) {
        shown = steps;
        halt();
      } else {
        shown = 0;
        timer = setInterval(next, PACE);
        play.textContent = "Show all steps";
      }
      redraw();
    }

    function next() {
      shown += 1;
      if (shown >= steps) halt();
      redraw();
    }

    function halt() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Roll it, step by step";
    }

    function draw() {
      if (!map.surface.width || !chart.width) return;
      const colours = palette(frame.root);
      drawMap(colours);
      drawChart(colours);
      const limit = largestStableRate(now, data);
      const state = { ...now, limit: Number.isFinite(limit) ? limit : null, shown, place: path[shown], loss: losses[shown] };
      frame.show(state, inWords(now, limit, losses, shown));
    }

    function drawMap(colours) {
      const { context, width, height } = map.surface;
      context.clearRect(0, 0, width, height);
      context.fillStyle = colours.wash;
      context.fillRect(0, 0, width, height);
      drawContours(context, colours, width / (2 * wide));
      const [x, y] = map.pixel(0, 0);
      stroke(context, [[x - 6, y], [x + 6, y]], colours.ink, { width: 1.5 });
      stroke(context, [[x, y - 6], [x, y + 6]], colours.ink, { width: 1.5 });
      // Far outside, a line would run over all of the map again and again.
      const places = path.slice(0, shown + 1);
      const end = places.findIndex(([px, py]) => Math.abs(px) > 3 * wide || Math.abs(py) > 3 * high);
      const pixels = (end < 0 ? places : places.slice(0, end + 1)).map((place) => map.pixel(...place));
      const colour = pathColour(colours);
      stroke(context, pixels, colour, { width: 1.5 });
      for (const pixel of pixels.slice(1)) disc(context, ...pixel, 2.5, colour);
      if (shown < steps && end < 0) disc(context, ...pixels[shown], 7, colours.series[1]);
    }

    function pathColour({ series }) {
      return now.rate > largestStableRate(now, data) ? series[1] : series[0];
    }

    // Lines of equal loss are ellipses; each is at twice the loss of the one inside it.
    function drawContours(context, colours, pixelsPerUnit) {
      const [x, y] = map.pixel(0, 0);
      for (let power = -4; power < 8; power += 1) {
        const level = 2 * 2 ** power;
        context.strokeStyle = colours.faint;
        context.globalAlpha = 0.45;
        context.lineWidth = 1;
        context.beginPath();
        // Upwards is the other way round in pixels, and so is the turn.
        context.ellipse(x, y, pixelsPerUnit * Math.sqrt(level / data.flat), pixelsPerUnit * Math.sqrt(level / now.across),
          -data.turn, 0, 2 * Math.PI);
        context.stroke();
        context.globalAlpha = 1;
      }
    }

    function drawChart(colours) {
      const { context, width, height } = chart;
      context.clearRect(0, 0, width, height);
      const area = { left: 42, top: 30, right: width - 8, bottom: height - 38 };
      const x = scale([0, steps], [area.left, area.right]);
      const y = scale([TICKS[0], TICKS.at(-1)], [area.bottom, area.top], true);
      const names = ["10⁻⁹", "10⁻⁶", "0.001", "1", "1,000"];
      chartAxes(context, colours, area,
        { at: x, ticks: [0, 20, 40, 60].map((tick) => [tick, tick]), title: "step" },
        { at: y, ticks: TICKS.map((tick, place) => [tick, names[place]]), title: "loss (log scale)" });
      const points = losses.slice(0, shown + 1).map((loss, step) => [x(step), y(clamp(loss, [1e-12, 1e12]))]);
      inside(context, { ...area, right: area.right + 4, bottom: area.bottom + 4 }, () => {
        stroke(context, points, pathColour(colours), { width: 2 });
        disc(context, ...points.at(-1), 4, pathColour(colours));
      });
    }

    return () => {
      halt();
      still();
      redraw.cancel();
      map.close();
      chart.close();
      frame.close();
    };
  },
};

// H = R diag(flat, across) Rᵀ times a place, R a turn.
function gradientAt([x, y], across, { flat, turn }) {
  const [cosine, sine] = [Math.cos(turn), Math.sin(turn)];
  const along = flat * (cosine * x + sine * y);
  const sideways = across * (cosine * y - sine * x);
  return [cosine * along - sine * sideways, sine * along + cosine * sideways];
}

function lossAt(place, across, data) {
  const gradient = gradientAt(place, across, data);
  return 0.5 * (place[0] * gradient[0] + place[1] * gradient[1]);
}

// The places of all steps: torch.optim's formulas, as living/valley.py has them.
function descend({ method, rate, momentum, across, start }, data) {
  let place = [...start];
  const velocity = [0, 0];
  const square = [0, 0];
  const { decay, epsilon } = data.adam;
  const path = [place];
  for (let step = 1; step <= data.steps; step += 1) {
    const gradient = gradientAt(place, across, data);
    place = place.map((coordinate, axis) => {
      const slope = gradient[axis];
      if (method === "gradient descent") return coordinate - rate * slope;
      if (method === "momentum") {
        velocity[axis] = momentum * velocity[axis] + slope;
        return coordinate - rate * velocity[axis];
      }
      velocity[axis] = momentum * velocity[axis] + (1 - momentum) * slope;
      square[axis] = decay * square[axis] + (1 - decay) * slope ** 2;
      const mean = velocity[axis] / (1 - momentum ** step);
      const root = Math.sqrt(square[axis] / (1 - decay ** step));
      return coordinate - (rate * mean) / (root + epsilon);
    });
    path.push(place);
  }
  return path;
}

// Above it a path diverges.
function largestStableRate({ method, momentum, across }, { flat }) {
  if (method === "Adam") return Infinity;
  return (2 * (1 + (method === "momentum" ? momentum : 0))) / Math.max(flat, across);
}

function inWords({ method, rate, momentum, across }, limit, losses, shown) {
  const name = { "gradient descent": "Gradient descent", momentum: `Momentum ${momentum}`, Adam: "Adam" }[method];
  const end = losses[shown];
  const outcome = `after ${shown} steps the loss is ${short(end)}, from ${short(losses[0])} at the start`;
  if (method === "Adam") {
    return `${name}, step size ${rate}: no limit as of the others, since a step is about as long as the step size, however steep the ground; ${outcome}.`;
  }
  const formula = method === "momentum" ? "2 · (1 + β) / λ" : "2 / λ";
  const side = rate > limit ? "above" : rate === limit ? "at" : "below";
  const verdict = rate > limit ? "it diverges" : rate === limit ? "it swings for ever" : "it converges";
  return `${name}, step size ${rate}: ${side} the limit ${formula} = ${short(limit)}, so ${verdict}; ${outcome}.`;
}

// Three digits that count, without powers of ten where one can do without.
function short(number) {
  if (number !== 0 && (Math.abs(number) < 1e-4 || Math.abs(number) >= 1e6)) {
    const [digits, power] = number.toExponential(1).split("e");
    const raised = [...String(Number(power))].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
    return `${digits}·10${raised.join("")}`;
  }
  return String(Number(number.toPrecision(3)));
}
