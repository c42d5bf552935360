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
  let found = (y - 0.5) * Math.log(y) - y + LOG_2PI / 2 + 1 / (12 * y) - 1 / (360 * y ** 3) + 1 / (1260 * y ** 5);
  for (let k = 1; k < 9; k++) found -= Math.log(x + k);
  return found;
}

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
  const points = arrays.points.data;
  const encoder = makeHalf(arrays, spec.encoder), decoder = makeHalf(arrays, spec.decoder);
  const seen = new Float64Array(D + C), given = new Float64Array(Z + C), z = new Float64Array(Z);
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

  // q(z|x): mu and logvar (Z), the latter in [-30, 20].
  function encode(u, c) {
    for (let j = 0; j < D; j++) seen[j] = spec.seen === "log1p" ? Math.log1p(u[j]) : u[j];
    if (C) seen.set(c, D);
    const [mu, logvar] = encoder(seen);
    return {
      mu: Float64Array.from(mu),
      logvar: Float64Array.from(logvar, (l) => Math.min(LOGVAR_HIGHEST, Math.max(LOGVAR_LOWEST, l))),
    };
  }

  // The decoder's outputs a (D); overwritten by the next call.
  function outputs(z, c) {
    given.set(z);
    if (C) given.set(c, Z);
    return decoder(given)[0];
  }

  // The mean of p(x|z), in the user's units.
  function decode(z, c, out = new Float64Array(D)) {
    const a = outputs(z, c);
    for (let j = 0; j < D; j++) out[j] = mean(a[j]) * scale[j] + offset[j];
    return out;
  }

  // -log p(x|z) by the decoder's outputs, in the model's units.
  function nll(u, a) {
    let sum = 0;
    if (likelihood === "bernoulli") {
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

  // The ELBO as VAE.score_samples has it: at symmetric points of z, in nats of the user's units.
  function score(u, c) {
    const { mu, logvar } = encode(u, c);
    let sum = 0, kl = 0;
    for (let k = 0; k < Z; k++) kl += klOf(mu[k], logvar[k]);
    const count = points.length / Z;
    for (let p = 0; p < count; p++) {
      for (let k = 0; k < Z; k++) z[k] = mu[k] + Math.exp(logvar[k] / 2) * points[p * Z + k];
      sum += nll(u, outputs(z, c));
    }
    return -sum / count - kl - spec.logJacobian;
  }

  return { D, Z, C, toModel, encode, outputs, decode, nll, score, logJacobian: spec.logJacobian };
}
