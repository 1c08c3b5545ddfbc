// The toy world: three codes and two pixels. p(x) is a sum of three products; q is on three
// sliders that stay normalised; the bar shows what q makes of log p(x).

const LOWEST_NATS = -6;
const TOY_STYLE = `
.vaetl-living .pixels { display: inline-flex; border: 1px solid var(--living-faint); vertical-align: middle; }
.vaetl-living .pixels > span { width: 1.35rem; height: 1.35rem; border: 0 solid var(--living-faint); }
.vaetl-living .pixels > span + span { border-left-width: 1px; }
.vaetl-living .choices { display: flex; flex-wrap: wrap; gap: 0.5rem; margin: 0 0 1rem; }
.vaetl-living .code { border-top: 1px solid var(--living-line); padding: 0.5rem 0 0; }
.vaetl-living .code p { margin: 0; font-variant-numeric: tabular-nums; }
.vaetl-living .code .pixels { margin-right: 0.7rem; }
.vaetl-living .answer { display: block; color: var(--living-faint); }
.vaetl-living label.slider.toy { grid-template-columns: 2.6rem 1fr 3.4rem; }
`;

export default {
  render({ model, el }) {
    const data = model.get("data");
    const { root, show, close } = stage(el, model.get("alt"));
    append(root, "style", {}, TOY_STYLE);
    const logPrior = data.prior.map(Math.log);
    let image = data.images[0];
    let q = [...data.q];
    let shown = false; // the posterior

    const columns = append(root, "div", { class: "row" });
    const left = append(columns, "div");
    const right = append(columns, "div");
    append(left, "p", { class: "title" }, "Choose the image x");
    const choices = append(left, "div", { class: "choices" });
    const images = data.images.map((pixels) => {
      const tag = button(choices, "", () => choose(pixels));
      tag.setAttribute("aria-label", `the image with pixels ${pixels.join(" and ")}`);
      picture(tag, pixels);
      return { pixels, tag };
    });
    append(left, "p", { class: "title" }, "Each code: p(z) · p(x|z), pixel by pixel");
    const rows = data.prior.map((_, code) => rowOf(code));
    append(right, "p", { class: "title" }, "p(x), their sum");
    const total = append(right, "p", { class: "sum", style: "margin-bottom: 1rem" });
    const bar = boundBar(right, LOWEST_NATS);
    const answers = append(right, "div", { class: "choices", style: "margin-top: 0.9rem" });
    const reveal = button(answers, "Show the posterior", () => { shown = !shown; ask(); });
    button(answers, "Take it as q", () => { q = posterior(); shown = true; ask(); });
    button(answers, "Back to the prior", () => { q = [...data.prior]; ask(); });

    function rowOf(code) {
      const row = append(left, "div", { class: "code" });
      const line = append(row, "p");
      picture(line, data.ink[code]);
      const product = append(line, "span");
      const answer = append(line, "span", { class: "answer" });
      const control = slider(row, {
        label: `q(${code + 1})`, min: 0, max: 1, step: 0.005, value: q[code],
        format: (value) => decimals(value, 3), moved: (chance) => { q = withChance(q, code, chance); ask(); },
      });
      control.input.parentElement.classList.add("toy");
      return { product, answer, control };
    }

    function choose(pixels) {
      image = pixels;
      ask();
    }

    function likelihood() {
      return data.ink.map((ink) => ink.reduce((product, chance, pixel) => product * of(chance, image[pixel]), 1));
    }

    function posterior() {
      const joint = likelihood().map((value, code) => value * data.prior[code]);
      const sum = joint.reduce((one, other) => one + other);
      return joint.map((value) => value / sum);
    }

    const ask = inNextFrame(draw);

    function draw() {
      const colours = palette(root);
      const chances = likelihood();
      const joint = chances.map((value, code) => value * data.prior[code]);
      const bound = boundOf(logPrior, chances.map(Math.log), q.map(Math.log));
      rows.forEach(({ product, answer, control }, code) => {
        const factors = data.ink[code].map((chance, pixel) => plain(of(chance, image[pixel])));
        product.textContent = `z = ${code + 1}: ${plain(data.prior[code])} · (${factors.join(" · ")}) = ${plain(joint[code])}`;
        answer.textContent = shown ? `p(${code + 1}|x) = ${plain(joint[code])} / ${plain(Math.exp(bound.log_px))} = ${decimals(posterior()[code], 3)}` : "";
        control.set(q[code]);
      });
      total.textContent = `${joint.map(plain).join(" + ")} = ${plain(Math.exp(bound.log_px))}`;
      bar.set(bound, colours);
      reveal.setAttribute("aria-pressed", shown);
      for (const { pixels, tag } of images) tag.setAttribute("aria-pressed", pixels === image);
      show({ image, q, ...bound }, wordsFor(bound));
    }

    function wordsFor(bound) {
      return `Image ${image.join(" ")}: p(x) = ${plain(Math.exp(bound.log_px))}, log p(x) = ${decimals(bound.log_px)} nats. ` +
        `With q = (${q.map((chance) => decimals(chance, 3)).join(", ")}) the ELBO is ${decimals(bound.elbo)} ` +
        `and the gap ${decimals(bound.gap)} nats.`;
    }

    draw();
    const forget = whenColoursChange(ask);
    return () => {
      ask.cancel();
      forget();
      close();
    };
  },
};

// How probable this pixel is, where ink has this chance.
function of(chance, pixel) {
  return pixel ? chance : 1 - chance;
}

// q with one code's chance set; the others keep their proportion and share what is left.
function withChance(q, code, chance) {
  const rest = q.reduce((sum, value, other) => (other === code ? sum : sum + value), 0);
  return q.map((value, other) => {
    if (other === code) return chance;
    return (1 - chance) * (rest > 0 ? value / rest : 1 / (q.length - 1));
  });
}

// A number as one writes it by hand: 0.128, not 0.12800000000000003.
function plain(value) {
  return String(Number(value.toFixed(6)));
}

// Two pixels, as dark as ink is probable in them.
function picture(parent, chances) {
  const box = append(parent, "span", { class: "pixels", "aria-hidden": "true" });
  for (const chance of chances) {
    append(box, "span", { style: `background: color-mix(in srgb, var(--living-ink) ${100 * chance}%, var(--living-paper))` });
  }
}
