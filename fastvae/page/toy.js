// A step of a small VAE in the plane, forwards and backwards, with every number in sight. `root` is the element to
// fill, `toy` what fastvae/page/toy.py made. All in float64; the noise is that of noise.js. A step is of one row: an
// epoch is as many steps as there are rows. Returns the state and the functions that move it.
function startToy(root, toy) {
  const names = Object.keys(toy.parameters);
  const outputs = (layer) => toy.parameters[layer + ".bias"].length;
  const flat = () => Object.fromEntries(names.map((name) => [name, toy.parameters[name].flat()])); // a weight by rows
  const zeros = () => Object.fromEntries(names.map((name) => [name, toy.parameters[name].flat().fill(0)]));
  const state = { beta: toy.beta, sigma: toy.sigma };

  // ---- The mathematics: pure functions of parameters by name, each flat

  // x @ weight + bias
  function affine(parameters, layer, x) {
    const weight = parameters[layer + ".weight"], bias = parameters[layer + ".bias"];
    return bias.map((b, j) => x.reduce((sum, each, i) => sum + each * weight[i * bias.length + j], b));
  }

  // d_x = d_out @ weight.T
  function back(parameters, layer, d) {
    const weight = parameters[layer + ".weight"];
    return Array.from({ length: weight.length / d.length },
      (_, i) => d.reduce((sum, each, j) => sum + each * weight[i * d.length + j], 0));
  }

  function forwardPass(parameters, x, eps, sigma, beta) {
    const h = affine(parameters, "encoder.0", x).map(Math.tanh);
    const mu = affine(parameters, "mu", h);
    const logvar = affine(parameters, "logvar", h).map((each) => Math.min(Math.max(each, -30), 20));
    const z = mu.map((each, i) => each + Math.exp(logvar[i] / 2) * eps[i]);
    const h2 = affine(parameters, "decoder.0", z).map(Math.tanh);
    const xhat = affine(parameters, "decoder.1", h2);
    const distance = x.reduce((sum, each, i) => sum + (each - xhat[i]) ** 2, 0);
    const nll = distance / (2 * sigma ** 2) + x.length * (Math.log(sigma) + Math.log(2 * Math.PI) / 2);
    const kl = mu.reduce((sum, each, i) => sum + (each ** 2 + (Math.expm1(logvar[i]) - logvar[i])) / 2, 0);
    return { x, h, mu, logvar, eps, z, h2, xhat, nll: [nll], kl: [kl], loss: [nll + beta * kl] };
  }

  // The gradient of the loss by every number of the forward pass and every parameter. a and a2 are what the two tanh
  // are taken of.
  function backwardPass(parameters, values, sigma, beta) {
    const { x, h, mu, logvar, eps, z, h2, xhat } = values;
    const through = (d, y) => d.map((each, i) => each * (1 - y[i]) * (1 + y[i]));
    const d = {};
    const gradient = (layer, input, d_out) => {
      d[layer + ".weight"] = input.flatMap((each) => d_out.map((other) => each * other));
      d[layer + ".bias"] = d_out;
    };
    d.xhat = xhat.map((each, i) => (each - x[i]) / sigma ** 2);
    gradient("decoder.1", h2, d.xhat);
    d.h2 = back(parameters, "decoder.1", d.xhat);
    d.a2 = through(d.h2, h2);
    gradient("decoder.0", z, d.a2);
    d.z = back(parameters, "decoder.0", d.a2);
    d.mu_kl = mu.map((each) => beta * each);
    d.mu = d.z.map((each, i) => each + d.mu_kl[i]);
    const inside = logvar.map((each) => Number(each > -30 && each < 20));
    d.logvar_z = d.z.map((each, i) => inside[i] * each * eps[i] * Math.exp(logvar[i] / 2) / 2);
    d.logvar_kl = logvar.map((each, i) => inside[i] * beta * Math.expm1(each) / 2);
    d.logvar = d.logvar_z.map((each, i) => each + d.logvar_kl[i]);
    gradient("mu", h, d.mu);
    gradient("logvar", h, d.logvar);
    const byLogvar = back(parameters, "logvar", d.logvar);
    d.h = back(parameters, "mu", d.mu).map((each, i) => each + byLogvar[i]);
    d.a = through(d.h, h);
    gradient("encoder.0", x, d.a);
    return d;
  }

  // Parameters and moments after one step; steps count from 1. Kingma and Ba 2015.
  function adam(parameters, gradients, m, v, step, rate) {
    const after = { parameters: {}, m: {}, v: {} }, short1 = 1 - 0.9 ** step, short2 = 1 - 0.999 ** step;
    for (const name of names) {
      after.m[name] = m[name].map((each, i) => 0.9 * each + 0.1 * gradients[name][i]);
      after.v[name] = v[name].map((each, i) => 0.999 * each + 0.001 * gradients[name][i] ** 2);
      after.parameters[name] = parameters[name].map((each, i) =>
        each - rate * (after.m[name][i] / short1) / (Math.sqrt(after.v[name][i] / short2) + 1e-8));
    }
    return after;
  }

  const decode = (parameters, z) =>
    affine(parameters, "decoder.1", affine(parameters, "decoder.0", [z]).map(Math.tanh));

  // The mean over the rows of -log p(x), by the trapezoidal rule over z from -9 to 9: its ends weigh nothing.
  function negativeLogProb(parameters, sigma) {
    const grid = Array.from({ length: 901 }, (_, i) => i / 50 - 9);
    const curve = grid.map((z) => decode(parameters, z));
    const constant = Math.log(50) + 1.5 * Math.log(2 * Math.PI) + 2 * Math.log(sigma);
    const each = toy.rows.map((x) => {
      const logs = curve.map((f, i) =>
        -((x[0] - f[0]) ** 2 + (x[1] - f[1]) ** 2) / (2 * sigma ** 2) - grid[i] ** 2 / 2);
      const highest = Math.max(...logs);
      return constant - highest - Math.log(logs.reduce((sum, log) => sum + Math.exp(log - highest), 0));
    });
    return each.reduce((sum, log) => sum + log, 0) / each.length;
  }

  // ---- The formulas of a step. Every number has a label, `h[1]` or `mu.weight[2, 0]`, with `d_` before it for its
  // gradient, and of a parameter `m_`, `v_` for Adam's moments and `new_` for what the update makes of each. A formula
  // is a text and lines, [label, expression of labels]. One that needs no lines is its own line.

  const sizes = { x: 2, h: 3, a: 3, mu: 1, logvar: 1, eps: 1, z: 1, h2: 3, a2: 3, xhat: 2, nll: 1, kl: 1, loss: 1 };
  const all = (name, line) => Array.from({ length: sizes[name] }, (_, i) => line(i));
  function label(name, i) {
    const layer = name.replace(/\.weight$/, "");
    if (layer !== name) return `${name}[${Math.floor(i / outputs(layer))}, ${i % outputs(layer)}]`;
    return name.endsWith(".bias") || sizes[name] > 1 ? `${name}[${i}]` : name;
  }
  const labels = names.flatMap((name) => toy.parameters[name].flat().map((_, i) => label(name, i)));

  function denseFormula(name, input, layer, f = "") {
    const brackets = (sum) => (f ? `${f}(${sum})` : sum);
    return {
      text: `${name} = ${brackets(`${input} @ ${layer}.weight + ${layer}.bias`)}`,
      lines: all(name, (j) => [label(name, j), brackets(
        all(input, (i) => `${label(input, i)}·${layer}.weight[${i}, ${j}] + `).join("") + `${layer}.bias[${j}]`)]),
    };
  }
  const backFormula = (name, ...layers) => ({
    text: `d_${name} = ` + layers.map(([output, layer]) => `d_${output} @ ${layer}.weight.T`).join(" + "),
    lines: all(name, (i) => ["d_" + label(name, i), layers.flatMap(([output, layer]) =>
      all(output, (j) => `d_${label(output, j)}·${layer}.weight[${i}, ${j}]`)).join(" + ")]),
  });
  const tanhFormula = (name, y) => ({
    text: `d_${name} = d_${y}·(1 − ${y}²), where ${y} = tanh(${name})`,
    lines: all(name, (i) => ["d_" + label(name, i), `d_${label(y, i)}·(1 − ${label(y, i)}²)`]),
  });
  const gradientFormula = (layer, input, output) => ({
    text: `d_${layer}.weight = ${input}.T @ d_${output}; d_${layer}.bias = d_${output}`,
    lines: [
      ...all(input, (i) => all(output, (j) =>
        [`d_${layer}.weight[${i}, ${j}]`, `${label(input, i)}·d_${label(output, j)}`])).flat(),
      ...all(output, (j) => [`d_${layer}.bias[${j}]`, "d_" + label(output, j)]),
    ],
  });
  const formula = (text, ...lines) => ({ text, lines: lines.length ? lines : [text.split(" = ")] });
  const forwardFormulas = [
    denseFormula("h", "x", "encoder.0", "tanh"),
    denseFormula("mu", "h", "mu"),
    denseFormula("logvar", "h", "logvar"),
    formula("eps = a draw from N(0, 1)", ["eps", "Philox(seed, step, row)"]),
    formula("z = mu + exp(logvar / 2)·eps"),
    denseFormula("h2", "z", "decoder.0", "tanh"),
    denseFormula("xhat", "h2", "decoder.1"),
    formula("nll = ‖x − xhat‖² / (2·sigma²) + D·ln sigma + D/2·ln(2π), with D = 2",
      ["nll", "((x[0] − xhat[0])² + (x[1] − xhat[1])²) / (2·sigma²) + 2·ln sigma + ln(2π)"]),
    formula("kl = (exp(logvar) + mu² − 1 − logvar) / 2"),
    formula("loss = nll + beta·kl"),
  ];
  const backwardFormulas = [
    formula("d_xhat = (xhat − x) / sigma²", ...all("x", (i) => [`d_xhat[${i}]`, `(xhat[${i}] − x[${i}]) / sigma²`])),
    gradientFormula("decoder.1", "h2", "xhat"),
    backFormula("h2", ["xhat", "decoder.1"]),
    tanhFormula("a2", "h2"),
    gradientFormula("decoder.0", "z", "a2"),
    backFormula("z", ["a2", "decoder.0"]),
    formula("d_mu = d_z + beta·mu: from z, and from the KL", ["d_mu_kl", "beta·mu"], ["d_mu", "d_z + d_mu_kl"]),
    formula("d_logvar = d_z·eps·exp(logvar / 2) / 2 + beta·(exp(logvar) − 1) / 2: from z, and from the KL",
      ["d_logvar_z", "d_z·eps·exp(logvar / 2) / 2"], ["d_logvar_kl", "beta·(exp(logvar) − 1) / 2"],
      ["d_logvar", "d_logvar_z + d_logvar_kl"]),
    gradientFormula("mu", "h", "mu"),
    gradientFormula("logvar", "h", "logvar"),
    backFormula("h", ["mu", "mu"], ["logvar", "logvar"]),
    tanhFormula("a", "h"),
    gradientFormula("encoder.0", "x", "a"),
  ];
  const updateFormulas = [
    formula("new_m = 0.9·m + 0.1·gradient"),
    formula("new_v = 0.999·v + 0.001·gradient²"),
    formula("new = value − rate·(new_m / (1 − 0.9^step)) / (√(new_v / (1 − 0.999^step)) + 10⁻⁸)"),
  ];
  function showUpdateOf(key) {
    updateFormulas[0].lines = [["new_m_" + key, `0.9·m_${key} + 0.1·d_${key}`]];
    updateFormulas[1].lines = [["new_v_" + key, `0.999·v_${key} + 0.001·d_${key}²`]];
    updateFormulas[2].lines = [["new_" + key,
      `${key} − rate·(new_m_${key} / (1 − 0.9^step)) / (√(new_v_${key} / (1 − 0.999^step)) + 10⁻⁸)`]];
  }
  let marked = "decoder.1.weight[0, 0]"; // the label whose number is read out
  showUpdateOf(marked);
  const formulas = [...forwardFormulas, ...backwardFormulas, ...updateFormulas];
  const FORWARD = forwardFormulas.length, BACKWARD = FORWARD + backwardFormulas.length, END = formulas.length;

  // ---- The state, and what moves it

  // Formulas 0 to cursor - 1 are done. The parameters change at the first one of the update, and come back with it.
  function goTo(cursor) {
    if (!state.values && cursor > 0) {
      const eps = Array.from(normals(toy.seed, 0, state.step + 1, state.row, 0, 1));
      state.values = forwardPass(state.parameters, toy.rows[state.row], eps, state.sigma, state.beta);
    }
    if (!state.d && cursor > FORWARD) state.d = backwardPass(state.parameters, state.values, state.sigma, state.beta);
    if (!state.before && cursor > BACKWARD) {
      const { parameters, m, v } = state;
      state.before = { parameters, m, v };
      state.step++;
      Object.assign(state, adam(parameters, state.d, m, v, state.step, toy.learning_rate));
      state.history.push(state.values.loss[0]);
    } else if (state.before && cursor <= BACKWARD) {
      Object.assign(state, state.before, { before: null });
      state.step--;
      state.history.pop();
    }
    state.cursor = cursor;
  }
  const clear = () => Object.assign(state, { cursor: 0, before: null, values: null, d: null });
  function goToRow(row) {
    clear();
    state.row = (row + toy.rows.length) % toy.rows.length;
  }
  // Steps, each of one row: the current one first if it is not done yet, then those that follow.
  function step(count) {
    for (let i = 0; i < count; i++) {
      if (state.before) goToRow(state.row + 1);
      goTo(END);
    }
  }
  function restart() {
    clear();
    Object.assign(state, { row: 0, step: 0, parameters: flat(), m: zeros(), v: zeros(), history: [] });
  }
  // To the end of a part of the step; of the next one where that part is done.
  function pass(cursor) {
    if (state.cursor >= cursor) clear();
    goTo(cursor);
  }
  restart();

  // Each number by its label, as far as the step has come; of a parameter, what the step began with.
  function known() {
    const at = { seed: toy.seed, row: state.row, step: state.step + (state.before ? 0 : 1), rate: toy.learning_rate,
      beta: state.beta, sigma: state.sigma };
    const add = (prefix, arrays) => Object.entries(arrays ?? {}).forEach(([name, array]) =>
      array.forEach((value, i) => { at[prefix + label(name, i)] = value; }));
    add("", state.values);
    add("d_", state.d);
    for (const each of formulas.slice(state.cursor)) each.lines.forEach(([key]) => delete at[key]);
    add("", { x: toy.rows[state.row] });
    const began = state.before ?? state;
    add("", began.parameters);
    add("m_", began.m);
    add("v_", began.v);
    if (state.before) {
      add("new_", state.parameters);
      add("new_m_", state.m);
      add("new_v_", state.v);
    }
    return at;
  }
  let allDigits = false;
  const short = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3)).replaceAll("-", "−");
  const number = (value) => (value === undefined ? "" : allDigits ? String(value).replaceAll("-", "−") : short(value));
  // An expression with its numbers put in.
  const filled = (expression, at) => expression.replace(/[a-z][\w.]*(\[[\d, ]+\])?/g, (key) =>
    !(key in at) ? key : at[key] < 0 ? `(${number(at[key])})` : number(at[key])).replace(/\((\([^()]*\))\)/g, "$1");

  // ---- What is seen

  const set = (element, attributes, ...children) => {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const make = (tag, attributes = {}, ...children) => set(document.createElement(tag), attributes, ...children);
  const draw = (tag, attributes = {}, ...children) =>
    set(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, ...children);
  const note = (text) => make("p", { class: "toy-note" }, text);
  const picture = (width, height, name) =>
    draw("svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": name },
      draw("title", {}, name), draw("desc"));
  const describe = (svg, text) => { svg.querySelector("desc").textContent = text; };
  const box = (name, content) =>
    make("div", { class: "toy-box", tabindex: 0, role: "group", "aria-label": name }, content);
  // The arrow keys choose one of `count`: `current` says which it is now.
  function takeKeys(element, count, current, choose) {
    element.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -count, End: count }[event.key];
      if (!by || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      choose(Math.min(Math.max(current() + by, 0), count - 1));
    });
  }

  // The graph: a box for each number of the forward pass, a line for each weight. `shapes`: by label, what shows it.
  const graph = picture(950, 360, "The network as a graph, with its numbers");
  describe(graph, "All of its numbers are in the table at the end.");
  const [edges, boxes] = [0, 1].map(() => graph.appendChild(draw("g")));
  const shapes = new Map();
  const shape = (key, texts, edge, ...others) => {
    boxes.append(draw("g", { "data-key": key }, ...others, ...texts));
    shapes.set(key, { texts, parts: [boxes.lastChild, edge ?? boxes.lastChild] });
  };
  const places = {
    x: [45, [120, 240]], h: [205, [60, 180, 300]], mu: [365, [110]], logvar: [365, [240]], eps: [490, [60]],
    z: [490, [180]], h2: [630, [60, 180, 300]], xhat: [790, [120, 240]], nll: [905, [120]], kl: [490, [310]],
    loss: [905, [270]],
  };
  edges.append(draw("path", // those without a weight
    { d: "M365 110L490 180L365 240L490 310L365 110M490 60V180M790 240L905 120H790M905 120V345H490V335" }));
  const layers = [["encoder.0", "x", "h", 0.6], ["mu", "h", "mu", 0.36], ["logvar", "h", "logvar", 0.36],
    ["decoder.0", "z", "h2", 0.55], ["decoder.1", "h2", "xhat", 0.4]];
  for (const [layer, from, to, part] of layers) { // the number stands at this part of the line
    const [[x1, starts], [x2, stops]] = [places[from], places[to]];
    starts.forEach((y1, i) => stops.forEach((y2, j) => {
      const text = { x: x1 + 38 + (x2 - x1 - 76) * part, y: y1 + (y2 - y1) * part + 4, class: "toy-weight" };
      const key = `${layer}.weight[${i}, ${j}]`;
      edges.append(draw("path", { d: `M${x1 + 38} ${y1}L${x2 - 38} ${y2}`, "data-key": key }));
      shape(key, [draw("text", text)], edges.lastChild);
    }));
    stops.forEach((y, j) => shape(`${layer}.bias[${j}]`, [draw("text", { x: x2, y: y - 30, class: "toy-name" })]));
  }
  for (const [name, [x, middles]] of Object.entries(places)) {
    middles.forEach((y, i) => shape(label(name, i),
      [draw("text", { x, y: y + 5 }), draw("text", { x, y: y + 20, class: "toy-gradient" })], null,
      draw("rect", { x: x - 38, y: y - 25, width: 76, height: 50, rx: 6 }),
      draw("text", { x, y: y - 11, class: "toy-name" }, label(name, i))));
  }
  const keys = [...shapes.keys()];
  const readout = make("p", { class: "toy-readout" }); // read aloud while the graph has the focus
  const graphBox = box("The network: arrow keys go from number to number, and each is read below", graph);
  function mark(key) {
    marked = key;
    if (labels.includes(key)) showUpdateOf(key);
    show();
  }
  takeKeys(graphBox, keys.length, () => keys.indexOf(marked), (place) => {
    mark(keys[place]);
    const [outer, inner] = [graphBox, shapes.get(marked).parts[0]].map((each) => each.getBoundingClientRect());
    graphBox.scrollLeft += inner.left - outer.left - outer.width / 2;
  });
  graphBox.addEventListener("focus", () => readout.setAttribute("aria-live", "polite"));
  graphBox.addEventListener("blur", () => readout.removeAttribute("aria-live"));
  for (const type of ["pointerover", "click"]) {
    graph.addEventListener(type, (event) => {
      const key = event.target.closest("[data-key]")?.dataset.key;
      if (key && key !== marked) mark(key);
    });
  }

  // The plane. Its second axis points upwards.
  const planeAt = (x) => [1, -1].map((sign, k) => 180 + (sign * 180 * (x[k] - toy.middle[k])) / toy.half);
  const path = (points) => "M" + points.map((point) => point.map((each) => each.toFixed(1)).join(" ")).join("L");
  const planePath = (points) => path(points.map(planeAt));
  const place = (element, x) => set(element, { transform: `translate(${planeAt(x).join(" ")})` });
  const plane = picture(360, 360, "The plane of the rows, with the decoder's curve");
  const curve = draw("path", { class: "toy-curve" }), between = draw("path", { class: "toy-between" });
  const steps = [-2, -1, 0, 1, 2].map((z) =>
    draw("g", { class: "toy-z" }, draw("circle", { r: 3.5 }), draw("text", { x: 9, y: -6 }, short(z))));
  const ring = draw("circle", { class: "toy-ring", r: 7 });
  const cross = draw("path", { class: "toy-cross", d: "M-6 -6L6 6M-6 6L6 -6" });
  plane.append(draw("path", { class: "toy-line", d: planePath(toy.line) }),
    ...toy.rows.map((x) => place(draw("circle", { class: "toy-dot", r: 3.5 }), x)),
    place(draw("path", { class: "toy-cross toy-mean", d: "M0 -7V7M-7 0H7" }), toy.mean),
    curve, ...steps, between, ring, cross);
  plane.addEventListener("click", (event) => {
    const { left, top, width } = plane.getBoundingClientRect();
    const distances = toy.rows.map(planeAt).map(([x, y]) =>
      Math.hypot(x - ((event.clientX - left) / width) * 360, y - ((event.clientY - top) / width) * 360));
    choose(distances.indexOf(Math.min(...distances)));
  });
  const planeBox = box("The plane: arrow keys choose the row x", plane);
  takeKeys(planeBox, toy.rows.length, () => state.row, choose);

  // The loss of the steps so far: the means of at most 150 runs of them.
  const chart = picture(360, 220, "The loss of the steps so far");
  const lossCurve = draw("path", { class: "toy-curve" });
  const levels = ["toy-between", "toy-line"].map((name) => draw("path", { class: name }));
  const chartTexts = [[36, 18], [36, 190], [350, 208]].map(([x, y]) => draw("text", { x, y }));
  chart.append(draw("path", { class: "toy-axis", d: "M40 10V190H350" }), ...levels, lossCurve, ...chartTexts);
  const mean = (array) => array.reduce((sum, each) => sum + each, 0) / array.length;

  function showChart() {
    const size = Math.max(1, Math.ceil(state.history.length / 150)), means = [];
    for (let i = 0; i < state.history.length; i += size) means.push(mean(state.history.slice(i, i + size)));
    const lowest = Math.min(0, ...means), highest = Math.max(toy.nll.mean, ...means);
    const y = (loss) => 190 - ((loss - lowest) / (highest - lowest)) * 175;
    [toy.nll.mean, toy.nll.line].forEach((nats, i) => set(levels[i], { d: `M40 ${y(nats)}H350` }));
    const points = means.map((loss, i) => [40 + (310 * i) / Math.max(1, means.length - 1), y(loss)]);
    set(lossCurve, { d: points.length ? path(points) + "h.1" : "" });
    [short(highest), short(lowest), `step ${state.step}`].forEach((text, i) => { chartTexts[i].textContent = text; });
    describe(chart, `Step ${state.step}` + (means.length ? `: from ${short(means[0])} to ${short(means.at(-1))}` : ""));
  }

  // Lists and tables.
  const formulaBox = make("ol", { class: "toy-formulas", tabindex: 0, "aria-label": "The formulas of a step" });
  const items = formulas.map((each) => {
    formulaBox.append(make("li", {}, make("p", {}, each.text), make("div", { class: "toy-lines" })));
    return formulaBox.lastChild;
  });
  const columnNames =
    { "": "value", d_: "gradient", m_: "m", v_: "v", new_m_: "new m", new_v_: "new v", new_: "new value" };
  const prefixes = Object.keys(columnNames);
  const cells = keys.map(() => prefixes.map(() => make("td")));
  const heads = ["number", ...Object.values(columnNames)].map((head) => make("th", { scope: "col" }, head));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)),
    make("tbody", {}, ...keys.map((key, i) => make("tr", {}, make("th", { scope: "row" }, key), ...cells[i]))));
  const comparison = make("p");
  const status = make("p", { class: "toy-status", "aria-live": "polite" });
  const onEdges = make("select", {}, ...["weights", "gradients", "m", "v"].map((each, i) =>
    make("option", { value: prefixes[i] }, each)));

  function show(announced) {
    const at = known();
    const now = state.cursor ? formulas[state.cursor - 1].lines.map(([key]) => key) : [];
    const chosen = onEdges.value;
    for (const [key, { texts, parts }] of shapes) {
      const value = labels.includes(key) ? at[`new_${chosen}${key}`] ?? at[chosen + key] : at[key];
      [value, at["d_" + key]].slice(0, texts.length).forEach((each, k) => {
        texts[k].textContent = each === undefined ? "" : (k ? "d " : key.includes(".bias") ? "b " : "") + short(each);
      });
      for (const part of parts) {
        part.classList.toggle("toy-marked", key === marked);
        part.classList.toggle("toy-now", prefixes.some((prefix) => now.includes(prefix + key)));
      }
    }
    keys.forEach((key, i) => prefixes.forEach((prefix, k) => { cells[i][k].textContent = number(at[prefix + key]); }));
    readout.textContent = `${marked}: ` + (prefixes.filter((prefix) => prefix + marked in at)
      .map((prefix) => `${columnNames[prefix]} ${at[prefix + marked]}`).join("; ") || "not yet known");

    items.forEach((item, i) => {
      const current = i === state.cursor - 1;
      item.classList.toggle("toy-now", current);
      item.setAttribute("aria-current", current ? "step" : "false");
      item.lastChild.replaceChildren(...(i < state.cursor ? formulas[i].lines : []).map(([key, expression]) =>
        make("p", {}, `${key} = ${filled(expression, at)} = `, make("b", {}, number(at[key])))));
    });
    formulaBox.scrollTop = state.cursor ? items[state.cursor - 1].offsetTop - formulaBox.clientHeight / 3 : 0;

    const { parameters } = state, x = toy.rows[state.row], xhat = "xhat[0]" in at && state.values.xhat;
    set(curve, { d: planePath(Array.from({ length: 121 }, (_, i) => decode(parameters, i / 20 - 3))) });
    steps.forEach((each, i) => place(each, decode(parameters, i - 2)));
    place(ring, x);
    for (const each of [cross, between]) each.toggleAttribute("hidden", !xhat);
    if (xhat) {
      place(cross, xhat);
      set(between, { d: planePath([x, xhat]) });
    }
    describe(plane, `x is row ${state.row}, at ${point(x)}; xhat ${xhat ? point(xhat) : "not yet known"}; f(0) ` +
      point(decode(parameters, 0)));
    showChart();

    const network = negativeLogProb(parameters, state.sigma);
    const better = [toy.nll.mean, toy.nll.line].filter((nats) => network < nats).length;
    comparison.textContent = "Mean of −log p(x) over the rows, in nats, the less the better: the mean point, with " +
      `the spread that fits best, ${number(toy.nll.mean)}; the first principal line, likewise (probabilistic PCA), ` +
      `${number(toy.nll.line)}; this network, with sigma as set above, at step ${state.step}: ${number(network)}, ` +
      ["worse than both", "between the two", "better than both"][better] + ".";
    for (const { input, output, text } of sliders) {
      output.textContent = text();
      set(input, { "aria-valuetext": text() });
    }
    sliders[0].input.value = state.row;
    if (announced) status.textContent = announced;
  }
  const point = (x) => `(${x.map(number).join(", ")})`;

  // ---- Buttons and sliders

  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let timer = 0;
  // Call `act` until it returns true: at once where no motion is wished for, else with a pause to see each.
  function repeat(act, pause, summary) {
    clearTimeout(timer);
    if (still.matches) while (!act());
    const ended = still.matches || act();
    show(ended ? summary() : "");
    if (!ended) timer = setTimeout(repeat, pause, act, pause, summary);
  }
  function say(...keys) {
    const at = known();
    return `Row ${at.row}, step ${at.step}: ` + keys.map((key) => `${key} = ${number(at[key])}`).join("; ");
  }
  function walk(cursor, ...keys) {
    if (state.cursor >= cursor) clear();
    repeat(() => { goTo(state.cursor + 1); return state.cursor >= cursor; }, 90, () => say(...keys));
  }
  function walkOne(by) {
    goTo(Math.min(Math.max(state.cursor + by, 0), END));
    show(state.cursor ? say(...formulas[state.cursor - 1].lines.map(([key]) => key)) : "Nothing of this step is done.");
  }
  function choose(row) {
    goToRow(row);
    show(`x is row ${state.row}, at ${point(toy.rows[state.row])}`);
  }
  function train(count, each) {
    const end = state.step + count;
    repeat(() => { step(Math.min(each, end - state.step)); return state.step >= end; }, 25, () =>
      `Step ${state.step}; the mean loss of the last ${count} steps is ${number(mean(state.history.slice(-count)))}`);
  }
  const count = toy.rows.length;
  const actions = {
    forward: () => walk(FORWARD, "z", "nll", "kl", "loss"),
    backward: () => walk(BACKWARD, "d_z", "d_mu", "d_logvar"),
    update: () => walk(END, "loss", ...updateFormulas[2].lines[0].slice(0, 1)),
    "next formula": () => walkOne(1),
    "formula before": () => walkOne(-1),
    "next row": () => choose(state.row + 1),
    "a whole epoch": () => train(count, 1),
    "100 epochs": () => train(100 * count, 2 * count),
    "start again": () => { restart(); show("The initial parameters, at row 0."); },
  };
  const stopped = (act) => (...given) => { clearTimeout(timer); act(...given); };
  const on = (element, type, act) => { element.addEventListener(type, stopped(act)); return element; };
  const buttons = Object.entries(actions).map(([name, act]) =>
    on(make("button", { type: "button" }, name), "click", act));
  function slider(name, min, max, step, value, text, set) {
    const input = on(make("input", { type: "range", min, max, step, value }), "input", () => set(input.valueAsNumber));
    const output = make("span", { "aria-hidden": true }); // the slider says it itself
    return { input, output, text, whole: make("div", {}, make("label", {}, name, input), output) };
  }
  const change = (name) => (value) => { clear(); state[name] = value; show(`${name} is ${value}`); };
  const sliders = [
    slider("row x", 0, count - 1, 1, 0, () => `${state.row} ${point(toy.rows[state.row])}`, choose),
    slider("beta", 0, 4, 0.05, toy.beta, () => state.beta.toFixed(2), change("beta")),
    slider("sigma", 0.05, 1, 0.01, toy.sigma, () => state.sigma.toFixed(2), change("sigma")),
  ];
  const digits = on(make("input", { type: "checkbox" }), "change", () => { allDigits = digits.checked; show(); });
  on(onEdges, "change", () => show());

  root.classList.add("toy-section");
  root.append(
    make("p", {}, `A VAE of ${labels.length} parameters (2-3-1-3-2, tanh) learns ${count} rows in the plane, by Adam ` +
      `at ${toy.learning_rate}, in float64, with the package's own noise. Each step is of one row, with no mean over ` +
      `a batch; an epoch is ${count} such steps.`),
    make("div", { class: "toy-controls", role: "group", "aria-label": "The step" }, ...buttons),
    make("div", { class: "toy-controls" }, ...sliders.map(({ whole }) => whole),
      make("label", {}, "on edges and biases", onEdges), make("label", {}, digits, "all digits")),
    status, graphBox,
    note("Boxes: the value, d the gradient of the loss by it, b the bias. Point at a number, tap it, or reach it by " +
      "the arrow keys to read all its digits:"),
    readout,
    make("div", { class: "toy-columns" }, formulaBox, make("div", {}, planeBox,
      note("Dots: the rows. Ring: x. Cross: xhat. Curve: f(z) for z from −3 to 3. Dashed: the first principal line. " +
        "Plus: the mean."),
      chart, note("The loss, at beta 1 on average above the network's −log p(x). Dotted: −log p(x) of the mean " +
        "point; dashed: of the principal line."))),
    comparison,
    make("details", {}, make("summary", {}, "All numbers as a table"), box("All numbers as a table", table)),
  );
  show("Nothing is done yet: begin with “forward”.");

  const shown = (act) => stopped((...given) => { act(...given); show(); });
  return {
    state, forwardPass, backwardPass, adam, negativeLogProb, known, restart: shown(restart), step: shown(step),
    forward: shown(() => pass(FORWARD)), backward: shown(() => pass(BACKWARD)), update: shown(() => pass(END)),
    goToRow: shown(goToRow), numbers: () => structuredClone(state),
  };
}
