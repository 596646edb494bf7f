// One chart of a setting: scores or gains by labels, drawn by uPlot on a canvas, read by mouse and arrow keys.
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Corners of the markers that figures of a report use, around 0 with radius 1; a circle has none.
const CORNERS = (() => {
  const ring = (n, turn, inner) => Array.from({ length: n * (inner ? 2 : 1) }, (_, i) => {
    const angle = (2 * Math.PI * i) / (n * (inner ? 2 : 1)) + turn;
    const radius = inner && i % 2 ? inner : 1.1;
    return [radius * Math.sin(angle), -radius * Math.cos(angle)];
  });
  const plus = [[-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]]
    .map(([x, y]) => [x / 2.8, y / 2.8]);
  const cross = plus.map(([x, y]) => [(x - y) * 0.75, (x + y) * 0.75]);
  return {
    s: [[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]], "^": ring(3, 0), v: ring(3, Math.PI),
    "<": ring(3, -Math.PI / 2), ">": ring(3, Math.PI / 2), D: ring(4, 0), d: ring(4, 0).map(([x, y]) => [0.62 * x, y]),
    p: ring(5, 0), h: ring(6, 0), "*": ring(5, 0, 0.45), P: plus, X: cross,
  };
})();

function addMarker(path, marker, x, y, radius) {
  const corners = CORNERS[marker];
  if (!corners) {
    path.moveTo(x + radius, y);
    path.arc(x, y, 0.92 * radius, 0, 2 * Math.PI);
    return;
  }
  corners.forEach(([dx, dy], i) => path[i ? "lineTo" : "moveTo"](x + radius * dx, y + radius * dy));
  path.closePath();
}

// A method's line and marker as a small picture, for legend and table.
function swatch(method) {
  const { marker, style } = DATA.methods[method];
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "-12 -6 24 12");
  svg.setAttribute("class", "swatch");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(ns, "path");
  const corners = CORNERS[marker];
  const shape = corners ? `M${corners.map(([x, y]) => `${4.6 * x} ${4.6 * y}`).join("L")}Z` : "M4.2 0A4.2 4.2 0 1 1 -4.2 0A4.2 4.2 0 1 1 4.2 0Z";
  path.setAttribute("d", `M-12 -.75H12V.75H-12Z${shape}`);
  path.setAttribute("fill", `var(--q${style})`);
  svg.append(path);
  return svg;
}

class Chart {
  // host: element that gets the chart; view: { metric, axis, kind, off, at, range }; say: writes to the live region.
  constructor(host, setting, view, say) {
    Object.assign(this, { host, setting, view, say });
    this.metric = metricOf(setting, view.metric);
    this.curves = new Map([...curvesOf(setting, this.metric, view.axis, view.kind)].filter(([m]) => !view.off.has(m)));
    this.methods = [...this.curves.keys()];
    this.xs = [...new Set([...this.curves.values()].flatMap((points) => points.map((p) => p.x)))].sort((a, b) => a - b);
    this.points = this.methods.map((m) => {
      const at = new Map(this.curves.get(m).map((p) => [p.x, p]));
      return this.xs.map((x) => at.get(x) ?? null);
    });
    this.full = view.kind === "score" && setting.full[this.metric] !== undefined
      ? unitOf(this.metric).factor * setting.full[this.metric] : NaN;
    // Bands of more than two methods cover each other: then gains have bars, and the method in focus alone has a band.
    this.few = this.methods.length <= 2;
    this.tip = el("div", { class: "tip", hidden: true });
    this.focus = -1;
    this.index = -1;
    host.replaceChildren();
    this.plot = new uPlot(this.options(), [this.xs, ...this.points.map((row) => row.map((p) => p && p.mean))], host);
    this.plot.over.append(this.tip);
    this.plot.over.addEventListener("mouseleave", () => this.hide());
    host.onkeydown = (event) => this.key(event);
    host.onblur = () => this.hide();
    host.setAttribute("aria-label", this.words());
  }

  words() {
    const what = this.view.kind === "gain" ? `Gain over ${DATA.methods[DATA.baseline].label}` : "Score";
    const ends = this.methods.map((m) => sentence(m, this.curves.get(m).at(-1), this.metric, this.view.axis, this.view.kind));
    return `${what}, ${DATA.metrics[this.metric].words}, ${this.setting.title}. ${ends.join(". ") || "No data"}. Arrow keys read the values.`;
  }

  // Limits of y around the means; long intervals are cut off, as nothing else could be seen with few seeds.
  limits() {
    const all = this.points.flat().filter((p) => p && Number.isFinite(p.mean));
    const means = [...all.map((p) => p.mean), ...(Number.isFinite(this.full) ? [this.full] : [])];
    if (this.view.kind === "gain") means.push(0);
    if (!means.length) return [0, 1];
    const [least, most] = [Math.min(...means), Math.max(...means)];
    const fraction = DATA.metrics[this.metric].unit === "fraction";
    const room = Math.max(most - least, fraction ? 1 : 0.01);
    const banded = this.few || this.view.kind === "gain" ? all.filter((p) => p.n >= BAND_SEEDS) : [];
    const low = Math.max(Math.min(...banded.map((p) => p.low), least - 0.1 * room), least - 0.8 * room);
    const high = Math.min(Math.max(...banded.map((p) => p.high), most + 0.1 * room), most + 0.8 * room);
    return this.view.kind === "score" && fraction ? [Math.max(0, low), Math.min(100.8, high)] : [low, high];
  }

  options() {
    const axis = {
      stroke: () => css("--soft"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
      grid: { stroke: () => css("--line"), width: 1 }, ticks: { show: false },
    };
    const [min, max] = this.view.range ?? this.limits();
    const [start, end] = [this.xs[0] ?? 0, this.xs.at(-1) ?? 1];
    const [from, to] = start === end ? [start - 1, end + 1] : [start - 0.04 * (end - start), end + 0.04 * (end - start)];
    return {
      width: Math.max(200, this.host.clientWidth), height: 230, padding: [8, 8, 0, 0], legend: { show: false },
      // Fixed ranges: a redraw hands the range of before to such a function, which would grow each time.
      scales: { x: { time: false, range: () => [from, to] }, y: { range: () => [min, max] } },
      axes: [{ ...axis, grid: { show: false }, size: 28, label: AXES[this.view.axis], labelSize: 18, space: 46,
        ...(this.xs.length && this.xs.length <= 12 ? { splits: (u) => this.ticks(u) } : {}),
        values: (u, ticks) => ticks.map(whole) },
      { ...axis, size: 46, space: 28, values: (u, ticks) => ticks.map((t) => this.tick(t, ticks)) }],
      series: [{}, ...this.methods.map((m, i) => this.series(m, i))],
      focus: { alpha: 0.25 },
      cursor: { y: false, drag: { x: false, y: false }, focus: { prox: 18 }, points: { show: false } },
      hooks: {
        drawClear: [(u) => this.background(u)],
        setCursor: [(u) => this.moved(u)],
        setSeries: [(u, i) => { this.focus = i === null ? -1 : i - 1; }],
      },
    };
  }

  // Bars of several methods stand side by side, as in the figures of the report; in pixels of the canvas.
  shift(i) {
    return this.few || this.view.kind === "score" ? 0 : (i - (this.methods.length - 1) / 2) * 3.5 * devicePixelRatio;
  }

  place(u, i, p, end = "mean") {
    return [u.valToPos(p.x, "x", true) + this.shift(i), u.valToPos(p[end], "y", true)];
  }

  // Ticks at the budgets of the rounds, as many as have room.
  ticks(u) {
    const every = Math.max(1, Math.ceil((this.xs.length * 46) / u.width));
    return this.xs.filter((_, i) => i % every === 0);
  }

  tick(value, ticks) {
    const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1;
    const digits = step >= 1 ? 0 : Math.min(4, Math.ceil(-Math.log10(step) - 1e-9));
    return fixed(value, digits, this.view.kind === "gain");
  }

  series(method, i) {
    const { marker, style } = DATA.methods[method];
    const color = () => css(`--q${style}`);
    const known = this.points[i].filter((p) => p && Number.isFinite(p.mean));
    const line = (u) => {
      const path = new Path2D();
      known.forEach((p) => path.lineTo(...this.place(u, i, p)));
      return { stroke: path, fill: null, clip: null, band: null, gaps: null, flags: 3 };
    };
    const paths = (u) => {
      const path = new Path2D();
      known.forEach((p) => addMarker(path, marker, ...this.place(u, i, p), 4 * devicePixelRatio));
      return { fill: path, stroke: null, clip: null, flags: 3 };
    };
    return { label: DATA.methods[method].label, stroke: color, width: 1.6, paths: line,
      points: { show: true, size: 8, fill: color, paths } };
  }

  // Bands behind the lines: of all methods while they are few, of the one in focus otherwise.
  background(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    this.methods.forEach((method, i) => {
      const rows = this.points[i].filter((p) => p && p.n >= BAND_SEEDS && Number.isFinite(p.low));
      ctx.fillStyle = ctx.strokeStyle = css(`--q${DATA.methods[method].style}`);
      ctx.beginPath();
      if (this.focus < 0 ? this.few : this.focus === i) {
        const ends = [...rows.map((p) => this.place(u, i, p, "high")), ...rows.map((p) => this.place(u, i, p, "low")).reverse()];
        ends.forEach((xy) => ctx.lineTo(...xy));
        ctx.globalAlpha = 0.16;
        ctx.fill();
      } else if (this.focus < 0 && this.view.kind === "gain") {
        for (const p of rows) {
          ctx.moveTo(...this.place(u, i, p, "low"));
          ctx.lineTo(...this.place(u, i, p, "high"));
        }
        ctx.globalAlpha = 0.5;
        ctx.lineWidth = 1.2 * devicePixelRatio;
        ctx.stroke();
      }
    });
    ctx.globalAlpha = 1;
    const line = (from, to, color, dash) => {
      ctx.beginPath();
      ctx.setLineDash(dash.map((d) => d * devicePixelRatio));
      ctx.lineWidth = devicePixelRatio;
      ctx.strokeStyle = color;
      ctx.moveTo(...from);
      ctx.lineTo(...to);
      ctx.stroke();
    };
    const across = (y, dash) => line([bbox.left, y], [bbox.left + bbox.width, y], css("--ink"), dash);
    if (this.view.kind === "gain") across(u.valToPos(0, "y", true), []);
    if (Number.isFinite(this.full)) across(u.valToPos(this.full, "y", true), [5, 4]);
    const x = u.valToPos(this.view.at, "x", true);
    line([x, bbox.top], [x, bbox.top + bbox.height], css("--heat"), [2, 3]);
    ctx.restore();
  }

  // ------------------------------------------------------------------------------------------------- reading values

  moved(u) {
    if (u.cursor.left < 0 || u.cursor.idx === null || u.cursor.idx === undefined) return this.hide();
    this.show(u.cursor.idx);
  }

  show(index) {
    this.index = index;
    const { digits } = unitOf(this.metric);
    const sign = this.view.kind === "gain";
    const found = this.methods.map((m, i) => [m, i, this.points[i][index]]).filter(([, , p]) => p);
    if (!found.length) return this.hide();
    found.sort((a, b) => b[2].mean - a[2].mean);
    const rows = found.map(([m, i, p]) => el("tr", { class: i === this.focus ? "on" : "" },
      el("th", {}, swatch(m), DATA.methods[m].label), el("td", {}, fixed(p.mean, digits, sign)),
      el("td", {}, bracket(p, digits, sign)), el("td", {}, `n\u00a0=\u00a0${p.n}`)));
    const head = `${whole(this.xs[index])} ${AXES[this.view.axis]}, ${unitText(this.metric, this.view.kind)}`;
    this.tip.replaceChildren(el("p", {}, head), el("table", {}, el("tbody", {}, ...rows)));
    this.tip.hidden = false;
    const x = this.plot.valToPos(this.xs[index], "x");
    const { width } = this.plot.over.getBoundingClientRect();
    const own = this.tip.offsetWidth;
    const left = x + 12 + own <= width ? x + 12 : x - 12 - own;
    const room = this.host.getBoundingClientRect();
    const inner = this.plot.over.getBoundingClientRect();
    const most = document.documentElement.clientWidth - inner.left - own - 8;
    // Below the panel, so that no value is covered; above it where the window ends.
    const under = inner.bottom + this.tip.offsetHeight + 8 <= document.documentElement.clientHeight;
    this.tip.style.top = under ? "calc(100% + 4px)" : `${-this.tip.offsetHeight - 4}px`;
    this.tip.style.left = `${Math.max(8 - inner.left, Math.min(Math.max(left, room.left - inner.left), most))}px`;
  }

  hide() {
    this.tip.hidden = true;
    this.index = -1;
  }

  key(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const across = { ArrowUp: -1, ArrowDown: 1 };
    if (event.key === "Escape") {
      this.setFocus(-1);
      return this.hide();
    }
    if (!(event.key in moves) && !(event.key in across)) return;
    event.preventDefault();
    const last = this.xs.length - 1;
    if (!this.methods.length) return;
    const chosen = Math.max(this.focus, 0);
    if (event.key in across) this.setFocus((chosen + (this.focus < 0 ? 0 : across[event.key]) + this.methods.length) % this.methods.length);
    else if (this.focus < 0) this.setFocus(0);
    const start = this.index < 0 ? (event.key === "ArrowRight" ? -1 : last + (event.key === "ArrowLeft")) : this.index;
    this.show(Math.min(last, Math.max(0, start + (moves[event.key] ?? 0))));
    const point = this.points[this.focus][this.index];
    const name = DATA.methods[this.methods[this.focus]].label;
    this.say(point ? sentence(this.methods[this.focus], point, this.metric, this.view.axis, this.view.kind)
      : `${name} has no value at ${whole(this.xs[this.index])} labels`);
  }

  setFocus(i) {
    this.focus = i;
    this.plot.setSeries(i < 0 ? null : i + 1, { focus: true });
    this.plot.redraw();
  }

  mark(at) {
    this.view = { ...this.view, at };
    this.plot.redraw(false);
  }

  resize() {
    this.plot.setSize({ width: Math.max(200, this.host.clientWidth), height: 230 });
  }
}
