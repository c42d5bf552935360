// Arrays from the page's own text: base 85, deflate, a header in JSON, then the numbers. Written by archive.py.

const BASE85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;/=>?@^_`{|}~";
const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array,
};

function fromBase85(text) {
  const values = new Uint8Array(128).fill(85);
  for (let i = 0; i < 85; i++) values[BASE85.charCodeAt(i)] = i;
  const groups = Math.ceil(text.length / 5);
  const bytes = new Uint8Array(4 * groups);
  const view = new DataView(bytes.buffer);
  for (let g = 0; g < groups; g++) {
    let word = 0;
    for (let i = 5 * g; i < 5 * g + 5; i++) word = word * 85 + (i < text.length ? values[text.charCodeAt(i)] : 84);
    view.setUint32(4 * g, word);
  }
  return bytes.subarray(0, 4 * groups - (5 * groups - text.length));
}

async function readArchive(text) {
  const stream = new Blob([fromBase85(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const entries = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  for (const { name, dtype, shape, start } of entries) {
    const count = shape.reduce((a, b) => a * b, 1);
    arrays[name] = { shape, data: new ARRAYS[dtype](buffer, 4 + length + start, count) };
  }
  return arrays;
}
