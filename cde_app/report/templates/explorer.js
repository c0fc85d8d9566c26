"use strict";
// The explorer of a report: sliders for the inputs, and the densities at x. Everything is drawn as SVG, which a printer,
// a dark screen and a screen reader can use; every text from the data enters as textContent.
(() => {
const data = JSON.parse(document.getElementById("explorer-data").textContent);
const LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95], NEAR = 40, NEAR_ALONG = 150, STEPS = 41, MAP = 70, MINUS = "\u2212";
const byId = (id) => document.getElementById(id);

// --- numbers ---------------------------------------------------------------------------------------------------------

function unpack(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Type(bytes.buffer);
}

function format(value, digits = 4) {
  if (!Number.isFinite(value)) return "unknown";
  const size = Math.abs(value);
  const text = size !== 0 && (size >= 1e7 || size < 1e-4) ? value.toExponential(digits - 1)
    : String(Number(value.toPrecision(size >= 1000 ? Math.max(digits, Math.ceil(Math.log10(size))) : digits)));
  return text.replaceAll("-", MINUS);
}

function percent(p) {
  return p > 0 && p < 0.001 ? "below 0.1\u202f%" : p < 1 && p > 0.999 ? "above 99.9\u202f%" : `${(100 * p).toFixed(1)}\u202f%`;
}

// The normal distribution function, to 1.2e-7 (Numerical Recipes, erfcc).
function normalCdf(x) {
  const z = Math.abs(x) / Math.SQRT2, t = 1 / (1 + 0.5 * z);
  const tail = 0.5 * t * Math.exp(-z * z - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 +
    t * (-0.18628806 + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277)))))))));
  return x > 0 ? 1 - tail : tail;
}

// --- mixtures: weights w, and for each of their targets means m and standard deviations s, standardised -------------

function mixture(weights, values, joint) {
  const K = weights.length, block = (i) => values.slice(i * K, (i + 1) * K), exp = (a) => a.map(Math.exp);
  let total = 0;
  for (const w of weights) total += w;
  const made = { w: weights.map((w) => w / total), m: [block(0)], s: [exp(block(1))] };
  if (joint) {
    made.m.push(block(2));
    made.s.push(exp(block(3)));
    made.r = block(4).map(Math.tanh);
  }
  return made;
}

function density(one, z) {
  let sum = 0;
  for (let k = 0; k < one.w.length; k++) {
    const u = (z - one.m[0][k]) / one.s[0][k];
    sum += one.w[k] * Math.exp(-0.5 * u * u) / one.s[0][k];
  }
  return sum / Math.sqrt(2 * Math.PI);
}

function cdf(one, z) {
  let sum = 0;
  for (let k = 0; k < one.w.length; k++) sum += one.w[k] * normalCdf((z - one.m[0][k]) / one.s[0][k]);
  return sum;
}

function quantile(one, level) {
  let low = Infinity, high = -Infinity;
  for (let k = 0; k < one.w.length; k++) {
    low = Math.min(low, one.m[0][k] - 8 * one.s[0][k]);
    high = Math.max(high, one.m[0][k] + 8 * one.s[0][k]);
  }
  for (let i = 0; i < 44; i++) {
    const middle = 0.5 * (low + high);
    if (cdf(one, middle) < level) low = middle; else high = middle;
  }
  return 0.5 * (low + high);
}

function jointDensity(pair, a, b) {
  let sum = 0;
  for (let k = 0; k < pair.w.length; k++) {
    const r = pair.r[k], rest = 1 - r * r;
    const u = (a - pair.m[0][k]) / pair.s[0][k], v = (b - pair.m[1][k]) / pair.s[1][k];
    sum += pair.w[k] * Math.exp(-0.5 * (u * u - 2 * r * u * v + v * v) / rest) /
      (pair.s[0][k] * pair.s[1][k] * Math.sqrt(rest));
  }
  return sum / (2 * Math.PI);
}

// --- targets: the table of each transform ------------------------------------------------------------------------

function interpolated(table, position) {
  const i = Math.min(Math.max(Math.floor(position), 0), table.length - 2), t = Math.min(Math.max(position - i, 0), 1);
  return table[i] + t * (table[i + 1] - table[i]);
}
const toY = (target, z) => interpolated(target.y, (z - target.z[0]) / target.z[1]);
const slopeAt = (target, z) => Math.exp(interpolated(target.logSlope, (z - target.z[0]) / target.z[1]));
function toZ(target, y) {
  const table = target.y;
  if (y <= table[0]) return -Infinity;
  if (y >= table[table.length - 1]) return Infinity;
  let low = 0, high = table.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (table[middle] <= y) low = middle; else high = middle;
  }
  return target.z[0] + target.z[1] * (low + (y - table[low]) / (table[high] - table[low]));
}
const withUnit = (target, text) => (target.unit ? `${text} ${target.unit}` : text);
const titled = (target) => (target.unit ? `${target.name} [${target.unit}]` : target.name);

// --- inputs and rows ----------------------------------------------------------------------------------------------

const { inputs, targets } = data;
const J = inputs.length, P = targets.length;
const rowInputs = unpack(data.rows.inputs, Float64Array), rowTargets = unpack(data.rows.targets, Float64Array);
const numRows = data.rows.numbers.length, owner = inputs.flatMap((input, j) => input.features.map(() => j));
const D = owner.length;

function features(values) {
  const x = [];
  inputs.forEach((input, j) => {
    for (const form of input.features) {
      const angle = 2 * Math.PI * values[j] / form.period;
      const raw = form.kind === "number" ? values[j] : form.kind === "sine" ? Math.sin(angle)
        : form.kind === "cosine" ? Math.cos(angle) : form.kind === "label" ? Number(values[j] === form.code) : 0;
      x.push((raw - form.centre) / form.scale * data.scale[x.length]);
    }
  });
  return x;
}
const valuesOf = (row) => Array.from(rowInputs.subarray(row * J, (row + 1) * J));
const scaledRows = Array.from({ length: numRows }, (_, row) => features(valuesOf(row)));

// The nearest rows, optionally whatever the value of one input.
function nearest(x, count, without = -1) {
  const found = scaledRows.map((other, row) => {
    let sum = 0;
    for (let d = 0; d < D; d++) if (owner[d] !== without) sum += (x[d] - other[d]) ** 2;
    return { row, distance: Math.sqrt(sum) };
  });
  return found.sort((a, b) => a.distance - b.distance).slice(0, count);
}

function written(input, value) {
  if (input.kind === "categorical") return input.labels[value];
  if (input.kind === "datetime") {
    const date = new Date(value * 864e5);
    return isNaN(date) ? `${format(value, 6)} days after 1970` : date.toISOString().slice(0, 16).replace("T", " ");
  }
  return format(value, 6);
}

// --- the densities at x: interpolated in this page, or asked of `cde explore` --------------------------------------

const emulator = data.emulator && {
  rank: data.emulator.rank,
  ...Object.fromEntries(["sites", "coefficients", "centre", "basis"].map((k) => [k, unpack(data.emulator[k], Float32Array)])),
};

function interpolate(values) {
  const { rank, sites, coefficients, centre, basis } = emulator, x = features(values);
  const scores = new Float64Array(rank), T = sites.length / D, Q = centre.length;
  const add = (row, factor) => {
    for (let k = 0; k < rank; k++) scores[k] += factor * coefficients[row * rank + k];
  };
  for (let t = 0; t < T; t++) {
    let squares = 0;
    for (let d = 0; d < D; d++) squares += (x[d] - sites[t * D + d]) ** 2;
    add(t, squares * Math.sqrt(squares));
  }
  add(T, 1);
  for (let d = 0; d < D; d++) add(T + 1 + d, x[d]);
  const parameters = Float64Array.from(centre);
  for (let k = 0; k < rank; k++) for (let q = 0; q < Q; q++) parameters[q] += scores[k] * basis[k * Q + q];
  let first = 0;
  return data.parts.map((part, p) => {
    const count = part.weights.length * (p < P ? 2 : 5), own = Array.from(parameters.subarray(first, first + count));
    first += count;
    return mixture(part.weights, own, p >= P);
  });
}

const bands = (parts) => targets.map((target, p) => LEVELS.map((level) => toY(target, quantile(parts[p], level))));

async function ask(values, along) {
  if (!data.live) {
    const parts = interpolate(values);
    return { parts, bands: along.map((one) => bands(interpolate(one))), map: data.pair && jointGrid(parts[P]) };
  }
  const answer = await fetch(location.pathname, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ values, along }),
  });
  if (!answer.ok) throw new Error(await answer.text());
  const exact = await answer.json();
  return { ...exact, parts: exact.parts.map((part) => mixture(part.weights, part.values, false)) };
}

// --- the page -----------------------------------------------------------------------------------------------------

function make(tag, attributes = {}, parent = null, text = null) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function draw(tag, attributes, parent, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

const state = { values: valuesOf(data.rows.start), row: data.rows.start, along: 0, alongTarget: 0, thresholds: [] };
const views = byId("views"), controls = byId("controls"), sliders = [];

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough), found = [];
  for (let t = Math.ceil(low / step - 1e-9); t * step <= high + 1e-9 * step; t++) found.push(t * step);
  return found;
}

// A frame with axes; x and y are the functions from data to pixels.
function frame(svg, { height, xs, ys, xTitle, yTitle, xTicks = null, hideY = false }) {
  const width = Math.max(svg.parentNode.clientWidth, 240);
  const box = { left: hideY ? 14 : 56, right: width - 14, top: 14, bottom: height - 46 };
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const x = (v) => box.left + (v - xs[0]) / (xs[1] - xs[0]) * (box.right - box.left);
  const y = (v) => box.bottom - (v - ys[0]) / (ys[1] - ys[0]) * (box.bottom - box.top);
  const axis = draw("g", { class: "axis" }, svg);
  for (const [value, text] of xTicks ?? ticks(...xs, width / 90).map((v) => [v, format(v)])) {
    draw("line", { x1: x(value), x2: x(value), y1: box.bottom, y2: box.bottom + 5 }, axis);
    draw("text", { x: x(value), y: box.bottom + 19, "text-anchor": "middle", class: "tick-x" }, axis, text);
  }
  for (const value of hideY ? [] : ticks(...ys, 5)) {
    draw("line", { x1: box.left, x2: box.right, y1: y(value), y2: y(value), class: "grid" }, axis);
    draw("text", { x: box.left - 8, y: y(value) + 4, "text-anchor": "end" }, axis, format(value));
  }
  draw("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }, axis);
  draw("text", { x: box.right, y: height - 8, "text-anchor": "end", class: "title" }, axis, xTitle);
  if (yTitle) draw("text", { x: 4, y: 10, class: "title" }, axis, yTitle);
  return { x, y, box };
}
const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(2)} ${b.toFixed(2)}`).join("");

function figure(title, parent = views) {
  const node = make("figure", { class: "view" }, parent);
  make("figcaption", {}, node, title);
  const holder = make("div", { class: "canvas" }, node);
  return { node, svg: draw("svg", { role: "img" }, holder) };
}

function dots(svg, points) { // held-out rows are full, training rows hollow; the nearest are strongest
  const group = draw("g", { class: "dots" }, svg);
  points.forEach(([cx, cy, row], i) => draw("circle", {
    cx: cx.toFixed(1), cy: cy.toFixed(1), r: 3, class: row < data.rows.heldOut ? "held-out" : "trained",
    opacity: (1 - 0.75 * i / points.length).toFixed(2),
  }, group));
}

// One density per target, with its numbers.
const densityViews = targets.map((target, p) => {
  const view = figure(titled(target));
  const question = make("p", { class: "question" }, view.node);
  const label = make("label", {}, question, `Chance that ${target.name} is above `);
  const box = make("input", { type: "number", step: "any", id: `threshold-${p}` }, label);
  if (target.unit) label.append(` ${target.unit}`);
  question.append(": ");
  const answer = make("output", { id: `chance-${p}`, for: box.id }, question);
  state.thresholds[p] = Number(target.median.toPrecision(2));
  box.value = state.thresholds[p];
  box.addEventListener("input", () => {
    if (Number.isFinite(box.valueAsNumber)) { state.thresholds[p] = box.valueAsNumber; show(); }
  });
  const table = make("table", { class: "numbers" }, make("div", { class: "scroll" }, view.node));
  make("caption", {}, table, `Quantiles${target.unit ? `, in ${target.unit}` : ""}`);
  const head = make("tr", {}, make("thead", {}, table)), body = make("tr", {}, make("tbody", {}, table));
  const cells = LEVELS.map((level) => {
    make("th", { scope: "col", class: "number" }, head, level === 0.5 ? "median" : `${100 * level}\u202f%`);
    return make("td", { class: "number" }, body);
  });
  const observed = Array.from({ length: numRows }, (_, row) => rowTargets[row * P + p]).sort((a, b) => a - b);
  const range = [observed[Math.floor(0.005 * (numRows - 1))], observed[Math.ceil(0.995 * (numRows - 1))]];
  return { ...view, target, p, answer, cells, range };
});

function drawDensity(view, one, near, observed) {
  const { target, p, svg } = view, z = LEVELS.map((level) => quantile(one, level));
  const ends = [quantile(one, 0.001), quantile(one, 0.999)], wide = [quantile(one, 0.01), quantile(one, 0.99)];
  const xs = [Math.min(view.range[0], toY(target, wide[0])), Math.max(view.range[1], toY(target, wide[1]))];
  const pad = 0.04 * (xs[1] - xs[0]);
  const points = Array.from({ length: 401 }, (_, i) => {
    const at = ends[0] + (ends[1] - ends[0]) * i / 400;
    return [toY(target, at), density(one, at) * slopeAt(target, at)];
  });
  const top = Math.max(...points.map((point) => point[1])), height = 250;
  const { x, y, box } = frame(svg, { height, xs: [xs[0] - pad, xs[1] + pad], ys: [-0.28 * top, 1.06 * top],
    xTitle: titled(target), hideY: true });
  const inside = (v) => Math.min(Math.max(x(v), box.left), box.right);
  const curve = points.map(([v, f]) => [x(v), y(f)]).filter(([at]) => at >= box.left && at <= box.right);
  const area = (from, to, name) => {
    const part = points.filter(([v]) => v >= from && v <= to).map(([v, f]) => [inside(v), y(f)]);
    if (part.length > 1) draw("path", { class: name, d: `${path(part)}L${part.at(-1)[0]} ${y(0)}L${part[0][0]} ${y(0)}Z` }, svg);
  };
  const q = z.map((one_) => toY(target, one_));
  area(q[0], q[4], "band-90");
  area(q[1], q[3], "band-50");
  draw("path", { class: "curve", d: path(curve) }, svg);
  draw("line", { class: "median", x1: inside(q[2]), x2: inside(q[2]), y1: y(0), y2: y(density(one, z[2]) * slopeAt(target, z[2])) }, svg);
  const c = state.thresholds[p], chance = 1 - cdf(one, toZ(target, c));
  if (x(c) > box.left && x(c) < box.right) {
    draw("line", { class: "threshold", x1: x(c), x2: x(c), y1: box.top, y2: y(0) }, svg);
    const right = x(c) < box.right - 90;
    draw("text", { class: "threshold-text", x: x(c) + (right ? 5 : -5), y: box.top + 8, "text-anchor": right ? "start" : "end" }, svg,
      `${percent(chance)} ${right ? "\u2192" : "above"}`);
  }
  draw("line", { class: "floor", x1: box.left, x2: box.right, y1: y(0), y2: y(0) }, svg);
  dots(svg, near.map(({ row }, i) => [inside(rowTargets[row * P + p]), y(-0.09 * top - 0.13 * top * ((i * 0.618) % 1)), row]));
  if (observed !== null) marker(svg, inside(observed), y(0));
  svg.setAttribute("aria-label", `Density of ${target.name}: median ${withUnit(target, format(q[2]))}, 90 % between ` +
    `${format(q[0])} and ${withUnit(target, format(q[4]))}; below it the values of the ${near.length} nearest rows.`);
  view.answer.textContent = percent(chance);
  view.cells.forEach((cell, i) => { cell.textContent = format(q[i]); });
  return q;
}

function marker(svg, cx, cy) {
  draw("path", { class: "observed", d: `M${cx} ${cy}l-6 10h12Z` }, svg);
}

// The quantiles of one target along one input, the others as they are.
const fan = figure("");
const fanTitle = fan.node.querySelector("figcaption");
function chooser(label, options, key) {
  const holder = make("label", {}, fanTitle, label), select = make("select", { id: `choose-${key}` }, holder);
  options.forEach((option, i) => make("option", { value: i }, select, option));
  select.addEventListener("change", () => { state[key] = Number(select.value); show(); });
}
if (P > 1) chooser("Quantiles of ", targets.map((one) => one.name), "alongTarget");
else make("span", {}, fanTitle, `Quantiles of ${targets[0].name}`);
chooser(" along ", inputs.map((one) => one.name), "along");

function grid() {
  const input = inputs[state.along];
  if (input.kind !== "categorical")
    return Array.from({ length: STEPS }, (_, i) => input.low + (input.high - input.low) * i / (STEPS - 1));
  const codes = input.labels.map((_, code) => code).slice(0, 12), now = state.values[state.along];
  return codes.includes(now) ? codes : [...codes.slice(0, 11), now];
}

function drawFan(along, found, x0) {
  const input = inputs[state.along], target = targets[state.alongTarget], p = state.alongTarget, { svg } = fan;
  const rows = nearest(x0, NEAR_ALONG, state.along), isLabel = input.kind === "categorical";
  const lines = LEVELS.map((_, l) => found.map((one) => one[p][l])), range = densityViews[p].range;
  const ys = [Math.min(range[0], ...lines[0]), Math.max(range[1], ...lines[4])], pad = 0.04 * (ys[1] - ys[0]);
  const xs = isLabel ? [-0.5, along.length - 0.5] : [input.low, input.high];
  const xTicks = isLabel ? along.map((code, i) => [i, String(input.labels[code]).slice(0, 14)])
    : input.kind === "datetime" ? ticks(...xs, 4).map((v) => [v, written(input, v).slice(0, 10)]) : null;
  const { x, y, box } = frame(svg, { height: 340, xs, ys: [ys[0] - pad, ys[1] + pad], xTitle: input.name, yTitle: titled(target), xTicks });
  const clip = (v) => Math.min(Math.max(v, box.top), box.bottom);
  if (isLabel) {
    along.forEach((code, i) => {
      const bar = (a, b, w, name) => draw("rect", { class: name, x: x(i) - w, width: 2 * w, y: y(lines[b][i]), height: Math.max(y(lines[a][i]) - y(lines[b][i]), 0.5) }, svg);
      bar(0, 4, 9, "band-90");
      bar(1, 3, 9, "band-50");
      draw("line", { class: "median", x1: x(i) - 11, x2: x(i) + 11, y1: y(lines[2][i]), y2: y(lines[2][i]) }, svg);
    });
  } else {
    const ribbon = (a, b, name) => draw("path", { class: name, d: path([
      ...along.map((v, i) => [x(v), y(lines[a][i])]), ...along.map((v, i) => [x(v), y(lines[b][i])]).reverse()]) + "Z" }, svg);
    ribbon(0, 4, "band-90");
    ribbon(1, 3, "band-50");
    draw("path", { class: "median", d: path(along.map((v, i) => [x(v), y(lines[2][i])])) }, svg);
    if (input.kind !== "cyclic") for (const [from, to] of [[input.low, input.trained[0]], [input.trained[1], input.high]])
      draw("rect", { class: "beyond", x: x(from), width: Math.max(x(to) - x(from), 0), y: box.top, height: box.bottom - box.top }, svg);
  }
  const place = (row) => { const v = rowInputs[row * J + state.along]; return isLabel ? x(along.indexOf(v)) + 14 : x(v); };
  dots(svg, rows.filter(({ row }) => !isLabel || along.includes(rowInputs[row * J + state.along]))
    .map(({ row }) => [place(row), clip(y(rowTargets[row * P + p])), row]));
  const now = isLabel ? x(along.indexOf(state.values[state.along])) : x(state.values[state.along]);
  draw("line", { class: "now", x1: now, x2: now, y1: box.top, y2: box.bottom }, svg);
  svg.setAttribute("aria-label", `Quantiles of ${target.name} at 5, 25, 50, 75 and 95 % along ${input.name}, the other inputs ` +
    `as set: the median goes from ${format(lines[2][0])} to ${withUnit(target, format(lines[2].at(-1)))}; with rows that are near in the other inputs.`);
}

// Highest-density regions of two targets jointly, as filled contours.
const map = data.pair && figure(`${targets[data.pair[0]].name} and ${targets[data.pair[1]].name} together`);
if (map) make("p", { class: "soft key" }, map.node, "Regions with 50, 80 and 95 % of the probability, and the nearest rows.");

// The joint density at a grid of standardised values, from the mixture of two targets.
function jointGrid(pair) {
  const ends = [0, 1].map((i) => {
    const one = { w: pair.w, m: [pair.m[i]], s: [pair.s[i]] };
    return [quantile(one, 0.002), quantile(one, 0.998)];
  });
  const [X, Y] = ends.map(([low, high]) => Array.from({ length: MAP + 1 }, (_, n) => low + (high - low) * n / MAP));
  return { ends, density: X.map((a) => Y.map((b) => jointDensity(pair, a, b))) };
}

function drawMap({ ends, density: f }, near, observed) {
  const [a, b] = data.pair, steps = f.length - 1;
  const at = (i, n) => ends[i][0] + (ends[i][1] - ends[i][0]) * n / steps, sizes = [[], []];
  for (const i of [0, 1]) for (let n = 0; n <= steps; n++) sizes[i].push(slopeAt(targets[[a, b][i]], at(i, n)));
  // Regions of highest density in the targets' units; their mass is counted in standardised ones.
  const cells = f.flatMap((column, i) => column.map((mass, j) => [mass * sizes[0][i] * sizes[1][j], mass]));
  const total = cells.reduce((sum, [, mass]) => sum + mass, 0);
  cells.sort((one, other) => other[0] - one[0]);
  const limits = [0.95, 0.8, 0.5].map((share) => {
    let sum = 0;
    for (const [height, mass] of cells) { sum += mass; if (sum >= share * total) return height; }
    return 0;
  });
  const wide = (i, p) => {
    const own = ends[i].map((z) => toY(targets[p], z)), centre = near.map(({ row }) => rowTargets[row * P + p]);
    const low = Math.min(own[0], ...centre.slice(0, 20)), high = Math.max(own[1], ...centre.slice(0, 20)), pad = 0.08 * (high - low || 1);
    return [low - pad, high + pad];
  };
  const { x, y, box } = frame(map.svg, { height: 340, xs: wide(0, a), ys: wide(1, b), xTitle: titled(targets[a]), yTitle: titled(targets[b]) });
  const px = (i) => x(toY(targets[a], at(0, i))), py = (j) => y(toY(targets[b], at(1, j)));
  const X = sizes[0].map((_, i) => px(i)), Y = sizes[1].map((_, j) => py(j));
  limits.forEach((limit, level) => {
    let d = "";
    for (let i = 0; i < steps; i++) for (let j = 0; j < steps; j++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]].map(([m, n]) => [X[m], Y[n], f[m][n] * sizes[0][m] * sizes[1][n] - limit]);
      if (corners.every(([, , v]) => v < 0)) continue;
      const polygon = [];
      corners.forEach(([x0, y0, v0], k) => {
        const [x1, y1, v1] = corners[(k + 1) % 4];
        if (v0 >= 0) polygon.push([x0, y0]);
        if ((v0 >= 0) !== (v1 >= 0)) { const t = v0 / (v0 - v1); polygon.push([x0 + t * (x1 - x0), y0 + t * (y1 - y0)]); }
      });
      d += path(polygon) + "Z";
    }
    draw("path", { class: `region region-${level}`, d }, map.svg);
  });
  const inside = ([cx, cy]) => cx >= box.left && cx <= box.right && cy >= box.top && cy <= box.bottom;
  dots(map.svg, near.map(({ row }) => [x(rowTargets[row * P + a]), y(rowTargets[row * P + b]), row]).filter(inside));
  if (observed) marker(map.svg, x(observed[a]), y(observed[b]));
  map.svg.setAttribute("aria-label", `Joint density of ${titled(targets[a])} and ${titled(targets[b])}: regions with 50, 80 and 95 % ` +
    "of the probability, with the nearest rows.");
}

// --- controls -----------------------------------------------------------------------------------------------------

function buildControls() {
  const picker = make("label", { class: "picker" }, controls, "Start from a row of the table ");
  const select = make("select", { id: "row" }, picker);
  make("option", { value: "" }, select, "as set below");
  for (const row of data.rows.picks) {
    const said = targets.map((target, p) => `${target.name} ${format(rowTargets[row * P + p])}`).join(", ");
    make("option", { value: row }, select, `row ${data.rows.numbers[row]}: ${said}`);
  }
  select.addEventListener("change", () => {
    if (select.value === "") return;
    state.row = Number(select.value);
    state.values = valuesOf(state.row);
    show();
  });
  inputs.forEach((input, j) => {
    const group = make("div", { class: "input" }, controls), id = `input-${j}`;
    make("label", { for: id }, group, input.name);
    const changed = (value) => { state.values[j] = value; state.row = null; show(); };
    if (input.kind === "categorical") {
      const list = make("select", { id }, group);
      input.labels.forEach((label, code) => make("option", { value: code }, list, label));
      list.addEventListener("change", () => changed(Number(list.value)));
      sliders.push(() => { list.value = state.values[j]; });
      return;
    }
    const step = input.whole ? 1 : (input.high - input.low) / 400;
    const low = input.whole ? Math.floor(input.low) : input.low, high = input.whole ? Math.ceil(input.high) : input.high;
    const slider = make("input", { type: "range", id, min: low, max: high, step }, group);
    const digits = input.kind === "datetime" ? 12 : 5;
    slider.addEventListener("input", () => changed(Number(Number(slider.value).toPrecision(digits))));
    if (input.kind === "datetime") {
      const shown = make("output", { for: id }, group);
      sliders.push(() => { slider.value = state.values[j]; shown.textContent = written(input, state.values[j]); });
      return;
    }
    const box = make("input", { type: "number", step: "any", "aria-label": `${input.name}, exact value` }, group);
    box.addEventListener("input", () => { if (Number.isFinite(box.valueAsNumber)) changed(box.valueAsNumber); });
    const [from, to] = input.trained;
    make("small", { class: "soft" }, group, `${format(from)} to ${format(to)}${input.kind === "cyclic" ? ", a cycle" : " in training"}`);
    sliders.push(() => {
      slider.value = state.values[j];
      slider.setAttribute("aria-valuetext", written(input, state.values[j]));
      if (document.activeElement !== box) box.value = Number(state.values[j].toPrecision(7));
    });
  });
  sliders.push(() => {
    const value = state.row === null ? "" : String(state.row);
    select.value = value;
    if (select.value !== value) select.value = "";
  });
}

function outside(near) {
  const out = inputs.filter((input, j) => input.kind !== "cyclic" && input.kind !== "categorical" &&
    (state.values[j] < input.trained[0] || state.values[j] > input.trained[1]));
  if (out.length) return `Extrapolation: ${out.map((input) => `${input.name} is outside its training range of ` +
    `${written(input, input.trained[0])} to ${written(input, input.trained[1])}`).join("; ")}. The density is a guess.`;
  if (near[0].distance > data.rows.reach && data.rows.reach > 0)
    return "Extrapolation: no row of the table is near this combination of inputs. The density is a guess.";
  return "";
}

let running = false, again = false, announced = 0;
async function show() {
  if (running) { again = true; return; }
  running = true;
  try {
    do {
      again = false;
      sliders.forEach((update) => update());
      const along = grid(), column = state.along;
      const found = await ask([...state.values], along.map((value) => state.values.map((own, j) => (j === column ? value : own))));
      if (column === state.along) update(found, along);
    } while (again);
  } catch (error) {
    byId("outside").textContent = `The densities could not be had: ${error.message || error}. Is cde explore still running?`;
    byId("outside").hidden = false;
  } finally { running = false; }
}

function update(found, along) {
  const x = features(state.values), near = nearest(x, NEAR), warning = outside(near);
  const observed = state.row === null ? null : targets.map((_, p) => rowTargets[state.row * P + p]);
  byId("outside").textContent = warning;
  byId("outside").hidden = !warning;
  views.classList.toggle("extrapolated", Boolean(warning));
  const lines = densityViews.map((view, p) => {
    const q = drawDensity(view, found.parts[p], near, observed && observed[p]);
    return `${view.target.name}: ${withUnit(view.target, format(q[2], 3))} (${format(q[0], 3)} to ${format(q[4], 3)})`;
  });
  drawFan(along, found.bands, x);
  if (map) drawMap(found.map, near, observed);
  byId("summary").textContent = lines.join(" \u00b7 ");
  clearTimeout(announced);
  announced = setTimeout(() => { byId("announce").textContent = `${warning} Median and 90 % interval. ${lines.join("; ")}.`; }, 500);
}

function exactness() {
  if (data.live) return ["Exact: the running cde explore evaluates the model at every position.", ""];
  const points = (share) => (100 * share).toFixed(1), { checked, half, most, largest, joint, sites } = data.error;
  return [
    `Interpolated: at 95 of 100 positions checked, every probability is within ${points(most)} percentage points of the model's, ` +
      `at half of them within ${points(half)}.`,
    `This page knows the model at ${sites.toLocaleString("en")} rows and interpolates between them. It was compared with the model at ${checked} ` +
      "other positions: rows of the table with up to two inputs moved to another row's value or to anywhere in their range. For each, the largest error of the " +
      `probability of any value or less was found; the largest of all is ${points(largest)} percentage points. ` +
      (joint === null ? "" : `The joint map is smoothed: on average ${(100 * joint).toFixed(0)}\u202f% of its probability is in another place than the model's. `) +
      "The command cde explore shows this page with densities that are exact everywhere.",
  ];
}

const [exactShort, exactLong] = exactness();
byId("exactness").textContent = exactShort;
byId("exactness-more").textContent = exactLong;
byId("how-exact").hidden = !exactLong;
byId("explorer").hidden = false;
buildControls();
show();
let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; show(); } });
})();
