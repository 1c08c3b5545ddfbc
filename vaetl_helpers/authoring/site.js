// What a page of the course does by itself: it searches the course, shows in the contents where
// the reader is, and copies code. Whatever is not needed without a script is made here.

const main = document.getElementById("main");

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ---------------------------------------------------------------- contents that follow

// A title with a "%" makes an anchor that is no valid code, and would stop the whole script.
function decoded(anchor) {
  try {
    return decodeURIComponent(anchor);
  } catch {
    return anchor;
  }
}

function followContents() {
  const links = [...document.querySelectorAll("nav.toc a")];
  const linkOf = new Map(links.map((link) => [decoded(link.hash.slice(1)), link]));
  const headings = [...main.querySelectorAll("h2, h3")].filter(({ id }) => linkOf.has(id));
  if (!headings.length) return;

  function mark() {
    const line = window.innerHeight / 3;
    const passed = headings.filter((heading) => heading.getBoundingClientRect().top < line);
    const current = linkOf.get(passed.at(-1)?.id);
    for (const link of links) {
      if (link === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (current) keepInSight(current);
  }

  whileScrolling(mark);
  mark();
}

// Scrolls the list of contents alone: `scrollIntoView` would move the page, too.
function keepInSight(link) {
  const list = link.closest("nav");
  const above = link.getBoundingClientRect().top - list.getBoundingClientRect().top;
  if (above < 0 || above > list.clientHeight - 2 * link.offsetHeight) {
    list.scrollTop += above - list.clientHeight / 2;
  }
}

// At most once a frame.
function whileScrolling(action) {
  let waiting = false;
  function later() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      action();
    });
  }
  addEventListener("scroll", later, { passive: true });
  addEventListener("resize", later);
}

// ---------------------------------------------------------------- copy buttons

function offerCopies() {
  for (const code of main.querySelectorAll(".highlight")) {
    if (code.querySelector("pre")) code.append(copyButton(code.querySelector("pre")));
  }
}

function copyButton(code) {
  const button = make("button", { className: "copy", type: "button", textContent: "Copy" });
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    const copied = await copy(code.textContent);
    button.textContent = copied ? "Copied" : "Select and copy";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyFromField(text);
  }
}

// Where the browser does not hand out its clipboard, as for files in some of them.
function copyFromField(text) {
  const field = make("textarea", { value: text });
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}

// ---------------------------------------------------------------- boxes that scroll

// Whoever has no mouse scrolls a box with the arrow keys, once it can be reached.
function reachScrollingBoxes() {
  for (const box of main.querySelectorAll("pre, .scroll, .formula")) {
    const scrolls = box.scrollWidth > box.clientWidth;
    if (scrolls) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  }
}

// ---------------------------------------------------------------- back to the top

function offerTop() {
  const top = document.querySelector("a.top");
  const update = () => top.classList.toggle("out", window.scrollY < 1.5 * window.innerHeight);
  whileScrolling(update);
  update();
}

// ---------------------------------------------------------------- search

const MOST_RESULTS = 12;

function plain(text) {
  return text.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "");
}

// The numbers of the sections that have a word which begins so, each with how well it fits:
// a whole word counts more than a beginning, and a heading more than text.
function sectionsWith(beginning, index) {
  const scores = new Map();
  for (const [word, sections] of Object.entries(index.words)) {
    if (!word.startsWith(beginning)) continue;
    const fit = beginning.length / word.length;
    for (const number of sections) scores.set(number, Math.max(fit, scores.get(number) ?? 0));
  }
  index.sections.forEach(([, , title], number) => {
    const words = plain(title).split(/[^\p{L}\p{N}]+/u);
    if (words.some((word) => word.startsWith(beginning))) {
      scores.set(number, 2 + (scores.get(number) ?? 0));
    }
  });
  return scores;
}

// Sections that have all the words of a query, the best first.
function find(query, index) {
  const words = plain(query).match(/[\p{L}\p{N}_]+/gu) ?? [];
  if (!words.length) return [];
  const each = words.map((word) => sectionsWith(word, index));
  const numbers = [...each[0].keys()].filter((number) => each.every((scores) => scores.has(number)));
  const total = (number) => each.reduce((sum, scores) => sum + scores.get(number), 0);
  return numbers.sort((one, other) => total(other) - total(one) || one - other);
}

function offerSearch() {
  const data = document.getElementById("search-index");
  const button = document.querySelector("button.search");
  if (!data || !button) return;
  let index; // read when it is first asked for

  const field = make("input", { type: "search", id: "query", autocomplete: "off" });
  const results = make("ol", {});
  const count = make("p", { className: "faint" });
  count.setAttribute("aria-live", "polite");
  const label = make("label", { htmlFor: "query", textContent: "Search the course" });
  const close = make("button", { type: "button", textContent: "Close" });
  const box = make("dialog", { className: "search" }, label, field, close, count, results);
  box.setAttribute("aria-label", "Search");
  document.body.append(box);

  function open() {
    index ??= JSON.parse(data.textContent);
    box.showModal();
    field.select();
  }

  function show() {
    const numbers = find(field.value, index);
    const shown = numbers.slice(0, MOST_RESULTS);
    results.replaceChildren(...shown.map((number) => resultItem(index, number, box)));
    count.textContent = howMany(field.value, numbers.length);
  }

  button.hidden = false;
  button.addEventListener("click", open);
  close.addEventListener("click", () => box.close());
  field.addEventListener("input", show);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") results.querySelector("a")?.click();
  });
  box.addEventListener("keydown", (event) => moveAmongResults(event, field, results));
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    open();
  });
}

function howMany(query, number) {
  if (!query.trim()) return "";
  if (!number) return "No section has all of these words.";
  const sections = number === 1 ? "1 section" : `${number} sections`;
  return number > MOST_RESULTS ? `${sections}, the best ${MOST_RESULTS} of them:` : `${sections}:`;
}

function resultItem(index, number, box) {
  const [page, id, title] = index.sections[number];
  const [file, chapter] = index.pages[page];
  const where = make("span", { className: "faint", textContent: chapter });
  const link = make("a", { href: id ? `${file}#${id}` : file }, title, where);
  link.addEventListener("click", () => box.close()); // it may lead to a place on this page
  return make("li", {}, link);
}

function moveAmongResults(event, field, results) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const stops = [field, ...results.querySelectorAll("a")];
  const place = stops.indexOf(document.activeElement) + step;
  stops[Math.max(0, Math.min(place, stops.length - 1))].focus();
  event.preventDefault();
}

followContents();
offerCopies();
offerTop();
offerSearch();
reachScrollingBoxes();
addEventListener("resize", reachScrollingBoxes);
main.addEventListener("toggle", reachScrollingBoxes, true); // a fold that is opened
