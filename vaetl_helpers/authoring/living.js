// Brings the page's living figures to life: `living` has the modules, each figure its data.
for (const figure of document.querySelectorAll("figure.living")) {
  const content = JSON.parse(figure.querySelector("script").textContent);
  const model = { get: (name) => content[name] };
  const el = document.createElement("div");
  figure.append(el);
  try {
    living[figure.dataset.module].render({ model, el });
    figure.classList.add("moves"); // hides the picture, but not in print
  } catch (error) {
    el.remove();
    console.error(error);
  }
}
