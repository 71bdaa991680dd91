const root = document.documentElement;
const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));

/* Live charts, for their tooltips: Vega is unpacked when a reader first points at a chart, and drawn in the picture's place. */
let vega;
const unpacked = async () => {
  const packed = Uint8Array.from(atob(document.getElementById("vega").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.body.append(script);
};
const draw = async (figure) => {
  await (vega ??= unpacked());
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const live = document.createElement("div");
  const broad = figure.querySelector(".sk-broad").offsetWidth > 0;
  if (spec.width !== undefined) spec.width = broad ? 720 : 350;
  live.className = broad ? "sk-live sk-live-broad" : "sk-live sk-live-narrow";
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false };
  await vegaEmbed(live, spec, { ...options, tooltip: { disableDefaultStyle: true } });
  figure.querySelector(".sk-vis").append(live);
};
const settle = async (figure) => {
  if (figure.dataset.state !== "static" || !window.DecompressionStream) return;
  figure.dataset.state = "drawing";
  try {
    await draw(figure);
    figure.dataset.state = "ok";
  } catch (problem) {
    figure.dataset.state = "error";
    console.error(problem);
  }
};

/* A picture that can be passed on alone: title, subtitle, chart, caption, the page's edition and its marks. */
const family = getComputedStyle(document.body).fontFamily;
const lines = (pen, text, width) => {
  const pieces = text.match(/[\u2e80-\uffff][，。；：、！？）》”]*|[^\s\u2e80-\uffff]+[，。；：、]*\s*|\s+/g) ?? [];
  const found = [""];
  for (const piece of pieces) {
    if (found.at(-1) && pen.measureText(found.at(-1) + piece.trimEnd()).width > width) found.push("");
    found[found.length - 1] += piece;
  }
  return found;
};
const pictured = async (figure) => {
  const svg = figure.querySelector(".sk-broad svg").cloneNode(true);
  const [width, height] = [svg.width.baseVal.value, svg.height.baseVal.value];
  svg.setAttribute("font-family", family);
  const image = new Image();
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(svg));
  await image.decode();
  const inside = Math.max(720, width);
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d");
  const text = (selector, within = figure) => (within.querySelector(selector)?.textContent ?? "").trim();
  const marks = all(".sk-mark strong").map((mark) => mark.textContent.trim());
  const [caption, edition] = [text("figcaption"), text(".sk-edition", document)];
  const foot = [...marks, document.title, caption.includes(edition) ? "" : edition].filter(Boolean).join(" · ");
  const rows = [];
  let y = 24;
  const put = (words, size, line, ink, weight, gap) => {
    pen.font = `${weight} ${size}px ${family}`;
    for (const row of words ? lines(pen, words, inside) : []) {
      rows.push([row, pen.font, ink, y + size]);
      y += line;
    }
    y += words ? gap : 0;
  };
  put(figure.dataset.title, 20, 28, "#1b1f23", 600, 4);
  put(text(".sk-figure-subtitle"), 14, 20, "#4a5157", 400, 0);
  const top = (y += 12);
  y += height + 12;
  put(caption, 12, 16, "#646b71", 400, 4);
  put(foot, 12, 16, marks.length ? "#801650" : "#646b71", 600, 0);
  canvas.width = 2 * (inside + 48);
  canvas.height = 2 * (y + 20);
  pen.scale(2, 2);
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, 24, top, width, height);
  for (const [words, font, ink, at] of rows) {
    pen.font = font;
    pen.fillStyle = ink;
    pen.fillText(words, 24, at);
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
};
const save = async (figure) => {
  const link = document.createElement("a");
  const stem = document.querySelector(".sk-page").dataset.stem;
  link.href = URL.createObjectURL(await pictured(figure));
  link.download = `${stem}-${figure.id}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
for (const figure of all("figure.sk-chart")) {
  const button = figure.querySelector(".sk-save");
  button.hidden = false;
  button.addEventListener("click", () => save(figure));
  figure.querySelector(".sk-vis").addEventListener("pointerenter", () => settle(figure));
}

/* On a phone the later sections are folded to their titles. */
const phone = matchMedia("(max-width: 560px)");
const folding = all("[data-folds]").filter((section) => section.querySelector("h2") && section.children[1]);
const fold = (section, folded) => {
  section.classList.toggle("sk-folded", folded);
  section.querySelector(".sk-fold")?.setAttribute("aria-expanded", String(!folded));
};
const arrange = () => {
  for (const section of folding) {
    const heading = section.querySelector("h2");
    const button = heading.querySelector(".sk-fold");
    if (phone.matches && !button) {
      const made = document.createElement("button");
      made.type = "button";
      made.className = "sk-fold";
      made.append(...heading.childNodes);
      made.addEventListener("click", () => fold(section, !section.classList.contains("sk-folded")));
      heading.append(made);
      fold(section, true);
    } else if (!phone.matches && button) {
      heading.append(...button.childNodes);
      button.remove();
      fold(section, false);
    }
  }
};
const reveal = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const section = target && target.closest(".sk-folded");
  if (section) {
    fold(section, false);
    target.scrollIntoView();
  }
};
phone.addEventListener("change", arrange);
addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  if (event.target.closest?.('a[href^="#"]')) setTimeout(reveal);
});
arrange();
reveal();
root.dataset.charts = "done";
