// Looking through a folder: all pictures, or one of them with its truth and its prediction.

import { Grid } from "./grid.js";
import { Legend, percent } from "./legend.js";
import { classColors, fromRuns, voidOf } from "./pixels.js";
import { get } from "./server.js";
import { Stage } from "./stage.js";

const byId = (id) => document.getElementById(id);
const json = async (address) => (await get(address)).json();
const LABEL = "labels. Arrow keys move a cross; with Shift, by one pixel.";

const called = { truth: "Truth", prediction: "Prediction" };

let shown = null; // the picture that is looked at
let place = -1; // of it in the order
let loading = 0;

const legend = new Legend(byId("legend"), draw);
const stages = new Map(
  [...document.querySelectorAll("#pair figure")].map((figure) => [
    figure.dataset.layer,
    new Stage(figure.querySelector(".stage"), {
      label: `The picture with its ${figure.dataset.layer === "truth" ? "true" : "predicted"} ${LABEL}`,
      onPoint: point,
      onCompare: compare,
    }),
  ]),
);
const grid = new Grid(byId("grid"), {
  load: (start, count) =>
    json(`v1/pictures?${new URLSearchParams({ start, count, sort: byId("sort").value, find: byId("find").value })}`),
  make: fill,
  open: (picture, index) => {
    place = index;
    location.hash = picture.id; // so that the browser's Back works
  },
});

function fill({ id, name, score }, button) {
  button.innerHTML = `<span class="shown"><img alt="" loading="lazy"></span>
    <span class="caption"><span class="called"></span><span class="score"></span></span>`;
  const img = button.querySelector("img");
  img.onerror = () => img.replaceWith("cannot be read");
  img.src = `v1/pictures/${id}/thumbnail`;
  button.querySelector(".called").textContent = name;
  button.title = name;
  if (score !== null) button.querySelector(".score").textContent = `IU ${(100 * score).toFixed(1)}`;
}

/** Show what the address says: a picture, or all of them. */
async function follow() {
  const id = location.hash.slice(1);
  const asked = ++loading;
  say("");
  if (!id) {
    shown = null;
    document.body.dataset.state = "list";
    grid.draw();
    if (place >= 0) grid.focus(place);
    return;
  }
  try {
    const picture = await json(`v1/pictures/${encodeURIComponent(id)}`);
    if (asked === loading) show(picture);
  } catch (error) {
    if (asked !== loading) return;
    document.body.dataset.state = "one";
    say(error.message);
  }
}

function show(picture) {
  const layers = Object.values(picture.layers);
  const size = layers[0] ?? { width: 4, height: 3, categories: [] };
  const { width, height } = size;
  shown = { ...picture, width, height, labels: {} };
  document.body.dataset.state = "one";
  byId("about").textContent = picture.name;
  for (const [name, stage] of stages) {
    const layer = picture.layers[name];
    const alone = name === "prediction" && !layers.length; // a photograph without labels
    stage.root.parentElement.hidden = !layer && !alone;
    stage.photo.hidden = !picture.photo;
    if (picture.photo && (layer || alone)) stage.photo.src = `v1/pictures/${picture.id}/photo`;
    stage.photo.alt = `The photograph ${picture.name}`;
    if (layer) shown.labels[name] = fromRuns(layer.runs, layer.width * layer.height);
    stage.setSize(width, height);
    if (alone)
      stage.photo.decode().then(() => stage.setSize(stage.photo.naturalWidth, stage.photo.naturalHeight), () => {});
  }
  const both = layers.length === 2;
  byId("view").hidden = !both;
  if (!both) document.querySelector("[value=labels]").checked = true;
  const categories = picture.layers.prediction?.categories ?? size.categories;
  shown.categories = categories;
  legend.show(
    categories.map((c) => {
      if (!both) return c;
      const share = Math.max(c.share, picture.layers.truth.categories[c.id].share);
      const iou = picture.iou?.[c.id];
      return { ...c, share, note: iou === null || iou === undefined ? "" : `IU ${percent(iou)}` };
    }),
  );
  hint();
  draw();
  scrollTo(0, 0);
}

function draw() {
  if (!shown) return;
  const { truth, prediction } = shown.labels;
  const colors = classColors(shown.categories, (id) => legend.isOn(id));
  const differences = document.querySelector("[name=view]:checked").value === "differences";
  byId("told").textContent = differences ? "Pixels where the two say different things, in the colours of each." : "";
  for (const [name, stage] of stages) {
    const labels = shown.labels[name];
    stage.setLayer(differences && labels ? apart(labels, truth, prediction) : (labels ?? null), colors);
  }
}

/** One side's labels where the two differ and the truth says something. */
function apart(labels, truth, prediction) {
  const none = voidOf(shown.categories);
  return labels.map((id, at) => (truth[at] === prediction[at] || truth[at] === none ? none : id));
}

function point(where) {
  const out = byId("readout");
  if (!shown || !where) {
    hint();
    legend.point(null);
    for (const stage of stages.values()) stage.mark(null);
    return;
  }
  out.setAttribute("aria-live", where.byKey ? "polite" : "off");
  const parts = Object.entries(shown.labels).flatMap(([name, labels]) => {
    const category = shown.categories.find((c) => c.id === labels[where.at]);
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.setProperty("--color", category?.color ?? "transparent");
    const text = document.createElement("strong");
    text.textContent = category?.name ?? "no class";
    text.dataset.layer = name;
    return Object.keys(shown.labels).length > 1 ? [swatch, text, quiet(called[name])] : [swatch, text];
  });
  out.replaceChildren(...parts, quiet(`x ${where.x}, y ${where.y}`));
  const labels = shown.labels.prediction ?? shown.labels.truth;
  if (labels) legend.point(labels[where.at]);
  for (const stage of stages.values()) stage.mark(where); // the same place in both
}

function hint() {
  const touched = matchMedia("(hover: none)").matches;
  byId("readout").replaceChildren(
    quiet(touched ? "Touch the picture" : "Point at the picture, or use the arrow keys on it"),
  );
}

function quiet(text) {
  const span = document.createElement("span");
  span.className = "quiet";
  span.textContent = text;
  return span;
}

function compare(percent) {
  byId("compare").value = percent;
  for (const stage of stages.values()) stage.setCompare(percent);
}

async function step(by) {
  const picture = await grid.at(place + by);
  if (!picture) return;
  place += by;
  location.replace(`#${picture.id}`); // Back leads to the list, not through every picture
}

function say(text) {
  byId("problem").textContent = text;
}

/** How far the scores are; the list is sorted anew while nobody has scrolled in it. */
async function about() {
  const folder = await json("v1/folder");
  byId("name").textContent = folder.name;
  called.truth = folder.reference;
  document.querySelector("[data-layer=truth] figcaption").textContent = folder.reference;
  document.title = `${folder.name} · fcn view`;
  const texts = [`${folder.total.toLocaleString("en")} pictures`];
  if (folder.mean_iou !== null) texts.push(`mean IU ${(100 * folder.mean_iou).toFixed(1)}`);
  if (folder.scoring) texts.push(`${folder.scored.toLocaleString("en")} scored so far`);
  if (document.body.dataset.state === "list") byId("about").textContent = texts.join(", ");
  return folder;
}

async function start() {
  try {
    let folder = await about();
    byId("sort").parentElement.hidden = folder.kind !== "comparison";
    if (folder.kind === "comparison") byId("sort").value = "worst";
    await grid.reload();
    await follow();
    while (folder.scoring) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      folder = await about();
      const untouched = scrollY < 10 && !byId("grid").contains(document.activeElement);
      if ((untouched || !folder.scoring) && !shown) await grid.reload();
    }
  } catch (error) {
    say(error.message);
  }
}

byId("opacity").oninput = (event) => {
  for (const stage of stages.values()) stage.setOpacity(event.target.value / 100);
};
byId("compare").oninput = (event) => compare(event.target.value);
byId("view").onchange = draw;
const reload = () => {
  place = -1;
  grid.reload().catch((error) => say(error.message));
};
byId("sort").onchange = reload;
byId("find").oninput = reload;
byId("back").onclick = () => {
  location.hash = "";
};
byId("previous").onclick = () => step(-1);
byId("next").onclick = () => step(1);
addEventListener("hashchange", () => {
  follow().then(about).catch((error) => say(error.message));
});
addEventListener("keydown", (event) => {
  if (!shown || event.target.matches("input, select, .frame")) return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
  if (event.key === "Escape") byId("back").click();
});
compare(0);
for (const stage of stages.values()) stage.setOpacity(0.6);
start();
