// A row of the data as a person sees it: an image, a table of columns, or, of many columns, a line over them.

const MOST_COLUMNS = 40;

// Between two colours, or from black to white for photographs.
function shade(spec, value) {
  const v = Math.min(1, Math.max(0, (value - spec.low[0]) / (spec.high[0] - spec.low[0] || 1)));
  if (!spec.ink) return [255 * v, 255 * v, 255 * v];
  const { surface, text } = theme.rgb;
  return surface.map((s, i) => s + v * (text[i] - s));
}

function paint(canvas, spec, x) {
  const [height, width, colours = 1] = spec.imageShape;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height), { data } = image;
  for (let i = 0; i < height * width; i++) {
    if (colours === 3) {
      for (let k = 0; k < 3; k++) {
        data[4 * i + k] = (255 * (x[3 * i + k] - spec.low[0])) / (spec.high[0] - spec.low[0]);
      }
    } else {
      const [r, g, b] = shade(spec, x[i]);
      data[4 * i] = r;
      data[4 * i + 1] = g;
      data[4 * i + 2] = b;
    }
    data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function imageView(spec, label, size = "large") {
  const [height, width] = spec.imageShape;
  const canvas = element("canvas", { width, height, class: `pixels ${size}`, role: "img", "aria-label": label });
  let last = null;
  const show = (x) => paint(canvas, spec, (last = x));
  theme.watch(() => last && show(last));
  return { node: canvas, show };
}

function share(spec, j, value) {
  return Math.min(1, Math.max(0, (value - spec.low[j]) / (spec.high[j] - spec.low[j] || 1)));
}

// A bar from the smallest to the largest value of a column in the data, and a mark at this one.
function bar(spec, j) {
  const mark = element("span", { class: "bar-mark" });
  const node = element("span", { class: "bar", "aria-hidden": "true" }, mark);
  return { node, show: (value) => (mark.style.left = `${100 * share(spec, j, value)}%`) };
}

// Whether a column's values are levels, of a category or of yes and no.
const isChoice = (spec, j) => Boolean(spec.table) && spec.table.levels[j].length > 0;

// What a decoder makes of column j, as text: a mean, or the most probable level and its probability.
function outputText(spec, network, j, value) {
  if (!isChoice(spec, j)) return significant(value);
  const shares = network.shares(j), best = shares.indexOf(Math.max(...shares));
  return `${spec.table.levels[j][best]} (${(100 * shares[best]).toFixed(0)}%)`;
}

const WITHIN = "within the data";
const outputName = (spec) => (spec.table && spec.table.levels.some((levels) => levels.length) ? "mean, or most probable" : "mean");
const heading = (name) => element("th", { scope: "col", ...(name === WITHIN ? { class: "within" } : {}) }, name);

function tableView(spec, network, label) {
  const body = element("tbody"), rows = [];
  for (let j = 0; j < spec.columns; j++) {
    const value = element("td", { class: "number" }), marked = bar(spec, j);
    body.append(element("tr", {}, element("th", { scope: "row" }, spec.names[j]), value, element("td", { class: "within" }, isChoice(spec, j) ? "" : marked.node)));
    rows.push({ value, marked });
  }
  const show = (x) => rows.forEach(({ value, marked }, j) => {
    value.textContent = outputText(spec, network, j, x[j]);
    marked.show(x[j]);
  });
  const head = element("thead", {}, element("tr", {}, ...["column", outputName(spec), WITHIN].map(heading)));
  return { node: element("table", { class: "row" }, element("caption", {}, label), head, body), show };
}

function lineView(spec, label) {
  const node = element("div", { class: "line-view" });
  const x = Array.from({ length: spec.columns }, (_, j) => j);
  const yRange = [Math.min(...spec.low), Math.max(...spec.high)];
  const show = (y) => node.replaceChildren(lineChart({ title: label, xName: "column", yName: "value", series: [{ x, y, colour: SERIES[0] }], yRange, width: 400, height: 220 }));
  return { node, show };
}

function rowView(spec, network, label, size) {
  if (spec.imageShape) return imageView(spec, label, size);
  return spec.columns <= MOST_COLUMNS ? tableView(spec, network, label) : lineView(spec, label);
}

// An image that is drawn upon: by pointer, or by arrow keys and the space bar. `changed` is told.
function drawingBoard(spec, x, changed) {
  const [height, width] = spec.imageShape, [low, high] = [spec.low[0], spec.high[0]];
  const canvas = element("canvas", {
    width, height, class: "pixels large board", tabindex: 0, role: "application", "aria-roledescription": "drawing",
    "aria-label": "x: draw here. Arrow keys move, the space bar draws, Delete erases",
  });
  const cursor = element("span", { class: "cursor", "aria-hidden": "true" });
  const said = element("p", { class: "visually-hidden", "aria-live": "polite" });
  const node = element("div", { class: "board-frame" }, canvas, cursor, said);
  const reach = Math.max(0.8, height / 20);
  let [row, column, erase, last] = [Math.floor(height / 2), Math.floor(width / 2), false, null];
  const show = () => paint(canvas, spec, x);
  const place = () => {
    cursor.style.cssText = `left:${(100 * column) / width}%;top:${(100 * row) / height}%;width:${100 / width}%;height:${100 / height}%`;
  };
  function stroke(r, c) {
    for (let i = Math.max(0, Math.floor(r - 2 * reach)); i < Math.min(height, r + 2 * reach + 1); i++) {
      for (let j = Math.max(0, Math.floor(c - 2 * reach)); j < Math.min(width, c + 2 * reach + 1); j++) {
        const strength = Math.min(1, Math.max(0, 1.4 - Math.hypot(i + 0.5 - r, j + 0.5 - c) / reach));
        const place = i * width + j;
        const before = (x[place] - low) / (high - low), after = erase ? Math.min(before, 1 - strength) : Math.max(before, strength);
        x[place] = low + after * (high - low);
        if (spec.whole) x[place] = Math.round(x[place]);
      }
    }
  }
  const where = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientY - box.top) / box.height) * height, ((event.clientX - box.left) / box.width) * width];
  };
  function moved(event) {
    const [r, c] = where(event), [r0, c0] = last;
    const steps = Math.max(1, Math.ceil(Math.hypot(r - r0, c - c0) / (reach / 2)));
    for (let s = 1; s <= steps; s++) stroke(r0 + ((r - r0) * s) / steps, c0 + ((c - c0) * s) / steps);
    last = [r, c];
    show();
    changed();
  }
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = where(event);
    moved(event);
  });
  canvas.addEventListener("pointermove", (event) => last && moved(event));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (last = null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step) {
      row = Math.min(height - 1, Math.max(0, row + step[0]));
      column = Math.min(width - 1, Math.max(0, column + step[1]));
    } else if ([" ", "Enter", "Delete", "Backspace"].includes(event.key)) {
      const before = erase;
      erase = event.key === "Delete" || event.key === "Backspace" || (before && event.key !== "Enter");
      stroke(row + 0.5, column + 0.5);
      erase = before;
      show();
      changed();
    } else return;
    event.preventDefault();
    place();
    said.textContent = `row ${row + 1} of ${height}, column ${column + 1} of ${width}: ${significant(x[row * width + column])}`;
  });
  theme.watch(show);
  place();
  return { node, show, erasing: (on) => (erase = on) };
}

// A value that is typed; of a mixed table an empty field is a missing value.
function numberInput(spec, j, changed) {
  const kind = spec.table ? spec.table.kinds[j] : "", counts = spec.whole || kind === "poisson" || kind === "negative_binomial";
  const limits = counts ? { min: 0, step: 1 } : kind === "continuous_bernoulli" ? { min: 0, max: 1, step: "any" } : { step: "any" };
  const input = element("input", {
    type: "number", ...limits, "aria-label": `${spec.names[j]}, the row's value`, placeholder: spec.table ? "missing" : "",
    oninput: () => {
      const value = input.valueAsNumber;
      if (input.validity.badInput || !(input.validity.valid && (spec.table || Number.isFinite(value)))) return;
      changed(value); // NaN of an empty field
    },
  });
  return input;
}

// A value that is chosen.
function levelInput(spec, j, changed) {
  const levels = spec.table.levels[j].map((name, k) => [k, name]);
  const found = choice([...levels, ["", "missing"]], 0, (k) => changed(k === "" ? NaN : Number(k)));
  found.setAttribute("aria-label", `${spec.names[j]}, the row's value`);
  return found;
}

// A row as values that can be changed, shown to so many digits, each beside what the model makes of it.
function rowForm(spec, network, x, digits, changed) {
  const body = element("tbody"), rows = [];
  for (let j = 0; j < spec.columns; j++) {
    const input = (isChoice(spec, j) ? levelInput : numberInput)(spec, j, (value) => {
      x[j] = value;
      changed();
    });
    const value = element("td", { class: "number" }), marked = bar(spec, j);
    body.append(element("tr", {}, element("th", { scope: "row" }, spec.names[j]), element("td", {}, input), value, element("td", { class: "within" }, isChoice(spec, j) ? "" : marked.node)));
    rows.push({ input, value, marked });
  }
  const heads = ["column", "x", `${outputName(spec)} at z = μ`, WITHIN].map(heading);
  const node = element("table", { class: "row" }, element("thead", {}, element("tr", {}, ...heads)), body);
  const show = () => rows.forEach(({ input }, j) => {
    if (document.activeElement === input) return;
    if (Number.isNaN(x[j])) input.value = "";
    else input.value = isChoice(spec, j) ? x[j] : Number(x[j].toPrecision(digits));
  });
  const showOutput = (y) => rows.forEach(({ value, marked }, j) => {
    value.textContent = outputText(spec, network, j, y[j]);
    marked.show(y[j]);
  });
  return { node, show, showOutput };
}
