// Curves of the study from the scores of its runs: means and t-intervals over seeds, gains paired by seed.
// The same numbers as fathom.stats.curves, whose tests compare them with what the page shows.
const DATA = JSON.parse(document.getElementById("explore-data").textContent);
const AXES = { budget: "training labels", paid: "paid labels, with validation" };
const PARTS = ["dataset", "regime", "paradigm"];
const MINUS = "\u2212";
const BAND_SEEDS = 3; // the interval of two seeds would fill the panel

// bounds: the interval of a share ends at 0 and 100.
function interval(values, [floor, top] = [-Infinity, Infinity]) {
  const n = values.length;
  const mean = n ? values.reduce((sum, v) => sum + v, 0) / n : NaN;
  if (n < 2) return { n, mean, low: NaN, high: NaN };
  const sd = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1));
  const half = (DATA.t[n - 2] * sd) / Math.sqrt(n);
  return { n, mean, low: Math.max(floor, mean - half), high: Math.min(top, mean + half) };
}

const metricOf = (setting, metric) => metric || setting.metric;
const unitOf = (name) => (DATA.metrics[name].unit === "fraction" 
  ? { factor: 100, digits: 1, bounds: [0, 100] } : { factor: 1, digits: 3, bounds: [0, Infinity] });

// Method -> seed -> { budget, paid, y }, y in percent or nats.
const cache = new Map();
function runsOf(setting, metric) {
  const key = `${setting.id} ${metric}`;
  if (!cache.has(key)) {
    const column = setting.names.indexOf(metric);
    const { factor } = unitOf(metric);
    const found = new Map();
    for (const [method, seed, budget, paid, scores] of column < 0 ? [] : setting.runs) {
      if (!found.has(method)) found.set(method, new Map());
      const y = scores[column].map((v) => (v === null ? NaN : factor * v));
      found.get(method).set(seed, { budget: setting.grids[budget], paid: setting.grids[paid], y });
    }
    cache.set(key, found);
  }
  return cache.get(key);
}

const referenceOf = (setting, method) => setting.references[method] ?? DATA.baseline;

// Method -> [{ x, n, mean, low, high }], one per round: scores, or gains over the reference.
function curvesOf(setting, metric, axis, kind) {
  const runs = runsOf(setting, metric);
  const found = new Map();
  for (const [method, seeds] of runs) {
    if (kind === "gain" && method === DATA.baseline) continue;
    const other = kind === "gain" ? runs.get(referenceOf(setting, method)) ?? new Map() : null;
    const rounds = [];
    for (const [seed, run] of seeds) {
      run.y.forEach((y, round) => {
        const against = other?.get(seed)?.y[round];
        if (other && !Number.isFinite(y - against)) return;
        (rounds[round] ??= []).push([run[axis][round], other ? y - against : y]);
      });
    }
    const points = rounds.filter(Boolean).map((values) => ({
      x: values.reduce((sum, [x]) => sum + x, 0) / values.length,
      ...interval(values.map(([, y]) => y), kind === "gain" ? undefined : unitOf(metric).bounds),
    }));
    if (points.length) found.set(method, points);
  }
  return found;
}

// Value of a curve at x, linear between its points; NaN outside of them.
function between(xs, ys, x) {
  if (!(x >= xs[0] && x <= xs[ys.length - 1])) return NaN;
  let i = 1;
  while (i < ys.length - 1 && xs[i] < x) i += 1;
  if (ys.length === 1) return ys[0];
  const share = (x - xs[i - 1]) / (xs[i] - xs[i - 1]);
  return share === 0 ? ys[i - 1] : share === 1 ? ys[i] : ys[i - 1] + share * (ys[i] - ys[i - 1]);
}

// Score and gain of each method at any number of labels: each seed's curve is interpolated, then summarized.
function valuesAt(setting, metric, axis, x) {
  const runs = runsOf(setting, metric);
  const at = new Map();
  for (const [method, seeds] of runs) {
    const own = new Map();
    for (const [seed, run] of seeds) {
      const y = between(run[axis], run.y, x);
      if (Number.isFinite(y)) own.set(seed, y);
    }
    at.set(method, own);
  }
  return new Map([...at].map(([method, own]) => {
    const other = at.get(referenceOf(setting, method)) ?? new Map();
    const pairs = [...own].filter(([seed]) => other.has(seed)).map(([seed, y]) => y - other.get(seed));
    return [method, { score: interval([...own.values()], unitOf(metric).bounds), gain: method === DATA.baseline ? null : interval(pairs) }];
  }));
}

// First and last number of labels of these settings, and the last one that all of them reach.
function rangeOf(settings, axis) {
  const found = settings.map((s) => {
    const grids = s.runs.map((run) => s.grids[run[axis === "budget" ? 2 : 3]]);
    return [grids.reduce((m, g) => Math.min(m, g[0]), Infinity), grids.reduce((m, g) => Math.max(m, g[g.length - 1]), 0)];
  });
  const ends = found.map(([, end]) => end);
  return { min: Math.min(...found.map(([start]) => start)), max: Math.max(...ends), common: Math.min(...ends) };
}

// ------------------------------------------------------------------------------------------------- numbers as text

function fixed(value, digits, sign = false) {
  if (!Number.isFinite(value)) return "\u2013";
  const text = Math.abs(value).toFixed(digits);
  const zero = Number(text) === 0;
  return (value < 0 && !zero ? MINUS : sign && !zero ? "+" : "") + text;
}

const whole = (value) => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");

function bracket(band, digits, sign = false) {
  return Number.isFinite(band.low) ? `[${fixed(band.low, digits, sign)}, ${fixed(band.high, digits, sign)}]` : "";
}

const seedsText = (n) => `${n} seed${n === 1 ? "" : "s"}`;

function unitText(metric, kind) {
  if (DATA.metrics[metric].unit !== "fraction") return DATA.metrics[metric].unit;
  return kind === "gain" ? "points" : "%";
}

// One value in words, for the tooltip's reader and for screen readers.
function sentence(method, point, metric, axis, kind) {
  const { digits } = unitOf(metric);
  const sign = kind === "gain";
  const unit = unitText(metric, kind);
  const band = Number.isFinite(point.low)
    ? `95\u00a0% interval ${fixed(point.low, digits, sign)} to ${fixed(point.high, digits, sign)}, ` : "no interval, ";
  const value = `${fixed(point.mean, digits, sign)} ${unit}`;
  return `${DATA.methods[method].label}, ${whole(point.x)} ${AXES[axis].split(",")[0]}: ${value}, ${band}${seedsText(point.n)}`;
}
