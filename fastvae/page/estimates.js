// log p(x) of one row by importance sampling, with its error: what fastvae.evaluation does for many.

const PROPOSAL = 7; // the stream of noise that `fastvae.evaluation.importance` draws from
const FEWEST = 5, PRIOR_SHAPE = 0.5, PRIOR_WEIGHT = 10, ROUNDED = 1e-3, GRID = 30, PRIOR_SCALE = 3;

// N(mean, exp(logvar)): r of the way from the prior N(0, I), t = 0, to q with its variances times c, t = 1. In between
// lies the normalised product prior^(1 - t) q^t. No dimension becomes wider than the prior.
function proposalAt(mu, logvar, t, c) {
  const wide = logvar.map((l) => Math.min(l + Math.log(c), Math.max(l, 0)));
  if (t === 1) return { mean: mu, logvar: wide };
  const precision = wide.map((l) => 1 - t + t * Math.exp(-l));
  return {
    mean: mu.map((m, k) => (t * m * Math.exp(-wide[k])) / precision[k]),
    logvar: precision.map((p) => -Math.log(p)),
  };
}

// log w = log p(x|z) + log p(z) - log r(z), in the user's units, of the samples first ... first + count - 1.
function logWeights(network, u, c, r, seed, row, first, count, keep = null) {
  const { Z } = network, found = new Float64Array(count), z = new Float64Array(Z);
  const deviation = r.logvar.map((l) => Math.exp(l / 2));
  for (let i = 0; i < count; i++) {
    const eps = normals(seed, PROPOSAL, first + i, row, 0, Z);
    let ratio = 0;
    for (let k = 0; k < Z; k++) {
      z[k] = r.mean[k] + deviation[k] * eps[k];
      ratio += 0.5 * (eps[k] * eps[k] - z[k] * z[k] + r.logvar[k]);
    }
    const nll = network.nll(u, network.outputs(z, c));
    found[i] = ratio - nll - network.logJacobian;
    if (keep) keep(z, nll, found[i]);
  }
  return found;
}

// Of numbers their mean, and its standard error.
function meanAndError(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, error: Math.sqrt(squares / (values.length * (values.length - 1))) };
}

const threshold = (samples) => (samples > 1 ? Math.min(1 - 1 / Math.log10(samples), 0.7) : -Infinity);

// What K log weights say: log mean w, its Monte Carlo standard error, effective sample size, k-hat.
function summary(logs) {
  const K = logs.length;
  let top = -Infinity, sum = 0, squares = 0;
  for (const l of logs) top = Math.max(top, l);
  for (const l of logs) {
    const w = Math.exp(l - top);
    sum += w;
    squares += w * w;
  }
  const ess = (sum * sum) / squares, k = khat(logs);
  const known = k <= threshold(K); // not of NaN
  return {
    value: top + Math.log(sum) - Math.log(K),
    mcse: known ? Math.sqrt(Math.max(K / ess - 1, 0) / (K - 1)) : NaN,
    ess, khat: k, reliable: known, samples: K,
  };
}

// The shape of the generalised Pareto distribution that fits the largest weights. Zhang and Stephens 2009.
function khat(logs) {
  const count = Math.ceil(Math.min(0.2 * logs.length, 3 * Math.sqrt(logs.length)));
  if (count < FEWEST || logs.length < count + 1) return NaN;
  const ordered = Float64Array.from(logs).sort().subarray(logs.length - count - 1);
  const top = ordered[count], smallest = Math.exp(ordered[0] - top);
  const x = Float64Array.from({ length: count }, (_, i) => Math.exp(ordered[i + 1] - top) - smallest);
  if (x[count - 1] <= ROUNDED) return -Infinity;
  const points = GRID + Math.floor(Math.sqrt(count));
  const quartile = Math.max(x[Math.floor(count / 4 + 0.5) - 1], 1e-280 * x[count - 1]);
  const shapeAt = (theta) => {
    let s = 0;
    for (const value of x) s += Math.log1p(-theta * value);
    return s / count;
  };
  let mean = 0;
  for (const value of x) mean += value / count;
  const thetas = [], likelihoods = [];
  for (let j = 1; j <= points; j++) {
    const theta = 1 / x[count - 1] + (1 - Math.sqrt(points / (j - 0.5))) / (PRIOR_SCALE * quartile);
    const shape = shapeAt(theta);
    thetas.push(theta);
    likelihoods.push(count * (Math.log(shape === 0 ? 1 / mean : -theta / shape) - shape - 1));
  }
  const highest = Math.max(...likelihoods);
  let weighed = 0, total = 0;
  likelihoods.forEach((l, j) => {
    weighed += thetas[j] * Math.exp(l - highest);
    total += Math.exp(l - highest);
  });
  return (shapeAt(weighed / total) * count + PRIOR_SHAPE * PRIOR_WEIGHT) / (count + PRIOR_WEIGHT);
}
