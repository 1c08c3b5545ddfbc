// Slides, one at a time: moved by keys, by buttons, or by the speaker's own window.

const slides = [...document.querySelectorAll("section.slide")];
const root = document.documentElement;
const bar = document.querySelector("nav.deck-bar");
const isSpeaker = new URLSearchParams(location.search).has("speaker");
const SIZES = [1.3, 1.2, 1.1, 1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4];
const NARROWEST = 0.7;
let now = 0;
let other = isSpeaker ? window.opener : null; // the window that shows the same slide
const started = Date.now();

// ---------------------------------------------------------------- moving

function go(place, tell = true) {
  now = Math.max(0, Math.min(place, slides.length - 1));
  slides.forEach((slide, number) => slide.classList.toggle("now", number === now));
  history.replaceState(null, "", `#${now + 1}`);
  showPlace();
  fit(slides[now]);
  if (tell) other?.postMessage({ slide: now }, "*"); // a file has no origin to name
}

function showPlace() {
  const place = bar.querySelector(".place");
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
function fit(slide) {
  const content = slide.querySelector(".content");
  if (content.querySelector("figure.living")) return; // the watcher below does it
  const isPicture = content.querySelector("figure") !== null;
  for (const size of SIZES) {
    if (isPicture && size > 1) continue;
    content.style.zoom = size;
    slide.dataset.size = size;
    if (!isTooLarge(content)) break;
  }
}

function isTooLarge(content) {
  const limit = content.parentElement.getBoundingClientRect().bottom;
  const isTooHigh = content.getBoundingClientRect().bottom > limit + 1;
  return isTooHigh || content.scrollWidth > content.clientWidth + 1;
}

// Figures draw when they can, and may grow when they are moved: whenever one is found too large, it
// becomes one size smaller, until it fits.
const watcher = new ResizeObserver((entries) => {
  for (const { target } of entries) requestAnimationFrame(() => narrow(target));
});

function narrow(content) {
  const slide = content.closest("section.slide");
  const smaller = SIZES.find((size) => size < Number(slide.dataset.size));
  if (!smaller || !isTooLarge(content)) return;
  setSize(slide, smaller);
  requestAnimationFrame(() => narrow(content));
}

// Below a width at which its parts would stand one below the other, all of the figure is shrunk.
function setSize(slide, size) {
  slide.dataset.size = size;
  slide.querySelector("figure.living").style.width = `${100 * Math.max(size, NARROWEST)}%`;
  slide.querySelector(".content").style.scale = Math.min(1, size / NARROWEST);
}

function watchFigures() {
  for (const figure of document.querySelectorAll("figure.living")) {
    setSize(figure.closest("section.slide"), 1);
    watcher.observe(figure.closest(".content"));
  }
}

function onResize() {
  watcher.disconnect();
  watchFigures();
  fit(slides[now]);
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
bar.hidden = false;
bar.querySelector(".back").addEventListener("click", () => go(now - 1));
bar.querySelector(".next").addEventListener("click", () => go(now + 1));
addEventListener("keydown", onKey);
addEventListener("message", onMessage);
addEventListener("resize", onResize);
addEventListener("hashchange", () => go(Number(location.hash.slice(1)) - 1));
if (isSpeaker) setInterval(showPlace, 1000);
watchFigures();
go((Number(location.hash.slice(1)) || 1) - 1, false);
