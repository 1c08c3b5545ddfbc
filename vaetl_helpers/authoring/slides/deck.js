// Slides, one at a time: moved by keys, by buttons, or by the speaker's own window.

const slides = [...document.querySelectorAll("section.slide")];
const root = document.documentElement;
const controls = document.querySelector("nav.controls");
const isSpeaker = new URLSearchParams(location.search).has("speaker");
const SIZES = [1.3, 1.2, 1.1, 1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45];
let now = 0;
let fitting = 0; // how often the sizes were looked for
let other = isSpeaker ? window.opener : null; // the window that shows the same slide
const started = Date.now();

// ---------------------------------------------------------------- moving

function go(place, tell = true) {
  now = Math.max(0, Math.min(place, slides.length - 1));
  slides.forEach((slide, number) => slide.classList.toggle("now", number === now));
  history.replaceState(null, "", `#${now + 1}`);
  showPlace();
  if (tell) other?.postMessage({ slide: now }, "*"); // a file has no origin to name
}

function showPlace() {
  const place = controls.querySelector(".place");
  place.textContent = `${now + 1} / ${slides.length}`;
  if (isSpeaker) place.textContent += ` · ${clock()} · ${planned()}next: ${titleOf(now + 1)}`;
}

function titleOf(place) {
  return slides[place]?.querySelector("h1, h2").textContent ?? "the end";
}

function clock() {
  const seconds = Math.floor((Date.now() - started) / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

// When a talk should leave this slide, in minutes from its beginning.
function planned() {
  const minutes = slides.slice(0, now + 1).map((slide) => Number(slide.dataset.minutes ?? 0));
  const sum = minutes.reduce((one, two) => one + two, 0);
  return sum ? `until ${sum} min · ` : "";
}

// ---------------------------------------------------------------- room

// Each slide shows its content as large as it fits, so that nothing is ever cut. Text is zoomed; a
// living figure is made narrower, since it draws itself as high as its width asks for.
async function fit(slide) {
  const room = slide.querySelector(".room");
  const content = room.firstElementChild;
  const figure = content.querySelector("figure.living > div");
  const isPicture = content.querySelector("figure") !== null;
  const sizes = isPicture ? SIZES.filter((size) => size <= 1) : SIZES;
  for (const size of sizes) {
    if (figure) figure.style.width = `${100 * size}%`;
    else content.style.zoom = size;
    slide.dataset.size = size;
    if (figure) await drawnAnew();
    if (!isTooLarge(room, content)) break;
  }
}

async function fitAll() {
  fitting += 1;
  const mine = fitting;
  delete root.dataset.fitted;
  for (const slide of [slides[now], ...slides]) {
    await fit(slide);
    if (mine !== fitting) return; // the window has changed once more
  }
  root.dataset.fitted = "yes";
}

// The page's other script brings the figures to life, or leaves their pictures where it cannot.
async function whenFiguresMove() {
  const moving = () => document.querySelectorAll("figure.living.moves > div[data-state]").length;
  const all = document.querySelectorAll("figure.living").length;
  for (let frame = 0; frame < 120 && moving() < all; frame += 1) await drawnAnew();
}

// A figure hears of its new width after one frame, and has drawn by the next.
async function drawnAnew() {
  for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
}

function isTooLarge(room, content) {
  const limit = room.getBoundingClientRect();
  const size = content.getBoundingClientRect();
  return size.bottom > limit.bottom + 1 || content.scrollWidth > content.clientWidth + 1;
}

// ---------------------------------------------------------------- keys, buttons, windows

const KEYS = {
  ArrowRight: () => go(now + 1),
  ArrowDown: () => go(now + 1),
  PageDown: () => go(now + 1),
  " ": () => go(now + 1),
  ArrowLeft: () => go(now - 1),
  ArrowUp: () => go(now - 1),
  PageUp: () => go(now - 1),
  Home: () => go(0),
  End: () => go(slides.length - 1),
  n: () => root.classList.toggle("with-notes"),
  s: openSpeaker,
  f: () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()),
};

// A figure keeps its own keys; Page Up and Page Down, which presenters' remotes send, always move.
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isRemote = event.key.startsWith("Page");
  if (!isRemote && event.target.closest?.(".vaetl-living, button, input, select, summary")) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

function openSpeaker() {
  if (isSpeaker) return;
  const address = new URL(location.href);
  address.search = "speaker";
  other = window.open(address, "speaker", "width=900,height=700");
}

function onMessage(event) {
  if (event.source === other && Number.isInteger(event.data?.slide)) go(event.data.slide, false);
}

root.classList.add("deck");
root.classList.toggle("speaker", isSpeaker);
controls.hidden = false;
controls.querySelector(".back").addEventListener("click", () => go(now - 1));
controls.querySelector(".next").addEventListener("click", () => go(now + 1));
addEventListener("keydown", onKey);
addEventListener("message", onMessage);
addEventListener("resize", fitAll);
addEventListener("hashchange", () => go(Number(location.hash.slice(1)) - 1));
if (isSpeaker) setInterval(showPlace, 1000);
go((Number(location.hash.slice(1)) || 1) - 1, false);
if (document.querySelector("figure.living")) await whenFiguresMove();
fitAll();
