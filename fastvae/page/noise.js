// The package's noise, bit for bit up to the last place of log, sin and cos: what fastvae/reference/noise.py says.
// A draw depends on (seed, stream, step, row, column) alone. Words are numbers in [0, 2^32).

// Philox4x32-10: four words from a counter of four and a key of two. Salmon et al. 2011.
function philox(counter, key) {
  // The upper word of a product of two words: a times the halves of b stays below 2^49, exact in float64.
  const upper = (a, b) => Math.floor((a * (b >>> 16) + Math.floor(a * (b & 0xffff) / 65536)) / 65536);
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const upper0 = upper(c0, 0xd2511f53), lower0 = Math.imul(c0, 0xd2511f53);
    const upper2 = upper(c2, 0xcd9e8d57), lower2 = Math.imul(c2, 0xcd9e8d57);
    [c0, c1, c2, c3] = [(upper2 ^ c1 ^ k0) >>> 0, lower2 >>> 0, (upper0 ^ c3 ^ k1) >>> 0, lower0 >>> 0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

// Standard normals of columns first to first + count - 1 of a row, by Box and Muller 1958 in float64. Streams: 0 for
// the latent noise of training, 2 for draws from the prior. A seed above 2^53 is to be given as a string or a BigInt.
function normals(seed, stream, step, row, first, count) {
  const key = [Number(BigInt(seed) & 0xffffffffn), Number(BigInt(seed) >> 32n)];
  // In [2^-33, 1], as float32 holds it: that decides how far the tail of a normal reaches.
  const uniform = (word) => Math.fround(Math.fround(word) * 2 ** -32 + 2 ** -33);
  const drawn = new Float64Array(count);
  let block = -1;
  let words = [];
  for (let i = 0; i < count; i++) {
    const column = first + i;
    if (column >>> 2 !== block) {
      block = column >>> 2;
      words = philox([block, row, step >>> 0, stream], key);
    }
    const pair = column & 2;
    const radius = Math.sqrt(-2 * Math.log(uniform(words[pair])));
    const angle = 2 * Math.PI * (words[pair + 1] / 2 ** 32);
    drawn[i] = radius * (column & 1 ? Math.sin(angle) : Math.cos(angle));
  }
  return drawn;
}
