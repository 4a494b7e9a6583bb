// The page: a photograph comes, the server labels it, the stage shows it.

import { Legend } from "./legend.js";
import { classColors, fromGrey, fromRuns, heatColors } from "./pixels.js";
import { megabytes, Progress } from "./progress.js";
import { get, predict, Problem, setToken } from "./server.js";
import { listen } from "./sources.js";
import { Stage } from "./stage.js";

const byId = (id) => document.getElementById(id);
const TOLD = {
  labels: "",
  doubt: "The brighter, the less probable is the class that was found.",
  heat: "The brighter, the more probable is this class there.",
};

const HINT = matchMedia("(hover: none)").matches
  ? "Touch the picture"
  : "Point at the picture, or use the arrow keys on it";

let model = { name: "", categories: [], limits: {}, seconds_per_megapixel: 0.3 };
let current = null; // the picture that is shown, and what is known of it
const opacity = { labels: 60, doubt: 90, heat: 90 }; // of each view, in percent
let running = new AbortController();

const legend = new Legend(byId("legend"), () => draw());
const progress = new Progress(byId("progress"));
const stage = new Stage(byId("stage"), {
  label: "The picture with its labels. Arrow keys move a cross; with Shift, by one pixel.",
  onPoint: point,
  onCompare: (percent) => compare(percent),
});

async function take(photo, name) {
  running.abort(); // whoever gives a new picture no longer waits for the old one
  running = new AbortController();
  const { signal } = running;
  say("");
  setState("busy");
  progress.start();
  try {
    await showPhoto(URL.createObjectURL(photo));
    if (model.limits.bytes && photo.size > model.limits.bytes)
      throw new Problem(
        413,
        `The picture has ${megabytes(photo.size)} MB, but this server takes at most ` +
          `${megabytes(model.limits.bytes)} MB. Save it smaller.`,
      );
    const seconds = (model.seconds_per_megapixel * stage.size.width * stage.size.height) / 1e6;
    const onSent = (bytes, total) => progress.sent(bytes, total, seconds);
    const json = await ask(photo, { signal, onSent });
    const answer = JSON.parse(await json.text());
    if (signal.aborted) return;
    current = { photo, signal, json, answer, name: name.replace(/\.\w+$/, "") || "picture", grey: new Map() };
    await showAnswer();
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    current = null;
    fail(error);
  } finally {
    if (!signal.aborted) progress.stop();
  }
}

/** Ask the server; where it wants a token, ask the user for one first. */
async function ask(photo, options) {
  for (;;) {
    try {
      return await predict(photo, options);
    } catch (error) {
      if (error.status !== 401 || !(await askToken(error.message))) throw error;
    }
  }
}

async function showPhoto(address) {
  const img = stage.photo;
  const old = img.src;
  stage.setLayer(null);
  img.src = address;
  if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  try {
    await img.decode();
    img.hidden = false;
    stage.setSize(img.naturalWidth, img.naturalHeight);
  } catch {
    img.hidden = true; // a TIFF, say: the server's own picture is shown when it is there
    stage.setSize(4, 3);
  }
}

async function showAnswer() {
  const { answer, photo, signal } = current;
  const { width, height, categories } = answer;
  if (stage.photo.hidden) {
    const query = { image: "overlay", opacity: 0 };
    const seen = await ask(photo, { accept: "image/png", query, signal });
    await showPhoto(URL.createObjectURL(seen));
  }
  current.labels = fromRuns(answer.runs, width * height);
  stage.setSize(width, height);
  stage.photo.alt = describe(categories);
  byId("said").textContent = stage.photo.alt; // read aloud
  legend.show(categories);
  const select = byId("class");
  const chosen = select.value;
  select.replaceChildren(...categories.map((c) => new Option(c.name, c.id)));
  select.value = categories.some((c) => String(c.id) === chosen) ? chosen : largest(categories).id;
  byId("facts").textContent =
    `${width} × ${height} pixels, labelled in ${answer.seconds.toFixed(2)} s by ${answer.model}`;
  setState("done");
  // what had the focus may be hidden now
  if (document.activeElement === document.body) stage.frame.focus({ preventScroll: true });
  stage.repeat();
  await draw();
  // of every pixel, for what is pointed at; nobody waits for it
  grey("confidence", { image: "confidence" }).catch(() => {});
}

const largest = (categories) => categories.reduce((a, b) => (b.share > a.share ? b : a));

function describe(categories) {
  const most = [...categories].sort((a, b) => b.share - a.share).filter((c) => c.share >= 0.01);
  return `The photograph: ${most.map((c) => `${c.name} ${Math.round(100 * c.share)} %`).join(", ")}`;
}

/** The grey values of a picture from the server, fetched once. */
function grey(key, query) {
  const { photo, signal, grey: kept } = current;
  if (!kept.has(key)) {
    const fetched = ask(photo, { accept: "image/png", query, signal })
      .then(fromGrey)
      .then((values) => {
        kept.set(key, values);
        stage.repeat();
        return values;
      });
    fetched.catch(() => kept.delete(key)); // so that it is tried again
    kept.set(key, fetched);
  }
  return kept.get(key);
}

const view = () => document.querySelector("[name=view]:checked").value;
const heatName = () => byId("class").selectedOptions[0].textContent;

async function draw() {
  const chosen = view();
  document.body.dataset.view = chosen;
  byId("told").textContent = TOLD[chosen];
  byId("opacity").value = opacity[chosen];
  stage.setOpacity(opacity[chosen] / 100);
  if (!current) return;
  const of = current;
  if (chosen === "labels") {
    stage.setLayer(of.labels, classColors(of.answer.categories, (id) => legend.isOn(id)));
    stage.repeat();
    return;
  }
  const name = heatName();
  try {
    const query = chosen === "doubt" ? { image: "confidence" } : { image: "heat", class: name };
    const key = chosen === "doubt" ? "confidence" : `heat ${name}`;
    if (!(of.grey.get(key) instanceof Uint8Array)) {
      stage.setLayer(null);
      byId("told").textContent = "The server is asked for it";
    }
    const values = await grey(key, query);
    const still = current === of && view() === chosen && (chosen === "doubt" || heatName() === name);
    if (!still) return;
    byId("told").textContent = TOLD[chosen];
    stage.setLayer(values, heatColors(chosen === "doubt"));
    stage.repeat();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message);
  }
}

function point(where) {
  if (!current?.labels) return;
  const out = byId("readout");
  // read aloud only where it was asked for by key: a mouse would say a hundred things a second
  out.setAttribute("aria-live", where?.byKey ? "polite" : "off");
  if (!where) {
    legend.point(null);
    out.replaceChildren(quiet(HINT));
    return;
  }
  const id = current.labels[where.at];
  legend.point(id);
  const category = current.answer.categories.find((c) => c.id === id);
  const heat = view() === "heat" && current.grey.get(`heat ${heatName()}`);
  const values = heat || current.grey.get("confidence");
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.setProperty("--color", category?.color ?? "transparent");
  const name = document.createElement("strong");
  name.textContent = category?.name ?? "no class";
  const sure = document.createElement("span");
  if (values instanceof Uint8Array) {
    const share = `${((100 * values[where.at]) / 255).toFixed(0)} %`;
    sure.textContent = heat ? `${heatName()} ${share}` : share;
  }
  out.replaceChildren(swatch, name, sure, quiet(`x ${where.x}, y ${where.y}`));
}

function quiet(text) {
  const span = document.createElement("span");
  span.className = "quiet";
  span.textContent = text;
  return span;
}

function compare(percent) {
  byId("compare").value = percent;
  stage.setCompare(percent);
}

async function download(kind) {
  const { photo, signal, json, name } = current;
  const query =
    kind === "overlay" ? { image: kind, opacity: opacity.labels / 100 } : { image: kind };
  try {
    const blob = kind === "json" ? json : await ask(photo, { accept: "image/png", query, signal });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = kind === "json" ? `${name}.json` : `${name}-${kind}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    if (error.name !== "AbortError") say(error.message);
  }
}

let asking = null; // two requests may find the door locked; the user is asked once

function askToken(why) {
  asking ??= showLock(why).finally(() => {
    asking = null;
  });
  return asking;
}

function showLock(why) {
  const dialog = byId("locked");
  byId("lockedwhy").textContent = why;
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.querySelector("[data-do=close]").onclick = () => dialog.close();
    dialog.querySelector("form").onsubmit = () => setToken(byId("token").value);
    dialog.onclose = () => resolve(dialog.returnValue === "continue");
    dialog.returnValue = "";
  });
}

const setState = (state) => {
  document.body.dataset.state = state;
};
const say = (text) => {
  byId("problem").textContent = text;
};

function fail(error) {
  say(error.message);
  if (!current) setState("empty");
}

async function readModel() {
  for (;;) {
    try {
      model = { ...model, ...(await (await get("v1/model")).json()) };
      byId("model").textContent = model.name;
      document.title = `${model.name} · fullyconv`;
      return;
    } catch (error) {
      if (error.status === 401 && (await askToken(error.message))) continue;
      say(error.message);
      return;
    }
  }
}

byId("view").onchange = draw;
byId("class").onchange = draw;
byId("opacity").oninput = (event) => {
  opacity[view()] = Number(event.target.value);
  stage.setOpacity(opacity[view()] / 100);
};
byId("compare").oninput = (event) => compare(event.target.value);
for (const button of byId("downloads").children) button.onclick = () => download(button.dataset.file);
compare(0);
draw();
listen(take, fail);
readModel();
