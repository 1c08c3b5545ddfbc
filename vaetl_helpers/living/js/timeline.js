// Two lanes of time, Python's and the device's, and a clock that waits for the device or does not.

export default {
  render({ model, el }) {
    const data = model.get("data");
    const now = { clock: data.clock, count: data.count, launch: data.launch, kernel: data.kernel };
    const frame = stage(el, model.get("alt"));
    const redraw = inNextFrame(draw);
    append(frame.root, "p", { class: "title" }, "The clock …");
    choice(frame.root, { label: "the clock", options: data.clocks, value: now.clock, chosen: (clock) => change({ clock }) });
    const lanes = surface(append(frame.root, "div"), {
      ratio: (width) => (width < 500 ? 0.62 : 0.3), // on a phone two lanes need more height
      resized: redraw,
    });
    const numbers = append(frame.root, "div", { class: "row numbers" });
    const shown = ["handed over after", "true time", "the clock says"].map((name) => {
      const box = append(numbers, "div");
      append(box, "div", { class: "note" }, name);
      return append(box, "div", { class: "number" });
    });
    const controls = append(frame.root, "div", { class: "controls" });
    const times = [["count", "operations", data.counts, ""], ["launch", "Python, per operation", data.launches, " µs"],
      ["kernel", "device, per operation", data.kernels, " µs"]];
    for (const [name, text, options, unit] of times) {
      listSlider(controls, {
        label: text, options, value: now[name], format: (value) => `${value}${unit}`,
        moved: (value) => change({ [name]: value }),
      });
    }
    if (data.measured) append(frame.root, "p", { class: "note" }, measuredInWords(data));
    const still = whenColoursChange(redraw);

    function change(what) {
      Object.assign(now, what);
      redraw();
    }

    function draw() {
      if (!lanes.width) return;
      const colours = palette(frame.root);
      const run = timeline(now, data.clocks, data.earlier);
      const truth = now.launch + (now.count - 1) * Math.max(now.launch, now.kernel) + now.kernel;
      const reading = run.stopped - run.started;
      drawLanes(colours, run, truth);
      const texts = [run.queued - run.started, truth, reading].map((time) => `${time.toLocaleString("en")} µs`);
      texts.forEach((text, place) => { shown[place].textContent = text; });
      shown[2].style.color = reading === truth ? colours.series[2] : colours.series[1];
      const state = { ...now, queued: run.queued - run.started, true: truth, reading, done: run.done };
      frame.show(state, inWords(now, state, data.clocks, data.earlier));
    }

    function drawLanes(colours, run) {
      const { context, width, height } = lanes;
      context.clearRect(0, 0, width, height);
      const area = { left: 58, top: 30, right: width - 12, bottom: height - 38 };
      const end = Math.max(run.done, run.stopped);
      const x = scale([0, end], [area.left, area.right]);
      const lane = (area.bottom - area.top) / 2;
      context.globalAlpha = 0.13;
      context.fillStyle = colours.series[1];
      context.fillRect(x(run.started), area.top, x(run.stopped) - x(run.started), area.bottom - area.top);
      context.globalAlpha = 1;
      drawSpans(run.launches, area.top + 6, lane - 12, colours.series[0]);
      drawSpans(run.kernels, area.top + lane + 6, lane - 12, colours.series[2]);
      drawSpans(run.earlier, area.top + lane + 6, lane - 12, colours.faint, 0.45);
      nameSpans(run.earlier, "earlier work", colours.ink);
      nameSpans(run.kernels, now.count === 1 ? "the operation" : `${now.count} operations`, colours.ink, colours.paper);
      if (run.stopped > run.queued) drawWaiting(run.queued, run.stopped);
      if (run.started > 0) drawWaiting(0, run.started);
      label(context, "Python", area.left - 8, area.top + lane / 2, { colour: colours.ink, align: "right" });
      label(context, "device", area.left - 8, area.top + 1.5 * lane, { colour: colours.ink, align: "right" });
      const ticks = roundTicks(end, width < 500 ? 3 : 6).map((tick) => [tick, tick.toLocaleString("en")]);
      for (const [tick, text] of ticks) {
        stroke(context, [[x(tick), area.bottom], [x(tick), area.bottom + 5]], colours.line);
        label(context, text, x(tick), area.bottom + 14, { colour: colours.faint, align: "center" });
      }
      label(context, "microseconds", area.right, area.bottom + 30, { colour: colours.faint, align: "right" });
      drawReading("start", x(run.started), "left");
      drawReading("stop", x(run.stopped), x(run.stopped) > area.right - 40 ? "right" : "left", x(run.started) + 34);

      function drawSpans(spans, top, high, colour, alpha = 1) {
        context.globalAlpha = alpha;
        context.fillStyle = colour;
        for (const [from, to] of spans) {
          const wide = x(to) - x(from);
          context.fillRect(x(from), top, Math.max(1, wide - (wide > 4 ? 1.5 : 0)), high);
        }
        context.globalAlpha = 1;
      }

      // Where there is room for it, on the longer side of the stop.
      function nameSpans(spans, text, colour, halo) {
        const [from, to] = [x(spans[0][0]), x(spans.at(-1)[1])];
        const stop = clamp(x(run.stopped), [from, to]);
        const [left, right] = stop - from > to - stop ? [from, stop] : [stop, to];
        if (right - left < 76) return;
        label(context, text, (left + right) / 2, area.top + 1.5 * lane, { colour, align: "center", halo });
      }

      function drawWaiting(from, to) {
        const middle = area.top + lane / 2;
        stroke(context, [[x(from), middle], [x(to), middle]], colours.series[0], { dash: [3, 4], width: 1.5 });
        if (x(to) - x(from) > 60) {
          label(context, "waits", (x(from) + x(to)) / 2, middle, { colour: colours.series[0], align: "center", halo: colours.paper });
        }
      }

      // `room`: the text begins no further left than this.
      function drawReading(text, place, align, room = 0) {
        stroke(context, [[place, area.top - 6], [place, area.bottom]], colours.series[1], { width: 2 });
        label(context, text, Math.max(place, room), area.top - 16, { colour: colours.series[1], align });
      }
    }

    return () => {
      still();
      redraw.cancel();
      lanes.close();
      frame.close();
    };
  },
};

// When everything happens: living/timeline.py has the same, with the assumptions.
function timeline({ count, launch, kernel, clock }, clocks, earlier) {
  let free = earlier * kernel;
  const before = Array.from({ length: earlier }, (_, place) => [place * kernel, (place + 1) * kernel]);
  const started = clock === clocks[2] ? free : 0;
  const launches = [];
  const kernels = [];
  for (let place = 0; place < count; place += 1) {
    const handedOver = started + (place + 1) * launch;
    launches.push([handedOver - launch, handedOver]);
    const begin = Math.max(handedOver, free);
    free = begin + kernel;
    kernels.push([begin, free]);
  }
  const queued = started + count * launch;
  return { earlier: before, started, launches, kernels, queued, done: free, stopped: clock === clocks[0] ? queued : free };
}

// At most so many ticks at 1, 2 or 5 times a power of ten.
function roundTicks(end, count) {
  const rough = end / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((size) => size >= rough);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, place) => place * step);
}

function inWords({ clock, launch, kernel }, { reading, true: truth, queued }, clocks, earlier) {
  const share = decimals(reading / truth, reading / truth < 0.1 ? 2 : 1);
  const pace = launch > kernel
    ? `The device waits for Python: ${launch} µs to hand an operation over, ${kernel} µs to compute it.`
    : "Python is ahead, and the device sets the pace.";
  if (clock === clocks[0]) {
    return `The clock stops when the last operation is handed over: ${queued} µs, ${share} of the true ${truth} µs. It would say the same however long the device computes. ${pace}`;
  }
  if (clock === clocks[1]) {
    return `The clock also counts the ${earlier} earlier operations (grey) that were still queued: it says ${reading} µs, ${share} times the true ${truth} µs. ${pace}`;
  }
  return `The device is idle when the clock starts and done when it stops: ${reading} µs is the true time. ${pace}`;
}

function measuredInWords({ measured, device }) {
  const parts = measured.map(([name, time]) => `${name} ${time}`);
  return `Measured above, one product of two matrices on this ${device}: ${parts.join(", ")}.`;
}
