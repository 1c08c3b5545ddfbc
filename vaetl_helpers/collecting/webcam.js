// The camera, and a button for each thing. `send(number, picture)` keeps a picture of thing
// `number` and resolves to how many there are of it now; without a result the count comes later.

const LONG_SIDE = 1024; // pixels of what is kept

export function photograph(place, names, counts, send) {
  const video = document.createElement("video");
  video.autoplay = true;
  video.muted = true;
  video.playsInline = true;
  video.style.maxWidth = "100%";
  video.style.width = "480px";
  video.setAttribute("aria-label", "What the camera sees");
  const told = document.createElement("p");
  told.setAttribute("role", "status");
  told.textContent = "Waiting for the camera; the browser asks for leave.";
  const buttons = names.map((name, number) => button(name, number));
  const row = document.createElement("div");
  row.append(...buttons);
  place.append(video, row, told);

  function button(name, number) {
    const element = document.createElement("button");
    element.type = "button";
    element.disabled = true;
    element.style.cssText = "margin: 8px 8px 0 0; padding: 8px 16px; font-size: 1rem";
    element.addEventListener("click", () => take(number));
    element.textContent = label(name, counts[number]);
    return element;
  }

  function label(name, count) {
    return `Photograph ${name} (${count})`;
  }

  async function take(number) {
    try {
      const count = await send(number, pictureOf(video));
      if (count !== undefined) show(number, count);
    } catch (error) {
      told.textContent = `The picture was not kept (${error}): is the kernel still running?`;
    }
  }

  function show(number, count) {
    buttons[number].textContent = label(names[number], count);
    told.textContent = `${count} of ${names[number]}. Move the thing before the next picture.`;
  }

  open(video).then(
    () => {
      for (const element of buttons) element.disabled = false;
      told.textContent = "Take ten pictures of each thing, and move it in between.";
    },
    (error) => {
      told.textContent =
        `The browser gives no camera (${error.name || error}): allow it beside the address, ` +
        "or bring pictures by upload().";
    },
  );
  return { show, close: () => close(video) };
}

async function open(video) {
  if (!navigator.mediaDevices) throw new Error("this page is not served by https");
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
  await video.play();
}

function close(video) {
  if (!video.srcObject) return;
  for (const track of video.srcObject.getTracks()) track.stop();
}

function pictureOf(video) {
  const scale = Math.min(1, LONG_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(scale * video.videoWidth);
  canvas.height = Math.round(scale * video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.9);
}

function render({ model, el }) {
  const send = (number, picture) => {
    model.send({ number, picture });
  };
  const view = photograph(el, model.get("names"), model.get("counts"), send);
  let before = model.get("counts");
  model.on("change:counts", () => {
    const counts = model.get("counts");
    counts.forEach((count, number) => {
      if (count !== before[number]) view.show(number, count);
    });
    before = counts;
  });
  return view.close;
}

export default { render };
