"""A page with one living figure, in Chromium from file://: for the tests of each of them."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from in_browser import CHROMIUM, FLAGS
from nbformat.v4 import new_output
from small_course import write

from vaetl_helpers.authoring.site import write_site
from vaetl_helpers.living.figure import LIVING

ALT = "A figure that can be moved, for a test of its page."
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
FIGURE = "figure.living > div"
# What the figure shows once it has drawn again after window.acts[act](target), and the milliseconds
# until then by the page's own clock.
ANSWER = """
async ([selector, act]) => {
  const el = document.querySelector('figure.living > div');
  const target = document.querySelector(selector);
  const drawn = new Promise(done => el.addEventListener('vaetl-drawn', done, {once: true}));
  const started = performance.now();
  window.acts[act](target);
  await drawn;
  return [performance.now() - started, JSON.parse(el.dataset.state)];
}
"""
ACTS = """
() => {
  let turn = 0;
  function press(target, key) {
    target.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
  }
  function drag(target, pointerType) {
    const edge = target.getBoundingClientRect();
    turn += 1;
    target.dispatchEvent(new PointerEvent('pointermove', {
      pointerId: 1, pointerType, bubbles: true,
      clientX: edge.left + edge.width * (0.2 + 0.06 * (turn % 10)),
      clientY: edge.top + edge.height * 0.4}));
  }
  window.acts = {
    right: target => press(target, 'ArrowRight'),
    left: target => press(target, 'ArrowLeft'),
    drag: target => drag(target, 'mouse'),
    touch: target => drag(target, 'touch'),
  };
}
"""
VIOLATIONS = """
async () => {
  const blocked = [];
  document.addEventListener(
      'securitypolicyviolation', event => blocked.push(event.effectiveDirective));
  await fetch('https://example.org/').catch(() => {});
  const script = document.createElement('script');
  script.textContent = 'window.intruder = true';
  document.body.append(script);
  const image = new Image();
  image.src = 'https://example.org/a.png';
  await new Promise(resolve => setTimeout(resolve, 300));
  return [blocked, window.intruder === true];
}
"""


def page_of(folder: Path, module: str, data: Any) -> Path:
    """The page of a notebook whose only output is this living figure."""
    notebook_path = write(folder, "01_living", "# A figure\n\nText.", "draw()")
    notebook = nbformat.read(notebook_path, as_version=4)
    content = {"module": module, "data": data}
    bundle = {"text/plain": ALT, "image/png": PIXEL, LIVING: content}
    output = new_output("display_data", bundle, metadata={"image/png": {"alt": ALT}})
    notebook.cells[-1].outputs = [output]
    nbformat.write(notebook, notebook_path)
    return write_site([notebook_path], folder / "out", "The course").with_name("01_living.html")


@contextlib.contextmanager
def opened(path: Path, **options: Any) -> Iterator[Any]:
    """The page, drawn once; `asked` lists what it has asked for, apart from itself and its data.

    An error of its script is one of the test.
    """
    from playwright.sync_api import sync_playwright

    flags = [*FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        view = browser.new_context(**{"viewport": DESKTOP, "offline": True, **options}).new_page()
        view.asked, errors = [], []
        own = (path.as_uri(), "data:", "blob:")
        view.on(
            "request",
            lambda request: None if request.url.startswith(own) else view.asked.append(request.url),
        )
        view.on("pageerror", lambda error: errors.append(str(error)))
        view.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            view.wait_for_selector("figure.moves [class=vaetl-living]")
            view.wait_for_selector(f"{FIGURE}[data-state]", state="attached")
            view.evaluate(ACTS)
        yield view
        browser.close()
    assert not errors


def state(view: Any) -> Any:
    """What the figure says that it shows."""
    return json.loads(view.locator(FIGURE).get_attribute("data-state"))


def settled(view: Any, before: Any) -> Any:
    """The state once it is another one than `before`, and still."""
    view.wait_for_function(
        f"""before => {{
          const now = JSON.parse(document.querySelector('{FIGURE}').dataset.state);
          return JSON.stringify(now) !== JSON.stringify(before);
        }}""",
        arg=before,
    )
    view.wait_for_timeout(150)
    return state(view)


def drag_by_finger(view: Any, way: Sequence[tuple[float, float]]) -> None:
    """A finger is put down at the first of these points, moved along the others, and lifted."""
    client = view.context.new_cdp_session(view)
    kinds = ["touchStart"] + ["touchMove"] * (len(way) - 1)
    for kind, (x, y) in zip(kinds, way, strict=True):
        points = [{"x": x, "y": y}]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def median_answer(view: Any, selector: str, acts: tuple[str, ...], name: str) -> float:
    """Median milliseconds of 100 answers by the page's own clock; prints it with the extremes."""
    times = []
    for turn in range(100):
        act = acts[turn // 10 % len(acts)]  # ten steps there, ten back
        times.append(view.evaluate(ANSWER, [selector, act])[0])
    median = statistics.median(times)
    print(
        f"{name}: median {median:.1f} ms of {len(times)} answers, from {min(times):.1f} to "
        f"{max(times):.0f} ms"
    )
    return median
