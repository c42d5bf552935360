// The second panel: a row, drawn or typed; q(z|x), the terms of the ELBO, and log p(x) with its error.

const WIDENED = 1.3; // by which q's variances are multiplied for log p(x)
const SHOWN_POSTERIORS = 24, BLOCK = 10;

function encodePanel(root, spec, model, state) {
  const { network, order } = model, { Z } = network;
  const output = spec.columns > MOST_COLUMNS || spec.imageShape ? rowView(spec, network, "mean of p(x|z) at z = μ") : null;
  const board = spec.imageShape && (spec.imageShape[2] || 1) === 1 ? drawingBoard(spec, state.x, changed) : null;
  const form = spec.imageShape || spec.columns > MOST_COLUMNS ? null : rowForm(spec, network, state.x, model.rows instanceof Float64Array ? 15 : 7, changed);
  const still = !board && !form ? rowView(spec, network, "x") : null;
  const y = new Float64Array(network.D), posterior = element("div");
  const found = { terms: null };

  const cells = {};
  const body = element("tbody");
  for (const [key, name] of [
    ["reconstruction", "E[log p(x|z)], z from q(z|x)"],
    ["kl", "− KL[q(z|x) ‖ p(z)]"],
    ["elbo", "= ELBO, a lower bound of log p(x)"],
    ["logp", "log p(x), by importance sampling"],
    ["gap", "log p(x) − ELBO = KL[q(z|x) ‖ p(z|x)]"],
  ]) {
    cells[key] = element("td", { class: "number" });
    cells[`${key}-error`] = element("td", { class: "number quiet" });
    body.append(element("tr", {}, element("th", { scope: "row" }, name), cells[key], cells[`${key}-error`]));
  }
  const verdict = element("p", { class: "verdict", "aria-live": "polite" });
  const heads = ["of this row", "nats", "standard error"].map((name) => element("th", { scope: "col" }, name));
  const terms = element("table", { class: "terms" }, element("thead", {}, element("tr", {}, ...heads)), body);

  function fill(key, value, error = null) {
    cells[key].textContent = decimals(value);
    cells[`${key}-error`].textContent = error === null ? "" : `± ${decimals(error, error < 0.1 ? 3 : 2)}`;
  }

  // All that a new x changes at once; what takes longer is worked out in the background.
  function changed() {
    state.u = network.toModel(state.x);
    state.q = network.encode(state.u, state.c);
    network.decode(state.q.mu, state.c, y);
    if (output) output.show(y);
    if (form) form.showOutput(y);
    if (still) still.show(state.x);
    const { mu, logvar } = state.q;
    const shown = order.slice(0, SHOWN_POSTERIORS);
    const title = `q(z|x): ${shown.slice(0, 8).map((k) => `z${k} mean ${decimals(mu[k])}, deviation ${decimals(Math.exp(logvar[k] / 2))}`).join("; ")}`;
    const kl = mu.reduce((sum, m, k) => sum + klOf(m, logvar[k]), 0);
    const rest = order.length - shown.length;
    posterior.replaceChildren(posteriorChart({ mu, logvar, order: shown, title }),
      element("p", { class: "quiet" }, `points: μ; lines: μ ± 2σ; shaded: the prior's ±2. KL in all: ${decimals(kl)} nats${rest ? `, the other ${rest} dimensions included` : ""}.`));
    fill("kl", -kl);
    jobs.start("encode", estimating(kl));
    state.rowChanged();
  }

  function* estimating(kl) {
    const K = state.samples, { u, q, c } = state;
    const plain = { mean: q.mu, logvar: q.logvar }, wide = proposalAt(q.mu, q.logvar, 1, WIDENED);
    const logs = [], given = [];
    verdict.textContent = "drawing …";
    for (let first = 0; first < K; first += BLOCK) {
      const some = Math.min(BLOCK, K - first);
      logWeights(network, u, c, plain, spec.seed, state.place, first, some, (_, nll) => {
        given.push(-nll - network.logJacobian);
      });
      logs.push(...logWeights(network, u, c, wide, spec.seed, state.place, first, some));
      yield;
    }
    const { mean, error } = meanAndError(given), log = summary(Float64Array.from(logs));
    // Both are of the same draws: the error is that of the difference, draw by draw, log p(x) by the delta method.
    const scale = log.value;
    const gapError = meanAndError(given.map((value, i) => Math.exp(logs[i] - scale) - value)).error;
    found.terms = { reconstruction: mean, reconstructionError: error, kl, elbo: mean - kl, gapError, ...log };
    fill("reconstruction", mean, error);
    fill("elbo", mean - kl, error);
    fill("logp", log.value, log.mcse);
    fill("gap", log.value - mean + kl, log.reliable ? gapError : NaN);
    const tail = log.khat === -Infinity ? "no tail: q is the posterior" : `k-hat ${decimals(log.khat)}, at most ${decimals(threshold(K))} is wanted`;
    verdict.textContent = `${K.toLocaleString("en")} draws; effective sample size ${decimals(log.ess, 0)}; ${tail}. ${
      log.reliable
        ? `95%: ${decimals(log.value - 1.96 * log.mcse)} to ${decimals(log.value + 1.96 * log.mcse)} nats.`
        : "A few weights outweigh the rest: no standard error can be told, and the figure is rather too small."}`;
  }

  function choose(i) {
    state.place = ((i % spec.rows) + spec.rows) % spec.rows;
    const start = state.place * spec.columns;
    for (let j = 0; j < spec.columns; j++) state.x[j] = model.rows[start + j];
    if (spec.condition) state.c.set(model.conditions.subarray(state.place * network.C, (state.place + 1) * network.C));
    picked.value = state.place;
    if (board) board.show();
    if (form) form.show();
    changed();
  }

  const picked = choice(Array.from({ length: spec.rows }, (_, i) => [i, `row ${spec.places[i]}${spec.labels ? `, label ${spec.labels[i]}` : ""}`]), 0, (i) => choose(Number(i)));
  const controls = element("div", { class: "controls" },
    labelled("row", picked),
    button("previous", () => choose(state.place - 1)),
    button("next", () => choose(state.place + 1)));
  if (board) {
    const eraser = element("input", { type: "checkbox", onchange: () => board.erasing(eraser.checked) });
    controls.append(button("empty", () => { state.x.fill(spec.low[0]); board.show(); changed(); }), labelled("eraser", eraser));
  }
  if (form || board) controls.append(button("as it was", () => choose(state.place)));
  const samples = labelled("draws K", choice([[100, "100"], [1000, "1,000"], [5000, "5,000"]], state.samples, (k) => {
    state.samples = Number(k);
    changed();
  }));
  const pictures = board || still
    ? element("div", { class: "pair" }, element("figure", {}, (board || still).node, element("figcaption", {}, board ? "x: draw here" : "x")),
      element("figure", {}, output.node, element("figcaption", {}, "mean of p(x|z) at z = μ")))
    : form.node;
  const density = [element("h3", {}, "q(z|x), the approximate posterior"), posterior];
  const worth = [element("h3", {}, "what the row is worth"), element("div", { class: "controls" }, samples), terms, verdict];
  root.append(controls, form
    ? element("div", { class: "columns wide" }, element("div", {}, pictures), element("div", {}, ...density, ...worth))
    : element("div", { class: "columns" }, element("div", {}, pictures), element("div", {}, ...density), element("div", {}, ...worth)));
  return { choose, changed, found };
}
