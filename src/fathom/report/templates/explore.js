// The section's controls, its state (which is also in the address, so that a view can be linked), and its tables.
const FIRST = { wide: 9, narrow: 4 }; // settings whose charts are drawn at once
const FEW = 2; // settings up to which scores and gains stand side by side, where nothing else is asked for
const app = document.getElementById("explore-app");
const state = { hidden: PARTS.map(() => new Set()), off: new Set(), metric: "", axis: "budget", show: "", at: null, same: false, all: false };
let charts = [];
const live = el("p", { class: "unseen", role: "status" });
const say = (text) => { live.textContent = text; };

const settingsShown = () => DATA.settings.filter((s) => PARTS.every((_, i) => !state.hidden[i].has(s.parts[i]))
  && s.names.includes(metricOf(s, state.metric)));
const showing = () => state.show || (settingsShown().length > FEW ? "gain" : "both");
const first = () => (state.all ? Infinity : app.clientWidth < 560 ? FIRST.narrow : FIRST.wide);
const budget = (range) => Math.min(range.max, Math.max(range.min, state.at ?? range.common));

// ------------------------------------------------------------------------------------------------------- address

function writeAddress() {
  const query = new URLSearchParams();
  PARTS.forEach((part, i) => {
    if (state.hidden[i].size) DATA.parts[i].forEach((name, j) => state.hidden[i].has(j) || query.append(part, name));
  });
  for (const method of state.off) query.append("off", DATA.methods[method].label);
  if (state.metric) query.set("metric", state.metric);
  if (state.axis !== "budget") query.set("x", state.axis);
  if (state.show) query.set("show", state.show);
  if (state.same) query.set("same", "1");
  if (state.at !== null) query.set("at", state.at);
  const hash = query.size ? `#explore?${query}` : location.hash.startsWith("#explore?") ? "#explore" : location.hash;
  if (hash !== location.hash) history.replaceState(null, "", hash || location.pathname);
}

function readAddress() {
  if (!location.hash.startsWith("#explore?")) return false;
  const query = new URLSearchParams(location.hash.slice("#explore?".length));
  const one = (name, known, otherwise) => (known.includes(query.get(name)) ? query.get(name) : otherwise);
  PARTS.forEach((part, i) => {
    const wanted = query.getAll(part);
    const known = DATA.parts[i].some((name) => wanted.includes(name));
    state.hidden[i] = new Set(known ? DATA.parts[i].flatMap((name, j) => (wanted.includes(name) ? [] : [j])) : []);
  });
  const off = query.getAll("off");
  state.off = new Set(DATA.methods.flatMap((m, j) => (off.includes(m.label) ? [j] : [])));
  state.metric = one("metric", Object.keys(DATA.metrics), "");
  state.axis = one("x", Object.keys(AXES), "budget");
  state.show = one("show", ["both", "score", "gain"], "");
  state.same = query.get("same") === "1";
  const at = query.has("at") ? Number(query.get("at")) : NaN;
  state.at = Number.isFinite(at) ? at : null;
  return true;
}

// ------------------------------------------------------------------------------------------------------ controls

const inputs = []; // [input, () => its state]: set again when the address changes

function choice(kind, name, text, checked, change) {
  const input = el("input", { type: kind, name: `explore-${name}`, onchange: () => { change(input.checked); update(); } });
  inputs.push([input, checked]);
  return el("label", { class: "chip" }, input, el("span", {}, text));
}

const group = (legend, ...children) => el("fieldset", {}, el("legend", {}, legend), el("div", { class: "chips" }, ...children));

function radios(legend, key, options) {
  return group(legend, ...Object.entries(options).map(([value, text]) =>
    choice("radio", key, text, () => (key === "show" ? showing() : state[key]) === value, () => { state[key] = value; if (key === "axis") state.at = null; })));
}

function filters() {
  return PARTS.map((part, i) => {
    const names = DATA.parts[i];
    if (names.length < 2) return null;
    const title = { dataset: "Datasets", regime: "Label regimes", paradigm: "Training paradigms" }[part];
    const only = (j) => { state.hidden[i] = new Set(names.flatMap((_, other) => (other === j ? [] : [other]))); };
    const boxes = names.map((name, j) => {
      const chip = choice("checkbox", part, name, () => !state.hidden[i].has(j), (on) => state.hidden[i][on ? "delete" : "add"](j));
      chip.addEventListener("dblclick", () => { only(j); update(); });
      return chip;
    });
    const every = el("button", { type: "button", class: "quiet", onclick: () => {
      state.hidden[i] = state.hidden[i].size ? new Set() : new Set(names.keys());
      update();
    } });
    inputs.push([every, () => { every.textContent = state.hidden[i].size ? "all" : "none"; }]);
    every.setAttribute("aria-label", `${title}: all or none`);
    return group(title, ...boxes, every);
  });
}

function metricSelect() {
  const names = Object.keys(DATA.metrics);
  if (names.length < 2) return null;
  const main = [...new Set(DATA.settings.map((s) => DATA.metrics[s.metric].words))].join(", ");
  const lower = (name) => (DATA.metrics[name].higher ? "" : ", lower is better");
  const select = el("select", { id: "explore-metric", onchange: () => { state.metric = select.value; update(); } },
    el("option", { value: "" }, `main metric (${main})`),
    ...names.map((name) => el("option", { value: name }, DATA.metrics[name].words + lower(name))));
  inputs.push([select, () => { select.value = state.metric; }]);
  const note = DATA.left_out.length ? el("small", {}, `In results.csv only: ${DATA.left_out.join(", ")}.`) : null;
  return el("div", { class: "field" }, el("label", { for: "explore-metric" }, "Metric"), select, note);
}

function legend() {
  const buttons = DATA.methods.map((m, i) => {
    const highlight = (on) => charts.forEach((chart) => {
      const place = chart.methods.indexOf(i);
      if (place >= 0) chart.setFocus(on ? place : -1);
    });
    const button = el("button", { type: "button", class: "method", onclick: () => {
      state.off[state.off.has(i) ? "delete" : "add"](i);
      update();
      say(`${m.label} ${state.off.has(i) ? "hidden" : "shown"}`);
    }, onmouseenter: () => highlight(true), onmouseleave: () => highlight(false) }, swatch(i), m.label);
    inputs.push([button, () => button.setAttribute("aria-pressed", String(!state.off.has(i)))]);
    return button;
  });
  return el("div", { class: "legend", role: "group", "aria-label": "Query methods: press to hide or show" }, ...buttons);
}

const slider = el("input", { type: "range", id: "explore-at", step: "1" });
const number = el("input", { type: "number", "aria-label": "Number of labels", step: "1" });
const atNote = el("span", { class: "soft" });
const [panels, readout] = [el("div", { class: "panels" }), el("div")];
const parts = [];

function reader() {
  const moved = (input, final) => () => {
    if (input.value === "" || !Number.isFinite(Number(input.value))) return;
    const range = rangeOf(settingsShown(), state.axis);
    state.at = Math.min(range.max, Math.max(range.min, Math.round(Number(input.value))));
    at(final);
  };
  slider.addEventListener("input", moved(slider, false));
  slider.addEventListener("change", moved(slider, true));
  number.addEventListener("change", moved(number, true));
  return el("div", { class: "reader" }, el("label", { for: "explore-at" }, "Read all curves at"), slider, number, atNote);
}

// -------------------------------------------------------------------------------------------------------- charts

function panel(setting, kinds) {
  const hosts = kinds.map((kind) => {
    const name = kind === "gain" ? `Gain over ${DATA.methods[DATA.baseline].label} (${unitText(metricOf(setting, state.metric), kind)})`
      : `${DATA.metrics[metricOf(setting, state.metric)].words} (${unitText(metricOf(setting, state.metric), kind)})`;
    const stem = setting.figures[kind === "gain" ? "gains" : "curves"];
    const files = stem ? ["svg", "pdf"].map((end) => el("a", { href: `${stem}.${end}`, "aria-label": `${name}, ${setting.title}: ${end.toUpperCase()} file` }, end.toUpperCase())) : [];
    const host = el("div", { class: "chart", tabIndex: 0, role: "group", "aria-roledescription": "chart" });
    return [host, kind, el("div", { class: "panel" }, el("p", { class: "what" }, name, el("span", { class: "files" }, ...files)), host)];
  });
  const table = setting.table ? el("a", { href: setting.table, "aria-label": `${setting.title}: table as LaTeX` }, "LaTeX") : null;
  const title = el("h3", {}, el("a", { href: `#${setting.id}` }, setting.title), el("span", { class: "files" }, table));
  return [hosts, el("div", { class: "setting" }, title, el("div", { class: "pair" }, ...hosts.map(([, , node]) => node)))];
}

function draw() {
  const shown = settingsShown();
  const some = shown.slice(0, first());
  const kinds = showing() === "both" ? ["score", "gain"] : [showing()];
  charts.forEach((chart) => chart.plot.destroy());
  const made = some.map((setting) => [setting, ...panel(setting, kinds)]);
  const more = shown.length > some.length ? el("button", { type: "button", class: "more", onclick: () => { state.all = true; draw(); } },
    `Draw all ${shown.length} settings`) : null;
  const none = shown.length ? null : el("p", { class: "soft" }, "No setting is selected.");
  panels.className = `panels ${kinds.length === 1 && some.length > 1 ? "multiples" : ""}`;
  panels.replaceChildren(...made.map(([, , node]) => node), ...[more, none].filter(Boolean));
  const position = shown.length ? budget(rangeOf(shown, state.axis)) : 0;
  const build = (range) => made.flatMap(([setting, hosts]) => hosts.map(([host, kind]) =>
    new Chart(host, setting, { metric: state.metric, axis: state.axis, off: state.off, kind, at: position, range: range?.[kind] }, say)));
  charts = build(null);
  if (state.same && charts.length > kinds.length) {
    const range = Object.fromEntries(kinds.map((kind) => {
      const limits = charts.filter((c) => c.view.kind === kind).map((c) => c.limits());
      return [kind, [Math.min(...limits.map(([low]) => low)), Math.max(...limits.map(([, high]) => high))]];
    }));
    charts.forEach((chart) => chart.plot.destroy());
    charts = build(range);
  }
}

// --------------------------------------------------------------------------------------------------------- table

function cell(band, metric, kind) {
  if (!band || !band.n) return el("td", {}, "\u2013");
  const { digits } = unitOf(metric);
  return el("td", {}, el("b", {}, fixed(band.mean, digits, kind === "gain")), " ",
    el("small", {}, bracket(band, digits, kind === "gain")));
}

function table(head, body, caption, words) {
  return el("div", { class: "scroll tall", tabIndex: 0, role: "region", "aria-label": caption }, el("table", {},
    el("caption", {}, el("span", {}, words)),
    el("thead", {}, el("tr", {}, ...head.map((text, i) => el("th", { scope: "col", class: i ? "" : "text" }, text)))), ...body));
}

function readTable(shown, position) {
  const base = DATA.methods[DATA.baseline].label;
  const bodies = shown.map((setting) => {
    const metric = metricOf(setting, state.metric);
    const rows = [...valuesAt(setting, metric, state.axis, position)].filter(([m]) => !state.off.has(m));
    const known = rows.filter(([, own]) => own.score.n).sort((a, b) => (b[1].gain?.mean ?? 0) - (a[1].gain?.mean ?? 0));
    const group = shown.length > 1 ? [el("tr", { class: "group" }, el("th", { colSpan: 4, scope: "rowgroup", class: "text" }, el("span", {}, setting.title)))] : [];
    const range = rangeOf([setting], state.axis);
    const outside = el("tr", {}, el("td", { colSpan: 4, class: "text soft" }, `No value: curves run from ${whole(range.min)} to ${whole(range.max)}.`));
    return el("tbody", {}, ...group, ...(known.length ? known.map(([m, own]) => el("tr", {},
      el("th", { scope: "row", class: "text" }, swatch(m), DATA.methods[m].label),
      cell(own.gain, metric, "gain"), cell(own.score, metric, "score"),
      el("td", {}, String(own.gain ? own.gain.n : own.score.n)))) : [outside]));
  });
  const words = `Scores and gains at ${whole(position)} ${AXES[state.axis]}; each seed's curve is interpolated linearly between its rounds. `
    + "In brackets: 95\u00a0% t-interval over seeds, not corrected for the number of comparisons.";
  return table(["Method", `Gain over ${base}`, "Score", "Seeds"], bodies, "Values at the chosen number of labels", words);
}

function links() {
  const items = DATA.files.flatMap((name, i) => [i ? ", " : "", el("a", { href: name }, name)]);
  return el("p", { class: "note" }, "Files beside this page: ", ...items, ".");
}

// The position of the slider changed: charts, table, and address; in words for screen readers once it rests.
function at(final = true) {
  const shown = settingsShown();
  const range = shown.length ? rangeOf(shown, state.axis) : { min: 0, max: 0, common: 0 };
  const position = budget(range);
  for (const input of [slider, number]) {
    Object.assign(input, { min: range.min, max: range.max });
    input.value = position;
  }
  slider.setAttribute("aria-valuetext", `${whole(position)} ${AXES[state.axis]}`);
  atNote.textContent = `${AXES[state.axis]} (${whole(range.min)} to ${whole(range.max)})`;
  charts.forEach((chart) => chart.mark(position));
  readout.replaceChildren(readTable(shown, position));
  if (!final) return;
  writeAddress();
  if (shown.length === 1 && state.at !== null) {
    const metric = metricOf(shown[0], state.metric);
    const values = [...valuesAt(shown[0], metric, state.axis, position)].filter(([m, v]) => v.score.n && !state.off.has(m));
    say(values.map(([m, v]) => sentence(m, { ...v.score, x: position }, metric, state.axis, "score")).join(". "));
  } else if (state.at !== null) say(`Table of ${shown.length} settings at ${whole(position)} labels`);
}

function update() {
  for (const [input, value] of inputs) {
    const found = value();
    if (typeof found === "boolean") input.checked = found;
  }
  draw();
  at();
  parts.forEach((refill) => refill());
}

// --------------------------------------------------------------------------------------------------- per class

function classTable(setting) {
  const { test, pool, methods } = setting.classes;
  const names = setting.class_names;
  const shown = Object.keys(methods).map(Number).filter((m) => m === DATA.baseline || !state.off.has(m));
  const gains = shown.filter((m) => m !== DATA.baseline);
  const most = Math.max(1, ...gains.flatMap((m) => methods[m].mean.map((v) => Math.abs(v ?? 0))));
  const rows = names.map((name, c) => el("tr", {}, el("th", { scope: "row", class: "text" }, name),
    el("td", {}, pool ? whole(pool[c]) : "\u2013"), el("td", {}, test ? whole(test[c]) : "\u2013"),
    ...shown.map((m) => {
      const own = methods[m];
      const mean = own.mean[c] ?? NaN;
      const band = { low: own.low[c] ?? NaN, high: own.high[c] ?? NaN };
      const sign = m !== DATA.baseline;
      const title = `${DATA.methods[m].label}, ${name}: ${fixed(mean, 1, sign)} ${bracket(band, 1, sign)}, ${seedsText(own.n)}, ${fixed(own.labels[c], 1)} training labels`;
      const td = el("td", { title, class: sign ? `heat ${mean > 0 ? "higher" : "lower"}` : "" }, fixed(mean, 1, sign),
        el("small", {}, ` ${fixed(own.labels[c], 0)}`));
      if (sign && Number.isFinite(mean)) td.style.setProperty("--depth", `${Math.round((30 * Math.abs(mean)) / most)}%`);
      return td;
    })));
  const heads = ["Class", "Train images", "Test images", ...shown.map((m) => DATA.methods[m].label)];
  const base = DATA.methods[DATA.baseline].label;
  const words = `${setting.title}. Recall at the last budget: ${base} in percent, other methods as the gain in points over it, paired by seed `
    + "(complete runs); beside it the mean number of training labels of the class. Hover a cell for its interval, which is not corrected for the number of classes.";
  return table(heads, [el("tbody", {}, ...rows)], `Recall per class, ${setting.title}`, words);
}

// Images that each method queried most often over the seeds, of those that the run kept a thumbnail of.
function gallery(setting) {
  const images = DATA.images[setting.parts[0]];
  const rows = Object.keys(setting.picks).map(Number).filter((m) => !state.off.has(m)).map((m) => {
    const { seeds, images: picks } = setting.picks[m];
    const figures = picks.map(([id, count, label]) => {
      const name = setting.class_names[label] ?? String(label);
      const title = `${name}, image ${id}, queried in ${count} of ${seedsText(seeds)}`;
      const kind = images[id].startsWith("/9j/") ? "jpeg" : "png";
      return el("li", { title }, el("img", { src: `data:image/${kind};base64,${images[id]}`, alt: title }), el("span", { "aria-hidden": "true" }, name));
    });
    return el("div", { class: "bought" }, el("h4", {}, swatch(m), DATA.methods[m].label), el("ul", {}, ...figures));
  });
  const order = el("p", { class: "note" }, "Images that most seeds queried come first; pointing at one tells how many.");
  return el("div", {}, el("h3", {}, setting.title), order, ...rows);
}

// A part that is filled when it is opened, and again when the selection changes.
function part(summary, holds, fill, none) {
  if (!DATA.settings.some(holds)) return null;
  const content = el("div");
  const refill = () => {
    if (!details.open) return;
    const some = settingsShown().filter(holds).slice(0, first()).map(fill);
    content.replaceChildren(...(some.length ? some : [el("p", { class: "soft" }, none)]));
  };
  const details = el("details", { ontoggle: refill }, el("summary", {}, summary), content);
  parts.push(refill);
  return details;
}

const noImages = () => (DATA.settings.some((s) => Object.keys(s.picks).length) ? null : el("p", { class: "note" },
  "No pictures of the queried images: the study holds no thumbnails of them. Their names are in picks.csv."));

// ---------------------------------------------------------------------------------------------------------- start

function start() {
  const same = DATA.settings.length > 1
    ? group("Scale", choice("checkbox", "same", "same y axis in all panels", () => state.same, (on) => { state.same = on; })) : null;
  app.append(...[
    el("div", { class: "controls" }, ...[...filters(), radios("Show", "show", { both: "scores and gains", score: "scores", gain: "gains" }),
      radios("Labels", "axis", { budget: "training", paid: "all paid" }), same, metricSelect()].filter(Boolean)),
    legend(), panels, reader(), readout, links(),
    part("Recall per class, and what was labeled", (s) => s.classes, classTable, "No complete run with known classes."),
    part("Images that were queried most often", (s) => Object.keys(s.picks).length, gallery, "No thumbnails in these settings."),
    noImages(), live,
  ].filter(Boolean));
  app.hidden = false;
  document.getElementById("explore-without").remove();
  const linked = readAddress();
  update();
  if (linked) document.getElementById("explore").scrollIntoView();
  for (const setting of DATA.settings) {
    const query = new URLSearchParams(PARTS.map((part, i) => [part, DATA.parts[i][setting.parts[i]]]));
    const link = el("a", { class: "to-explore", href: `#explore?${query}`, "aria-label": `Explore ${setting.title}` }, "explore");
    document.getElementById(setting.id)?.append(" ", link);
  }
  window.addEventListener("hashchange", () => {
    if (!readAddress()) return;
    update();
    document.getElementById("explore").scrollIntoView();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.plot.redraw()));
  let width = app.clientWidth;
  new ResizeObserver(() => {
    if (app.clientWidth === width) return;
    width = app.clientWidth;
    charts.forEach((chart) => chart.resize());
  }).observe(app);
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
