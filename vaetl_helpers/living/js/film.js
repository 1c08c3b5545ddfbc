// A VAE that learns, frame by frame: what it makes of the same codes, and where it puts images.

const PACE = 320; // milliseconds from one frame to the next

export default {
  render({ model, el }) {
    const data = model.get("data");
    const { epochs, labels, edge } = data;
    const last = epochs.length - 1;
    const planes = int8Of(data.plane); // [frames, images, 2]
    const frame = stage(el, model.get("alt"));
    const redraw = inNextFrame(draw);
    const sprite = new Image();
    const mixed = document.createElement("canvas").getContext("2d");
    [mixed.canvas.width, mixed.canvas.height] = data.size;
    let at = last; // between two whole numbers the film is between two frames
    let playing = 0; // the animation frame that was asked for
    let since = 0;
    const panels = append(frame.root, "div", { class: "row" });
    const [left, right] = ["the same codes, decoded", "where images are put"].map((title) => {
      const panel = append(panels, "div");
      append(panel, "div", { class: "note" }, title);
      return surface(panel, { ratio: data.size[1] / data.size[0], resized: redraw });
    });
    const controls = append(frame.root, "div", { class: "player" });
    const play = button(controls, "Play", () => (playing ? pause() : start()));
    const place = slider(controls, {
      label: "epoch", min: 0, max: last, step: 1, value: last, format: (number) => String(epochs[number]),
      moved: (number) => { pause(); at = number; redraw(); },
    });
    const still = whenColoursChange(redraw);
    sprite.addEventListener("load", redraw);
    sprite.src = `data:image/png;base64,${data.sprite}`;

    function start() {
      if (at >= last) at = 0;
      since = performance.now();
      play.textContent = "Pause";
      playing = requestAnimationFrame(go);
    }

    function pause() {
      cancelAnimationFrame(playing);
      playing = 0;
      play.textContent = "Play";
    }

    function go(time) {
      const passed = Math.max(0, time - since) / PACE;
      since = Math.max(time, since);
      at = Math.min(last, at + passed);
      // Who prefers calm sees one frame after the other, without motion between them.
      place.set(Math.floor(at));
      draw();
      if (at >= last) pause();
      else playing = requestAnimationFrame(go);
    }

    function draw() {
      if (!left.width || !right.width || !sprite.complete) return;
      const colours = palette(frame.root);
      const whole = Math.floor(at);
      const share = prefersCalm() ? 0 : at - whole;
      drawSamples(colours, whole, share);
      drawPlane(colours, whole, share);
      const state = { epoch: epochs[whole], frame: whole, cost: data.costs[whole], playing: playing > 0, first: placesAt(whole, 0)[0] };
      frame.show(state, inWords(state));
    }

    // One frame, and the next one over it, as far as it has come.
    function drawSamples(colours, whole, share) {
      const { context, width, height } = left;
      const [wide, high] = data.size;
      for (const [number, alpha] of [[whole, 1], [whole + 1, share]]) {
        if (!alpha) continue;
        mixed.globalAlpha = alpha;
        mixed.drawImage(sprite, 0, number * high, wide, high, 0, 0, wide, high);
      }
      mixed.globalAlpha = 1;
      if (!colours.isDark) invert(mixed, wide, high); // dark ink on light paper
      context.globalCompositeOperation = "source-over";
      context.fillStyle = colours.wash;
      context.fillRect(0, 0, width, height);
      context.globalCompositeOperation = colours.isDark ? "screen" : "multiply";
      context.drawImage(mixed.canvas, 0, 0, width, height);
    }

    // The places of all images, those of the next frame mixed in.
    function placesAt(whole, share) {
      const next = Math.min(last, whole + 1);
      return labels.map((_, image) => [0, 1].map((axis) => {
        const here = planes[(whole * labels.length + image) * 2 + axis];
        const there = planes[(next * labels.length + image) * 2 + axis];
        return here + share * (there - here);
      }));
    }

    function drawPlane(colours, whole, share) {
      const { context, width, height } = right;
      context.fillStyle = colours.wash;
      context.fillRect(0, 0, width, height);
      const x = scale([-edge, edge], [0, width]);
      const y = scale([-edge, edge], [height, 0]);
      const places = placesAt(whole, share);
      places.forEach((at_, image) => {
        context.globalAlpha = 0.75;
        disc(context, x(at_[0]), y(at_[1]), 3, colours.series[labels[image] % colours.series.length]);
      });
      context.globalAlpha = 1;
      data.classes.forEach((name, number) => {
        const own = places.filter((_, image) => labels[image] === number);
        if (!own.length) return;
        const [px, py] = [0, 1].map((axis) => own.reduce((sum, each) => sum + each[axis], 0) / own.length);
        label(context, name, x(px), y(py), {
          colour: colours.series[number % colours.series.length], align: "center", halo: colours.wash, font: "bold 15px system-ui, sans-serif",
        });
      });
    }

    return () => {
      pause();
      still();
      redraw.cancel();
      left.close();
      right.close();
      frame.close();
    };
  },
};

// Without canvas filters, which not every browser has.
function invert(context, width, height) {
  context.save();
  context.globalCompositeOperation = "difference";
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.restore();
}

function inWords({ epoch, cost }) {
  if (cost === null) return `Before training: the decoder makes the same of all codes, and the encoder puts all images into one heap.`;
  return `After epoch ${epoch}: an image costs ${decimals(cost, 1)} nats.`;
}
