const root = document.documentElement;
const draw = async (figure) => {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const box = figure.querySelector(".sk-vis");
  const live = document.createElement("div");
  const width = Math.min(720, box.clientWidth || 720);
  if (spec.width !== undefined) spec.width = width;
  live.className = "sk-live";
  await vegaEmbed(live, spec, { mode: "vega-lite", renderer: "svg", actions: false, ast: true });
  box.append(live);
};
const settle = (figure) =>
  draw(figure).then(
    () => { figure.dataset.state = "ok"; },
    (problem) => { figure.dataset.state = "error"; console.error(problem); },
  );
Promise.all(Array.from(document.querySelectorAll("figure.sk-chart[data-state]"), settle)).then(() => {
  root.dataset.charts = "done";
});
