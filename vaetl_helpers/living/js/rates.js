// The recorded study of learning rates and batch sizes: the curves of five runs, and all 54 settings
// as a map on which one is chosen.

const CEILING = 3; // nats: where the chart of the curves ends
const KNOWS_NOTHING = Math.log(10);

export default {
  render({ model, el }) {
    const { rates, batches, epochs, seeds, source, start, ...packed } = model.get("data");
    const study = { training: lossesOf(packed.training), validation: lossesOf(packed.validation) };
    const chosen = { row: rates.indexOf(start.rate), column: batches.indexOf(start.batch) };
    const frame = stage(el, model.get("alt"));
    const redraw = inNextFrame(draw);
    const controls = append(frame.root, "div", { class: "row" });
    const rate = listSlider(controls, {
      label: "learning rate", options: rates, value: start.rate,
      moved: (value) => choose(rates.indexOf(value), chosen.column),
    });
    const batch = listSlider(controls, {
      label: "batch size", options: batches, value: start.batch,
      moved: (value) => choose(chosen.row, batches.indexOf(value)),
    });
    const panels = append(frame.root, "div", { class: "row" });
    const curves = surface(append(panels, "div"), { ratio: 0.78, resized: redraw });
    const box = append(panels, "div", { class: "map" });
    box.style.touchAction = "pan-y";
    const map = surface(box, { ratio: 0.78, resized: redraw });
    append(frame.root, "p", { class: "note" }, source);
    const still = whenColoursChange(redraw);

    function choose(row, column) {
      Object.assign(chosen, { row, column });
      rate.set(row);
      batch.set(column);
      redraw();
    }

    // The runs of a setting, each a list of losses by epoch.
    function runs(kind, row, column) {
      const first = ((row * batches.length + column) * seeds) * (epochs + 1);
      return Array.from({ length: seeds }, (_, seed) => {
        const begin = first + seed * (epochs + 1);
        return study[kind].slice(begin, begin + epochs + 1);
      });
    }

    function summary(row, column) {
      const last = runs("validation", row, column).map((run) => run[epochs]);
      const mean = last.reduce((sum, loss) => sum + loss, 0) / seeds;
      return { last, mean, diverged: last.filter((loss) => !(loss < KNOWS_NOTHING)).length };
    }

    function draw() {
      if (!curves.width || !map.width) return;
      const colours = palette(frame.root);
      drawCurves(colours);
      drawMap(colours);
      const { last, mean, diverged } = summary(chosen.row, chosen.column);
      const [at, size] = [rates[chosen.row], batches[chosen.column]];
      frame.show({ rate: at, batch: size, last, mean, diverged }, inWords(at, size, last, mean, diverged));
    }

    function drawCurves(colours) {
      const { context, width, height } = curves;
      context.clearRect(0, 0, width, height);
      const area = { left: 34, top: 30, right: width - 78, bottom: height - 40 };
      const x = scale([0, epochs], [area.left, area.right]);
      const y = scale([0, CEILING], [area.bottom, area.top]);
      chartAxes(context, colours, area,
        { at: x, ticks: [0, 2, 4, 6, 8, 10].map((tick) => [tick, tick]), title: "epoch" },
        { at: y, ticks: [0, 1, 2, 3].map((tick) => [tick, tick]), title: "loss (nats)" });
      const nothing = y(KNOWS_NOTHING);
      stroke(context, [[area.left, nothing], [area.right, nothing]], colours.ink, { dash: [2, 4] });
      label(context, "log 10", area.right + 6, nothing, { colour: colours.faint });
      const ends = [];
      for (const [kind, colour] of [["training", colours.series[0]], ["validation", colours.series[1]]]) {
        const all = runs(kind, chosen.row, chosen.column);
        const mean = all[0].map((_, epoch) => all.reduce((sum, run) => sum + run[epoch], 0) / seeds);
        const pixels = (run) => run.map((loss, epoch) => [x(epoch), y(loss)]).filter(([, v]) => !Number.isNaN(v));
        inside(context, { ...area, top: area.top - 4, bottom: area.bottom + 3 }, () => {
          for (const run of all) stroke(context, pixels(run), colour, { alpha: 0.35 });
          stroke(context, pixels(mean), colour, { width: 2.5 });
        });
        ends.push({ kind, colour, height: clamp(Number.isNaN(mean[epochs]) ? area.top : y(mean[epochs]), [area.top, area.bottom]) });
      }
      keepApart(ends, 16, [area.top, area.bottom]);
      for (const { kind, colour, height: at } of ends) label(context, kind, area.right + 6, at, { colour });
    }

    function drawMap(colours) {
      const { context, width, height } = map;
      context.clearRect(0, 0, width, height);
      const area = mapArea();
      const cell = [(area.right - area.left) / rates.length, (area.bottom - area.top) / batches.length];
      const title = isNarrow(cell[0]) ? "loss at the end" : "mean validation loss at the end (nats)";
      label(context, title, area.left, area.top - 14, { colour: colours.faint });
      batches.forEach((size, column) => {
        const middle = area.top + (column + 0.5) * cell[1];
        label(context, size, area.left - 6, middle, { colour: colours.faint, align: "right" });
        const best = bestRow(column);
        rates.forEach((_, row) => drawCell(colours, area, cell, row, column, row === best));
      });
      rates.forEach((value, row) => {
        if (cell[0] < 36 && row % 2) return; // five letters need as much
        const middle = area.left + (row + 0.5) * cell[0];
        label(context, value, middle, area.bottom + 12, { colour: colours.faint, align: "center" });
      });
      label(context, "learning rate", area.right, area.bottom + 28, { colour: colours.faint, align: "right" });
      label(context, "batch", area.left - 6, area.bottom + 12, { colour: colours.faint, align: "right" });
      context.strokeStyle = colours.series[1];
      context.lineWidth = 3;
      context.strokeRect(area.left + chosen.row * cell[0] + 1, area.top + chosen.column * cell[1] + 1, cell[0] - 2, cell[1] - 2);
    }

    function drawCell(colours, area, [wide, high], row, column, isBest) {
      const { context } = map;
      const [left, top] = [area.left + row * wide, area.top + column * high];
      const { mean, diverged } = summary(row, column);
      // From 0.4 nats, full colour, to log 10, none.
      const share = clamp((KNOWS_NOTHING - mean) / (KNOWS_NOTHING - 0.4), [0, 1]) ** 3 || 0;
      const ground = mixed(channels(colours.wash), channels(colours.series[0]), share);
      context.fillStyle = `rgb(${ground})`;
      context.fillRect(left + 1, top + 1, wide - 2, high - 2);
      if (isNarrow(wide)) {
        if (isBest) disc(context, left + wide / 2, top + high / 2, 3, readableOn(ground, colours));
        if (diverged) label(context, diverged, left + wide / 2, top + high / 2, { colour: colours.series[1], align: "center" });
        return;
      }
      const text = mean < 9.995 ? decimals(mean) : "—";
      const font = `${isBest ? "bold " : ""}12px system-ui, sans-serif`;
      const colour = readableOn(ground, colours);
      const middle = top + high / 2;
      label(context, text, left + wide / 2, diverged ? middle - 7 : middle, { colour, align: "center", font });
      if (isBest) stroke(context, [[left + wide / 2 - 9, middle + 9], [left + wide / 2 + 9, middle + 9]], colour, { width: 1.5 });
      const lost = wide < 40 ? `${diverged}/5` : `${diverged} of 5`;
      if (diverged) label(context, lost, left + wide / 2, middle + 8, { colour: colours.series[1], align: "center" });
    }

    // The rate with the lowest mean loss.
    function bestRow(column) {
      const means = rates.map((_, row) => summary(row, column).mean);
      return means.reduce((best, mean, row) => (mean < means[best] ? row : best), 0);
    }

    function mapArea() {
      return { left: 44, top: 30, right: map.width - 2, bottom: map.height - 40 };
    }

    function follow(event) {
      const edge = map.canvas.getBoundingClientRect();
      const area = mapArea();
      const across = (event.clientX - edge.left - area.left) / (area.right - area.left);
      const down = (event.clientY - edge.top - area.top) / (area.bottom - area.top);
      choose(cellAt(across, rates.length), cellAt(down, batches.length));
    }

    box.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      box.setPointerCapture(event.pointerId);
      follow(event);
    });
    box.addEventListener("pointermove", (event) => {
      if (box.hasPointerCapture(event.pointerId)) follow(event);
    });

    return () => {
      still();
      redraw.cancel();
      curves.close();
      map.close();
      frame.close();
    };
  },
};

// Thousandths of a nat in 16 bits; the largest number stands for a run that broke down.
function lossesOf(base64) {
  return Array.from(new Uint16Array(bytesOf(base64).buffer), (whole) => (whole === 65535 ? NaN : whole / 1000));
}

// A colour between two, each red, green and blue from 0 to 255.
function mixed(from, to, share) {
  return from.map((channel, place) => Math.round(channel + share * (to[place] - channel)));
}

// Ink or paper, whichever has the higher contrast on this colour (WCAG 2.1).
function readableOn(ground, colours) {
  const [on, ink, paper] = [ground, channels(colours.ink), channels(colours.paper)].map(luminance);
  return contrast(on, ink) > contrast(on, paper) ? colours.ink : colours.paper;
}

function contrast(one, other) {
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}

function luminance(colour) {
  const [red, green, blue] = colour.map((whole) => (
    whole <= 10 ? whole / 255 / 12.92 : ((whole / 255 + 0.055) / 1.055) ** 2.4
  ));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// Where a cell has no room for its number; there a dot stands for the lowest mean of a row, and a
// number for the runs that diverged.
function isNarrow(wide) {
  return wide < 28;
}

function cellAt(share, count) {
  return clamp(Math.floor(share * count), [0, count - 1]);
}

// Moves two labels away from each other until they can be read.
function keepApart(labels, distance, limits) {
  const [upper, lower] = [...labels].sort((one, other) => one.height - other.height);
  const missing = distance - (lower.height - upper.height);
  if (missing <= 0) return;
  upper.height = clamp(upper.height - missing / 2, [limits[0], limits[1] - distance]);
  lower.height = upper.height + distance;
}

function inWords(rate, batch, last, mean, diverged) {
  const setting = `Rate ${rate}, batch size ${batch}`;
  const sound = last.filter((loss) => !Number.isNaN(loss));
  const spread = sound.length
    ? `validation loss ${decimals(Math.min(...sound))} to ${decimals(Math.max(...sound))} nats after ten epochs`
    : "no run has a loss at the end";
  const average = Number.isNaN(mean) ? "" : `, ${decimals(mean)} on average`;
  const count = ["none", "one", "two", "three", "four", "all"][diverged];
  return `${setting}: ${spread}${average}; ${count} of the five runs diverged.`;
}
