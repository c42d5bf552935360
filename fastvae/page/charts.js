// Charts as SVG, each with a name for those who do not see it.

const ticks = (low, high, count) => {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * step; v += step) found.push(Number(v.toPrecision(12)));
  return found;
};

// Lines over x: series are {name, x, y, colour, dashed}; `bands` {low, high, colour} are horizontal. `log` is of x.
function lineChart({ title, xName, yName, series, bands = [], kept = 0, log = false, yRange = null, width = 560, height = 260 }) {
  const [left, right, top, bottom] = [58, 24, 10, 40];
  const at = log ? Math.log10 : (v) => v;
  const xs = series.flatMap((s) => Array.from(s.x, at));
  const ys = series.flatMap((s) => Array.from(s.y)).filter(Number.isFinite);
  let [low, high] = yRange || [Math.min(...ys), Math.max(...ys)];
  if (!(high > low)) [low, high] = [low - 1, low + 1];
  const first = Math.min(...xs), last = Math.max(...xs, first + 1e-9);
  const px = (x) => left + ((at(x) - first) / (last - first)) * (width - left - right);
  const py = (y) => top + ((high - y) / (high - low)) * (height - top - bottom);
  const root = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart", "aria-label": title });
  for (const { low: a, high: b, colour } of bands) {
    const y = Math.max(py(b), top), end = Math.min(py(a), height - bottom);
    if (end > y) root.append(drawn("rect", { x: left, width: width - left - right, y, height: end - y, fill: colour, opacity: 0.25 }));
  }
  const text = (content, attributes) => {
    const found = drawn("text", attributes);
    found.textContent = content;
    root.append(found);
  };
  for (const v of ticks(low, high, 5)) {
    root.append(drawn("line", { x1: left, x2: width - right, y1: py(v), y2: py(v), class: "grid" }));
    text(significant(v, 6), { x: left - 6, y: py(v) + 4, "text-anchor": "end" });
  }
  const marks = log ? ticks(first, last, 4).filter(Number.isInteger).map((v) => 10 ** v) : ticks(first, last, 6);
  for (const v of marks) text(v.toLocaleString("en"), { x: px(v), y: height - bottom + 16, "text-anchor": "middle" });
  text(xName, { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle", class: "name" });
  text(yName, { x: 14, y: (top + height - bottom) / 2, "text-anchor": "middle", class: "name", transform: `rotate(-90 14 ${(top + height - bottom) / 2})` });
  const clip = `clip-${(lineChart.count = (lineChart.count || 0) + 1)}`;
  root.append(drawn("clipPath", { id: clip }, drawn("rect", { x: left, y: top, width: width - left - right, height: height - top - bottom })));
  if (kept) root.append(drawn("line", { x1: px(kept), x2: px(kept), y1: top, y2: height - bottom, class: "kept" }));
  for (const { x, y, colour, dashed } of series) {
    let path = "";
    for (let i = 0; i < x.length; i++) {
      if (Number.isFinite(y[i])) path += `${path ? "L" : "M"}${px(x[i]).toFixed(1)} ${py(y[i]).toFixed(1)}`;
    }
    root.append(drawn("path", { d: path, fill: "none", stroke: colour, "stroke-width": 1.8, "clip-path": `url(#${clip})`, ...(dashed ? { "stroke-dasharray": "5 4" } : {}) }));
  }
  return root;
}

function legend(entries) {
  const found = element("ul", { class: "legend" });
  for (const { name, colour } of entries) {
    const mark = element("span", { class: "mark", "aria-hidden": "true" });
    mark.style.background = colour;
    found.append(element("li", {}, mark, name));
  }
  return found;
}

// q(z|x) beside the prior: of each dimension mu and two deviations to either side, and its KL.
function posteriorChart({ mu, logvar, order, title }) {
  const row = 18, width = 340, left = 36, right = 72, top = 6, height = top + row * order.length + 26;
  const px = (z) => left + ((Math.max(-5, Math.min(5, z)) + 5) / 10) * (width - left - right);
  const root = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart narrow", "aria-label": title });
  const text = (content, attributes) => {
    const found = drawn("text", attributes);
    found.textContent = content;
    root.append(found);
  };
  root.append(drawn("rect", { x: px(-2), width: px(2) - px(-2), y: top, height: row * order.length, class: "prior" }));
  root.append(drawn("line", { x1: px(0), x2: px(0), y1: top, y2: top + row * order.length, class: "grid" }));
  order.forEach((k, i) => {
    const y = top + row * (i + 0.5), d = Math.exp(logvar[k] / 2);
    text(`z${k}`, { x: left - 8, y: y + 4, "text-anchor": "end" });
    root.append(drawn("line", { x1: px(mu[k] - 2 * d), x2: px(mu[k] + 2 * d), y1: y, y2: y, class: "interval" }));
    root.append(drawn("circle", { cx: px(mu[k]), cy: y, r: 3.5, class: "mean" }));
    text(decimals(klOf(mu[k], logvar[k])), { x: width - 4, y: y + 4, "text-anchor": "end" });
  });
  for (const v of [-4, -2, 0, 2, 4]) text(decimals(v, 0), { x: px(v), y: height - 8, "text-anchor": "middle" });
  text("KL, nats", { x: width - 4, y: height - 8, "text-anchor": "end", class: "name" });
  return root;
}
