// The training: curves whose range is that of what comes after the first epochs, which are often far off.

function curvesPanel(root, spec) {
  const { history } = spec;
  if (!history || history.epoch.length < 2) return;
  const keep = Math.ceil(history.epoch.length / 10);
  const charts = [
    ["loss and its parts", [["loss", "training loss", SERIES[0]], ["nll", "−log p(x|z)", SERIES[2]], ["heldout", `−${spec.heldoutName}, held out`, SERIES[1]]]],
    ["KL[q(z|x) ‖ p(z)]", [["kl", "KL", SERIES[3]]]],
  ];
  for (const [title, wanted] of charts) {
    const series = wanted.filter(([key]) => history[key] && history[key].some((v) => v !== null)).map(([key, name, colour]) => ({ name, colour, x: history.epoch, y: history[key].map((v) => (v === null ? NaN : key === "heldout" ? -v : v)) }));
    if (!series.length) continue;
    const late = series.flatMap((s) => s.y.slice(keep)).filter(Number.isFinite);
    const [low, high] = [Math.min(...late), Math.max(...late)], margin = 0.05 * (high - low || 1);
    const first = series[0].y[0], beyond = first > high + margin || first < low - margin ? ` (the first epoch: ${decimals(first)})` : "";
    root.append(element("figure", {},
      lineChart({ title: `${title}, nats a row, over ${history.epoch.length} epochs: at last ${series.map((s) => `${s.name} ${decimals(s.y[s.y.length - 1])}`).join(", ")}`, xName: "epoch", yName: "nats a row", series, kept: history.best, yRange: [low - margin, high + margin], log: history.epoch[history.epoch.length - 1] > 30 }),
      legend(series), element("figcaption", {}, title + beyond + (history.best ? `; dotted: epoch ${history.best}, whose parameters are kept` : ""))));
  }
}
