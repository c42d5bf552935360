// The model: what its encoder and decoder make of one row, and -log p(x|z), in float64. In Python: network.py.

const LOGVAR_LOWEST = -30, LOGVAR_HIGHEST = 20, LOG_RATE_HIGHEST = 30, LEAKY_SLOPE = 0.01;
const LOG_2PI = Math.log(2 * Math.PI);

const sigmoid = (a) => (a < 0 ? Math.exp(a) / (1 + Math.exp(a)) : 1 / (1 + Math.exp(-a)));
const softplus = (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));
const ACTIVATIONS = {
  identity: (a) => a,
  relu: (a) => Math.max(a, 0),
  leaky_relu: (a) => (a > 0 ? a : LEAKY_SLOPE * a),
  tanh: Math.tanh,
  sigmoid,
  softplus,
  silu: (a) => a * sigmoid(a),
};
const MEANS = { identity: (a) => a, sigmoid, exp: Math.exp };

// log x! of a count, by Stirling's series at x + 9.
function logFactorial(x) {
  const y = x + 9;
  let found = (y - 0.5) * Math.log(y) - y + LOG_2PI / 2 + 1 / (12 * y) - 1 / (360 * y ** 3) + 1 / (1260 * y ** 5) - 1 / (1680 * y ** 7);
  for (let k = 1; k < 9; k++) found -= Math.log(x + k);
  return found;
}

const logGamma = (x) => logFactorial(x - 1);

// Kinds of columns of a mixed table: -log p(x|z) of a value by the decoder's outputs a[first], ..., and theta; and the
// mean, or, of a category, the most probable level. In Python: fastvae/reference/mixed.py.
const LOG_SIZE_LOWEST = -9, LOG_SIZE_HIGHEST = 12, EVEN = 1e-3;
const KINDS = {
  gaussian: {
    nll: (x, a, first, theta) => 0.5 * ((a[first] - x) * Math.exp(-theta)) ** 2 + theta + LOG_2PI / 2,
    mean: (a, first) => a[first],
  },
  poisson: {
    nll: (x, a, first) => {
      const low = Math.min(a[first], LOG_RATE_HIGHEST);
      return Math.exp(low) * (1 + a[first] - low) - x * a[first] + logFactorial(x);
    },
    mean: (a, first) => Math.exp(a[first]),
  },
  negative_binomial: {
    nll: (x, a, first, theta) => {
      const log = Math.min(LOG_SIZE_HIGHEST, Math.max(LOG_SIZE_LOWEST, theta)), r = Math.exp(log);
      const low = Math.min(a[first], LOG_RATE_HIGHEST), m = Math.exp(low), slope = (r * (m - x)) / (r + m);
      const found = logGamma(r) - logGamma(x + r) + logFactorial(x) + (x + r) * Math.log1p(m / r) + x * (log - low);
      return found + slope * (a[first] - low);
    },
    mean: (a, first) => Math.exp(a[first]),
  },
  bernoulli: {
    nll: (x, a, first) => x * softplus(-a[first]) + (1 - x) * softplus(a[first]),
    mean: (a, first) => sigmoid(a[first]),
  },
  continuous_bernoulli: {
    nll: (x, a, first) => {
      const size = Math.abs(a[first]), q = Math.min(size, EVEN) ** 2, y = Math.max(size, EVEN);
      const norm = size < EVEN ? q / 24 - size / 2 : Math.log(-Math.expm1(-y) / y);
      return norm + (a[first] < 0 ? -x * a[first] : (1 - x) * a[first]);
    },
    mean: (a, first) => {
      const size = Math.abs(a[first]), y = Math.max(size, EVEN);
      const rest = size < EVEN ? 0.5 - size / 12 : 1 / y - Math.exp(-y) / -Math.expm1(-y);
      return a[first] < 0 ? rest : 1 - rest;
    },
  },
  categorical: {
    nll: (x, a, first, theta, count) => {
      let top = -Infinity, sum = 0;
      for (let k = 0; k < count; k++) top = Math.max(top, a[first + k]);
      for (let k = 0; k < count; k++) sum += Math.exp(a[first + k] - top);
      return top + Math.log(sum) - a[first + x];
    },
    mean: (a, first, count) => {
      let best = 0;
      for (let k = 1; k < count; k++) if (a[first + k] > a[first + best]) best = k;
      return best;
    },
  },
};

// 1/2 (exp(logvar) + mu^2 - 1 - logvar) of one dimension.
const klOf = (mu, logvar) => 0.5 * (mu * mu + (Math.expm1(logvar) - logvar));

// A step of rounded weights: a floating-point number of 8 bits, 3 of them of the mantissa.
const stepOf = (code) => (8 + (code % 8)) * 2 ** (Math.floor(code / 8) - 24);

// A matrix (inputs, outputs) from the archive: float32 as it is, or code row column, the rows of small steps first.
function readMatrix(arrays, name) {
  const plain = arrays[name];
  if (plain) return { data: plain.data, inputs: plain.shape[0], outputs: plain.shape[1] };
  const [inputs, outputs] = arrays[`${name}.codes`].shape;
  const codes = arrays[`${name}.codes`].data, rows = arrays[`${name}.rows`].data;
  const columns = Float64Array.from(arrays[`${name}.columns`].data, stepOf);
  const order = Array.from(rows.keys()).sort((a, b) => rows[a] - rows[b] || a - b);
  const data = new Float32Array(inputs * outputs);
  order.forEach((i, place) => {
    for (let j = 0; j < outputs; j++) data[i * outputs + j] = codes[place * outputs + j] * stepOf(rows[i]) * columns[j];
  });
  return { data, inputs, outputs };
}

// out[j] += sum_i x[i] weight[i, j]
function addProduct(x, { data, inputs, outputs }, out) {
  for (let i = 0; i < inputs; i++) {
    const value = x[i];
    if (value === 0) continue;
    const start = i * outputs;
    for (let j = 0; j < outputs; j++) out[j] += value * data[start + j];
  }
}

function makeLayer(arrays, { name, activation, beside }) {
  const weight = readMatrix(arrays, `${name}.weight`), bias = arrays[`${name}.bias`].data;
  const linear = beside ? readMatrix(arrays, `${name}.beside`) : null;
  const out = new Float64Array(weight.outputs), apply = ACTIVATIONS[activation];
  return (x, rows) => {
    out.set(bias);
    addProduct(x, weight, out);
    if (linear) addProduct(rows, linear, out);
    if (activation !== "identity") for (let j = 0; j < out.length; j++) out[j] = apply(out[j]);
    return out; // overwritten by the next call
  };
}

function makeHalf(arrays, half) {
  const layers = half.layers.map((layer) => makeLayer(arrays, layer));
  const heads = half.heads.map((head) => makeLayer(arrays, head));
  return (rows) => {
    const h = layers.reduce((x, layer) => layer(x, rows), rows);
    return heads.map((head) => head(h, rows));
  };
}

function makeNetwork(spec, arrays) {
  const { columns: D, codes: Z, likelihood } = spec;
  const C = spec.condition ? spec.condition.columns : 0;
  const offset = arrays.offset.data, scale = arrays.scale.data, sigma = arrays.sigma.data;
  const { table } = spec, mixed = table && arrays;
  const ends = table ? table.outputs.map((count, j) => count + (table.gaps[j] ? 1 : 0)) : [];
  const width = table ? ends.reduce((a, b) => a + b, 0) : D;
  const encoder = makeHalf(arrays, spec.encoder), decoder = makeHalf(arrays, spec.decoder);
  const seen = new Float64Array(width + C), given = new Float64Array(Z + C);
  const mean = MEANS[spec.mean];

  // x as the likelihood sees it.
  function toModel(x) {
    const u = new Float64Array(D);
    for (let j = 0; j < D; j++) {
      u[j] = (x[j] - offset[j]) / scale[j];
      if (spec.unitRange) u[j] = Math.min(1, Math.max(0, u[j]));
    }
    return u;
  }

  // What an encoder is given of a row of a mixed table: numbers, a 1 for a level, and a 1 for a value that is missing.
  function showTable(u) {
    seen.fill(0);
    let place = 0;
    for (let j = 0; j < D; place += ends[j++]) {
      const count = table.outputs[j], kind = table.kinds[j];
      if (Number.isNaN(u[j])) {
        if (table.gaps[j]) seen[place + count] = 1;
      } else if (kind === "categorical") seen[place + u[j]] = 1;
      else {
        const value = kind === "poisson" || kind === "negative_binomial" ? Math.log1p(u[j]) : u[j];
        seen[place] = (value - mixed.centre.data[j]) * mixed.inverse.data[j];
      }
    }
  }

  // q(z|x): mu and logvar (Z), the latter in [-30, 20].
  function encode(u, c) {
    if (table) showTable(u);
    else for (let j = 0; j < D; j++) seen[j] = spec.seen === "log1p" ? Math.log1p(u[j]) : u[j];
    if (C) seen.set(c, width);
    const [mu, logvar] = encoder(seen);
    return {
      mu: Float64Array.from(mu),
      logvar: Float64Array.from(logvar, (l) => Math.min(LOGVAR_HIGHEST, Math.max(LOGVAR_LOWEST, l))),
    };
  }

  // The decoder's outputs a (D); overwritten by the next call.
  let latest = null;
  function outputs(z, c) {
    given.set(z);
    if (C) given.set(c, Z);
    return (latest = decoder(given)[0]);
  }

  // The mean of p(x|z), in the user's units.
  function decode(z, c, out = new Float64Array(D)) {
    const a = outputs(z, c);
    if (table) {
      for (let j = 0, first = 0; j < D; first += table.outputs[j++]) {
        out[j] = KINDS[table.kinds[j]].mean(a, first, table.outputs[j]) * scale[j] + offset[j];
      }
      return out;
    }
    for (let j = 0; j < D; j++) out[j] = mean(a[j]) * scale[j] + offset[j];
    return out;
  }

  // -log p(x|z) by the decoder's outputs, in the model's units.
  function nll(u, a) {
    let sum = 0;
    if (table) {
      for (let j = 0, first = 0; j < D; first += table.outputs[j++]) {
        if (Number.isNaN(u[j])) continue;
        sum += KINDS[table.kinds[j]].nll(u[j], a, first, mixed.theta.data[j], table.outputs[j]) + mixed.log_scale.data[j];
      }
    } else if (likelihood === "bernoulli") {
      for (let j = 0; j < D; j++) sum += Math.log1p(Math.exp(-Math.abs(a[j]))) + (a[j] < 0 ? -u[j] * a[j] : (1 - u[j]) * a[j]);
    } else if (likelihood === "gaussian") {
      for (let j = 0; j < D; j++) {
        const s = sigma[sigma.length > 1 ? j : 0], r = (u[j] - a[j]) / s;
        sum += 0.5 * r * r + Math.log(s) + LOG_2PI / 2;
      }
    } else {
      for (let j = 0; j < D; j++) {
        const low = Math.min(a[j], LOG_RATE_HIGHEST); // beyond, the model goes on with the tangent
        sum += Math.exp(low) * (1 + a[j] - low) - u[j] * a[j] + logFactorial(u[j]);
      }
    }
    return sum;
  }

  // Of column j the probabilities of its levels at the z that was decoded last; of yes or no, two.
  function shares(j, a = latest) {
    const first = table.outputs.slice(0, j).reduce((sum, n) => sum + n, 0), count = table.outputs[j];
    if (table.kinds[j] === "bernoulli") return [1 - sigmoid(a[first]), sigmoid(a[first])];
    return Array.from({ length: count }, (_, k) => Math.exp(-KINDS.categorical.nll(k, a, first, 0, count)));
  }

  return { shares, D, Z, C, toModel, encode, outputs, decode, nll, logJacobian: spec.logJacobian };
}
