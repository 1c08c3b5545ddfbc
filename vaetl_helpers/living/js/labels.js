// Labels and bill: what methods reach with a budget of labels, two of them compared, and what each
// costs: the labels, the work of a task, the source, and after how many tasks the source is repaid.

const BILL_STYLE = `
.vaetl-living .menus { display: flex; flex-wrap: wrap; gap: 0.4rem 1.2rem; margin: 0 0 0.3rem; }
.vaetl-living .menus label { flex: 1 1 12rem; min-width: 0; color: var(--living-faint); font-size: 0.88rem; }
.vaetl-living select {
  display: block; width: 100%; min-height: 44px; font: inherit; font-size: 0.95rem; color: var(--living-ink);
  background: var(--living-wash); border: 1px solid var(--living-line); border-radius: 8px; padding: 0.3rem 0.6rem;
}
.vaetl-living select:focus-visible { outline: 2px solid var(--living-accent); outline-offset: 2px; }
.vaetl-living option { color: CanvasText; background: Canvas; }
.vaetl-living table.bill { width: 100%; border-collapse: collapse; margin: 0.6rem 0 0; font-size: 0.9rem; table-layout: fixed; }
.vaetl-living table.bill :is(th, td) {
  text-align: left; vertical-align: top; padding: 0.35rem 0.6rem 0.35rem 0; font-weight: 400;
  border: 0; border-bottom: 1px solid var(--living-line); overflow-wrap: break-word; background: none;
}
.vaetl-living table.bill thead th { font-weight: 600; }
.vaetl-living table.bill tbody th { color: var(--living-faint); }
`;
const MARKS = { supported: "●", contradicted: "✖", "no gain": "■", undecided: "◆" };

export default {
  render({ model, el }) {
    const data = model.get("data");
    const now = { study: 0, ...data.start };
    const frame = stage(el, model.get("alt"));
    append(frame.root, "style", {}, BILL_STYLE);
    const redraw = inNextFrame(draw);
    const menus = append(frame.root, "div", { class: "menus" });
    const titles = data.studies.map((one) => one.title);
    const pairs = menu(menus, "source → target", (title) => change({ study: titles.indexOf(title) }));
    const methods = menu(menus, "method", (method) => change({ method }));
    const others = menu(menus, "compared with", (against) => change({ against }));
    const controls = append(frame.root, "div", { class: "controls" });
    let budget = null;
    const panels = append(frame.root, "div", { class: "row" });
    const marks = surface(append(panels, "div"), { ratio: (width) => (width < 420 ? 0.95 : 0.78), resized: redraw });
    const box = append(panels, "div");
    box.style.touchAction = "pan-y";
    const differences = surface(box, { ratio: (width) => (width < 420 ? 0.8 : 0.78), resized: redraw });
    const lower = append(frame.root, "div", { class: "row" });
    const bill = append(append(lower, "div"), "table", { class: "bill" });
    const totals = surface(append(lower, "div"), { ratio: 0.72, resized: redraw });
    const origin = append(frame.root, "p", { class: "note" });
    pairs.offer(titles, titles[0]);
    change({});
    const still = whenColoursChange(redraw);

    function study() {
      return data.studies[now.study];
    }

    // Takes a new choice, and offers what there is with it.
    function change(what) {
      Object.assign(now, what);
      const { methods: known, counts, source } = study();
      const names = known.map((one) => one.name);
      if (!names.includes(now.method)) now.method = names[0];
      if (!names.includes(now.against)) now.against = names.at(-1);
      if (now.method === now.against) now.against = names.find((name) => name !== now.method);
      methods.offer(names, now.method);
      others.offer(names.filter((name) => name !== now.method), now.against);
      now.labels = nearestIn(counts, now.labels);
      if (!budget || budget.study !== now.study) {
        controls.replaceChildren();
        budget = { study: now.study, ...listSlider(controls, {
          label: "labels of the task", options: counts, value: now.labels,
          format: (count) => count.toLocaleString("en"), moved: (labels) => change({ labels }),
        }) };
      }
      budget.set(counts.indexOf(now.labels));
      origin.textContent = `Accuracies with 95 % intervals over the draws; ${source}.${missingInWords(data.missing)}`;
      redraw();
    }

    function draw() {
      if (!marks.width || !differences.width || !totals.width) return;
      const colours = palette(frame.root);
      const found = comparison(study(), now.method, now.against, now.labels);
      drawMarks(colours);
      drawDifferences(colours);
      drawTotals(colours, found);
      fillBill(bill, study(), now, found);
      frame.show(
        { title: study().title, method: now.method, against: now.against, labels: now.labels, ...found },
        inWords(study(), now, found),
      );
    }

    function colourOf(name, colours) {
      if (name === now.method) return colours.series[0];
      return name === now.against ? colours.series[1] : colours.faint;
    }

    // A row for each method, in one order whatever the budget: one sees them move.
    function drawMarks(colours) {
      const { context, width, height } = marks;
      context.clearRect(0, 0, width, height);
      const { methods: all, counts } = study();
      const place = counts.indexOf(now.labels);
      context.font = `600 ${SMALL}`;
      const longest = Math.max(...all.map(({ name }) => context.measureText(name).width));
      const area = { left: Math.ceil(longest) + 14, top: 34, right: width - 44, bottom: height - 40 };
      const x = scale(rangeOf(all), [area.left, area.right]);
      label(context, `${now.labels.toLocaleString("en")} labels`, area.left, 14, { colour: colours.ink, font: `600 ${SMALL}` });
      const step = (area.bottom - area.top) / all.length;
      for (const tick of roundTicksIn(rangeOf(all), 5)) {
        stroke(context, [[x(tick), area.top], [x(tick), area.bottom]], colours.line);
        label(context, tick, x(tick), area.bottom + 12, { colour: colours.faint, align: "center" });
      }
      label(context, "test accuracy (%)", area.right, area.bottom + 28, { colour: colours.faint, align: "right" });
      all.forEach(({ name, accuracy }, row) => {
        const middle = area.top + (row + 0.5) * step;
        const colour = colourOf(name, colours);
        const [mean, low, high] = accuracy[place];
        const font = name === now.method || name === now.against ? `600 ${SMALL}` : SMALL;
        label(context, name, area.left - 10, middle, { colour, align: "right", font });
        stroke(context, [[x(low), middle], [x(high), middle]], colour, { width: 11, alpha: 0.4 });
        disc(context, x(mean), middle, 3, colour);
        label(context, decimals(mean, 1), area.right + 6, middle, { colour, font });
      });
    }

    function drawDifferences(colours) {
      const { context, width, height } = differences;
      context.clearRect(0, 0, width, height);
      const { counts } = study();
      const all = counts.map((count) => comparison(study(), now.method, now.against, count));
      const area = differenceArea();
      const x = scale([counts[0], counts.at(-1)], [area.left + 14, area.right - 14], true);
      const limits = rangeAround(all);
      const y = scale(limits, [area.bottom, area.top]);
      chartAxes(context, colours, area,
        { at: x, ticks: counts.map((count) => [count, count.toLocaleString("en")]), title: "labels of the task" },
        { at: y, ticks: roundTicksIn(limits, 6).map((tick) => [tick, decimals(tick, 0)]), title: "" });
      label(context, `${now.method} − ${now.against} (points)`, 4, 14, { colour: colours.ink, font: `600 ${SMALL}` });
      context.globalAlpha = 0.18;
      context.fillStyle = colours.faint;
      context.fillRect(area.left, y(1), area.right - area.left, y(-1) - y(1));
      context.globalAlpha = 1;
      stroke(context, [[area.left, y(0)], [area.right, y(0)]], colours.ink, { dash: [5, 4] });
      counts.forEach((count, place) => {
        const { effect: [middle, low, high], verdict } = all[place];
        const isChosen = count === now.labels;
        const colour = verdictColour(verdict, colours);
        stroke(context, [[x(count), y(low)], [x(count), y(high)]], colour, { width: isChosen ? 4 : 2 });
        const font = `${isChosen ? 22 : 14}px system-ui, sans-serif`;
        label(context, MARKS[verdict], x(count), y(middle), { colour, align: "center", font });
        if (isChosen) {
          // Above the interval, since beside it stands the next one; below where it reaches the top.
          const above = y(high) - 12;
          const height = above < area.top - 6 ? Math.min(y(low) + 12, area.bottom - 8) : above;
          const middleOfWord = clamp(x(count), [area.left + 36, width - 40]);
          label(context, verdict, middleOfWord, height, { colour, align: "center", halo: colours.paper, font: `600 ${SMALL}` });
        }
      });
    }

    function differenceArea() {
      return { left: 34, top: 34, right: differences.width - 8, bottom: differences.height - 40 };
    }

    // What many tasks cost in all with each of the two; grey: where the interval of the crossing lies.
    function drawTotals(colours, found) {
      const { context, width, height } = totals;
      context.clearRect(0, 0, width, height);
      const most = found.repaid ? 10 ** Math.ceil(Math.log10(4 * found.repaid[0])) : 1e5;
      const area = { left: 52, top: 34, right: width - 20, bottom: height - 40 };
      const lines = [now.method, now.against].map((name, place) => ({
        name, task: found.costs[place], price: priceOf(study(), name, found.unit),
      })).filter((line) => line.price !== null);
      if (!lines.length) return;
      const ends = lines.flatMap(({ task, price }) => [price + task, price + most * task]);
      const limits = [10 ** Math.floor(Math.log10(Math.min(...ends))), 10 ** Math.ceil(Math.log10(Math.max(...ends)))];
      const x = scale([1, most], [area.left, area.right], true);
      const y = scale(limits, [area.bottom, area.top], true);
      chartAxes(context, colours, area,
        { at: x, ticks: powers(1, most).map((tick) => [tick, short(tick)]), title: "tasks" },
        { at: y, ticks: everySecond(powers(...limits)).map((tick) => [tick, short(tick)]), title: "" });
      label(context, `${found.unit} in all, source included`, 4, 14, { colour: colours.ink, font: `600 ${SMALL}` });
      if (found.repaid) {
        const [tasks, low, high] = found.repaid;
        const from = x(clamp(low, [1, most]));
        const to = x(high === null ? most : clamp(high, [1, most]));
        context.globalAlpha = 0.18;
        context.fillStyle = colours.faint;
        context.fillRect(from, area.top, to - from, area.bottom - area.top);
        context.globalAlpha = 1;
        stroke(context, [[x(tasks), area.top], [x(tasks), area.bottom]], colours.ink, { dash: [2, 4] });
      }
      lines.forEach(({ name, task, price }, place) => {
        const colour = colourOf(name, colours);
        const points = Array.from({ length: 60 }, (_, step) => {
          const count = most ** (step / 59);
          return [x(count), y(price + count * task)];
        });
        stroke(context, points, colour, { width: 2.5 });
        const [left, top] = points[2];
        const other = lines[1 - place];
        const isLower = other && price + task < other.price + other.task;
        // The name of the upper line stands where no line runs into it, above the highest that it meets.
        context.font = `600 ${SMALL}`;
        const end = left + context.measureText(name).width;
        const met = points.filter(([at]) => at <= end).map(([, height]) => height);
        const beside = isLower ? Math.max(...met) + 16 : Math.min(...met) - 13;
        label(context, name, left, clamp(beside, [area.top + 8, area.bottom - 8]), { colour, halo: colours.paper, font: `600 ${SMALL}` });
      });
      if (found.repaid) {
        const place = x(found.repaid[0]);
        const align = place > (area.left + area.right) / 2 ? "right" : "left";
        const text = `${Math.round(found.repaid[0]).toLocaleString("en")} tasks`;
        label(context, text, place + (align === "left" ? 6 : -6), area.bottom - 10, { colour: colours.ink, align, halo: colours.paper });
      }
    }

    function follow(event) {
      const edge = differences.canvas.getBoundingClientRect();
      const area = differenceArea();
      const { counts } = study();
      const share = (event.clientX - edge.left - area.left) / (area.right - area.left);
      change({ labels: nearestIn(counts, counts[0] * (counts.at(-1) / counts[0]) ** clamp(share, [0, 1])) });
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
      marks.close();
      differences.close();
      totals.close();
      frame.close();
    };
  },
};

// A labelled list of which one is chosen. Returns {offer}: what there is to choose, and what is chosen.
function menu(parent, name, chosen) {
  // A label around a list would take what is chosen into its name.
  const select = append(append(parent, "label", {}, name), "select", { "aria-label": name });
  select.addEventListener("change", () => chosen(select.value));

  function offer(options, value) {
    const known = Array.from(select.options, (option) => option.value);
    if (known.join("\n") !== options.join("\n")) {
      select.replaceChildren();
      for (const option of options) append(select, "option", { value: option }, option);
    }
    select.value = value;
  }

  return { offer };
}

// Of a study, in this direction: the data have each two methods once.
function comparison(study, method, against, labels) {
  const place = study.counts.indexOf(labels);
  const known = study.pairs[`${method}|${against}`];
  if (known) return known[place];
  const found = study.pairs[`${against}|${method}`][place];
  const [middle, low, high] = found.effect;
  const turned = { supported: "contradicted", contradicted: "supported" };
  return {
    ...found, effect: [-middle, -high, -low], verdict: turned[found.verdict] ?? found.verdict, costs: [...found.costs].reverse(),
  };
}

function priceOf(study, name, unit) {
  const { price } = study.methods.find((one) => one.name === name);
  return price === null ? null : price[unit];
}

// The two methods' bills side by side.
function fillBill(table, study, { method, against, labels }, { unit, costs }) {
  const [mine, other] = [method, against].map((name) => study.methods.find((one) => one.name === name));
  const used = study.validation
    ? `${labels.toLocaleString("en")}, and ${study.validation} per class to choose settings` : labels.toLocaleString("en");
  const ofTask = (one) => (one.needs_labels ? used : "none");
  const once = (one) => {
    if (one.price === null) return "not recorded";
    return one.price[unit] ? amount(one.price[unit], unit) : "nothing";
  };
  const rows = [
    ["labels, per task", ofTask(mine), ofTask(other)],
    ["work, per task", ...costs.map((cost) => (cost ? amount(cost, unit) : "nothing"))],
    ["work for the source, once", once(mine), once(other)],
    ["who paid for the source", mine.paid, other.paid],
  ];
  table.replaceChildren();
  const head = append(append(table, "thead"), "tr");
  append(head, "td");
  for (const name of [method, against]) append(head, "th", { scope: "col" }, name);
  const body = append(table, "tbody");
  for (const [name, ...cells] of rows) {
    const line = append(body, "tr");
    append(line, "th", { scope: "row" }, name);
    for (const cell of cells) append(line, "td", {}, cell);
  }
}

// 1077872820224, "FLOPs" → "1.08 TFLOPs".
function amount(number, unit) {
  if (unit === "seconds") return `${digits(number)} seconds`;
  const [size, prefix] = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1, ""]].find(([power]) => number >= power) ?? [1, ""];
  return `${digits(number / size)} ${prefix}FLOPs`;
}

// Three of them.
function digits(number) {
  if (number >= 100) return Math.round(number).toLocaleString("en");
  return number >= 10 ? decimals(number, 1) : decimals(number, 2);
}

function short(number) {
  const names = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const [size, letter] = names.find(([power]) => number >= power) ?? [1, ""];
  return `${Number((number / size).toPrecision(3))}${letter}`;
}

function powers(from, to) {
  const first = Math.round(Math.log10(from));
  return Array.from({ length: Math.round(Math.log10(to)) - first + 1 }, (_, place) => 10 ** (first + place));
}

function everySecond(ticks) {
  return ticks.length > 6 ? ticks.filter((_, place) => place % 2 === 0) : ticks;
}

function nearestIn(counts, labels) {
  const far = (count) => Math.abs(Math.log(count / labels));
  return counts.reduce((best, count) => (far(count) < far(best) ? count : best));
}

// From the lowest to the highest end of any interval, whatever the budget: the axis stays.
function rangeOf(methods) {
  const all = methods.flatMap(({ accuracy }) => accuracy.flat());
  return [Math.floor(Math.min(...all) / 5) * 5, Math.min(100, Math.ceil(Math.max(...all) / 5) * 5)];
}

// Around all intervals and the margin of one point on both sides of nothing.
function rangeAround(comparisons) {
  const all = comparisons.flatMap(({ effect }) => effect);
  return [Math.min(-1.6, Math.min(...all) - 0.4), Math.max(1.6, Math.max(...all) + 0.4)];
}

function roundTicksIn([lowest, highest], count) {
  const rough = (highest - lowest) / count;
  const step = [1, 2, 5, 10, 20, 50].find((size) => size >= rough) ?? 100;
  const first = Math.ceil(lowest / step);
  return Array.from({ length: Math.floor(highest / step) - first + 1 }, (_, place) => (first + place) * step);
}

function verdictColour(verdict, colours) {
  const place = { supported: 0, contradicted: 1, "no gain": 4 }[verdict];
  return place === undefined ? colours.faint : colours.series[place];
}

function signed(number) {
  const text = decimals(number, 1);
  return number > 0 && text !== "0.0" ? `+${text}` : text;
}

function missingInWords(missing) {
  return missing.length ? ` Not recorded yet in this form: ${missing.join("; ")}.` : "";
}

function inWords(study, { method, against, labels }, found) {
  const [middle, low, high] = found.effect.map(signed);
  return `${study.title}, ${labels.toLocaleString("en")} labels: ${method} − ${against} = ${middle} points [${low}, ${high}], ${found.verdict}. ${repaidInWords(study, method, against, found)}`;
}

function repaidInWords(study, method, against, { unit, repaid }) {
  const [mine, other] = [method, against].map((name) => priceOf(study, name, unit));
  if (mine === null || other === null) return "What one of the sources cost was not recorded.";
  if (mine === other) return "Neither has a dearer source than the other, so there is nothing to repay.";
  const dear = mine > other ? method : against;
  if (!repaid) return `The source of ${dear} saves nothing per task, so no number of tasks repays it.`;
  const [tasks, low, high] = repaid.map((number) => (number === null ? "open" : Math.round(number).toLocaleString("en")));
  return `The source of ${dear} is repaid after ${tasks} tasks [${low}, ${high}].`;
}
