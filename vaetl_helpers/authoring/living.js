// Brings the page's living figures to life: `living` has the modules, each figure its data.
async function enliven(figure) {
  const content = JSON.parse(figure.querySelector("script").textContent);
  const model = { get: (name) => content[name] };
  const el = document.createElement("div");
  figure.append(el);
  try {
    await living[figure.dataset.module].render({ model, el });
    figure.classList.add("moves"); // hides the picture, but not in print
  } catch (error) {
    el.remove();
    console.error(error);
  }
}
document.querySelectorAll("figure.living").forEach(enliven);
