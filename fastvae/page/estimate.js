// The third panel: from naive Monte Carlo to q, by one slider: why there is an encoder.

const STOPS = [0, 0.25, 0.5, 0.75, 1], DRAWS_SHOWN = 8;

function estimatePanel(root, spec, model, state) {
  const { network } = model;
  const value = element("output", { class: "number" });
  const slider = element("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0 });
  const chart = element("div"), strip = element("ol", { class: "strip" }), said = element("p", { class: "verdict", "aria-live": "polite" });
  const found = { stops: new Map(), current: null };
  const body = element("tbody"), rows = new Map();
  for (const t of STOPS) {
    const cells = ["value", "error", "ess", "khat"].map(() => element("td", { class: "number" }));
    const name = t === 0 ? "the prior (naive)" : t === 1 ? "q, widened" : decimals(t);
    body.append(element("tr", {}, element("th", { scope: "row" }, name), ...cells));
    rows.set(t, cells);
  }
  const names = ["t", "estimate, nats", "standard error", "effective draws", "k-hat"];
  const table = element("table", { class: "terms" }, element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)))), body);

  function* drawing(t, done) {
    const K = state.samples, r = proposalAt(state.q.mu, state.q.logvar, t, WIDENED), { u, c, place } = state;
    const logs = new Float64Array(K), draws = [];
    for (let first = 0; first < K; first += BLOCK) {
      const some = Math.min(BLOCK, K - first);
      logs.set(logWeights(network, u, c, r, spec.seed, place, first, some, (z, nll, logw) => {
        if (draws.length < DRAWS_SHOWN) draws.push({ x: network.decode(z, c), logw });
      }), first);
      yield;
    }
    done(logs, draws);
  }

  // log of the mean of the first k weights, at about 80 values of k.
  function running(logs) {
    const x = [], y = [];
    let top = -Infinity, sum = 0, next = 1;
    logs.forEach((l, i) => {
      if (l > top) { sum *= Math.exp(top - l); top = l; }
      sum += Math.exp(l - top);
      if (i + 1 >= next || i + 1 === logs.length) {
        x.push(i + 1);
        y.push(top + Math.log(sum / (i + 1)));
        next = Math.max(i + 2, (i + 1) * 1.1);
      }
    });
    return { x, y };
  }

  function* all() {
    const t = slider.valueAsNumber;
    said.textContent = "drawing …";
    yield* drawing(t, (logs, draws) => show(t, logs, draws));
    for (const stop of STOPS) {
      yield* drawing(stop, (logs) => {
        const s = summary(logs);
        found.stops.set(stop, s);
        const texts = [decimals(s.value), s.reliable ? decimals(s.mcse, 3) : "refused", decimals(s.ess, 1), decimals(s.khat)];
        rows.get(stop).forEach((cell, i) => (cell.textContent = texts[i]));
        if (stop === 1 && found.current) show(t, found.current.logs, found.current.draws);
      });
    }
  }

  function show(t, logs, draws) {
    const s = summary(logs), line = running(logs), best = found.stops.get(1);
    found.current = { t, logs, draws, ...s };
    const bands = best && best.reliable ? [{ low: best.value - 1.96 * best.mcse, high: best.value + 1.96 * best.mcse, colour: SERIES[2] }] : [];
    const reference = best ? [{ x: [1, logs.length], y: [best.value, best.value], colour: SERIES[2], dashed: true }] : [];
    chart.replaceChildren(
      lineChart({ title: `the estimate after so many draws, at t = ${t}: ${decimals(s.value)} nats after ${logs.length}`, xName: "draws k", yName: "log of the mean weight, nats", series: [...reference, { ...line, colour: SERIES[0] }], bands, log: true }),
      legend([{ name: `t = ${t}`, colour: SERIES[0] }, { name: "t = 1 with all draws, and its interval", colour: SERIES[2] }]));
    const top = Math.max(...logs), total = logs.reduce((sum, l) => sum + Math.exp(l - top), 0);
    if (spec.imageShape) strip.replaceChildren(...draws.map(({ x, logw }, i) => {
      const weight = `${(100 * Math.exp(logw - top)) / total < 0.01 ? "<0.01" : decimals((100 * Math.exp(logw - top)) / total)}%`;
      const view = imageView(spec, `draw ${i + 1}, ${weight} of all weight`, "small");
      view.show(x);
      return element("li", {}, view.node, element("span", { class: "quiet" }, weight));
    }));
    said.textContent = `t = ${t}: ${decimals(s.value)} nats ${s.reliable ? `± ${decimals(s.mcse, 3)}` : "without an error that could be told"}; ${decimals(s.ess, 1)} of ${logs.length.toLocaleString("en")} draws count.`;
  }

  function changed() {
    value.textContent = decimals(slider.valueAsNumber);
    jobs.start("estimate", all());
  }
  slider.addEventListener("input", changed);
  root.append(
    element("div", { class: "controls wide" }, labelled("t: where z is drawn, from the prior (0) to q (1)", slider, [value])),
    element("div", { class: "columns" },
      element("div", {}, chart, said),
      element("div", {}, ...(spec.imageShape ? [element("h3", {}, "the first draws, and their share of the weight"), strip] : []), table)));
  return { changed, found, slider };
}
