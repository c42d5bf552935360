// Puts the page together once its arrays are read.

async function start() {
  const spec = JSON.parse(document.getElementById("spec").textContent);
  theme.start();
  const texts = ["weights", "rows"].map((id) => document.getElementById(id).textContent.trim());
  const [weights, data] = await Promise.all(texts.map(readArchive));
  const arrays = { ...weights, ...data };
  const network = makeNetwork(spec, arrays), { Z, C, D } = network;
  const rows = arrays.x.data, conditions = C ? Float64Array.from(arrays.c.data) : null;
  const at = (array, i, columns) => array.subarray(i * columns, (i + 1) * columns);
  const codes = Array.from({ length: spec.rows }, (_, i) => network.encode(network.toModel(at(rows, i, D)), C ? at(conditions, i, C) : null));
  const kls = new Float64Array(Z);
  for (const { mu, logvar } of codes) for (let k = 0; k < Z; k++) kls[k] += klOf(mu[k], logvar[k]) / codes.length;
  const order = Array.from(kls.keys()).sort((a, b) => kls[b] - kls[a]);
  const model = { network, rows, conditions, codes, order };
  const state = {
    x: Float64Array.from(at(rows, 0, D)), c: C ? Float64Array.from(at(conditions, 0, C)) : null, z: new Float64Array(Z),
    u: null, q: codes[0], place: 0, samples: 1000, rowChanged: () => {}, conditionChanged: () => {},
  };
  const panel = (id) => document.querySelector(`#${id} .panel`);
  for (const node of document.querySelectorAll(".panel")) node.replaceChildren();
  const decoding = decodePanel(panel("decode"), spec, model, state);
  const encoding = encodePanel(panel("encode"), spec, model, state);
  const estimating = estimatePanel(panel("estimate"), spec, model, state);
  state.rowChanged = () => estimating.changed();
  state.conditionChanged = () => {
    decoding.show();
    encoding.changed();
  };
  curvesPanel(panel("curves"), spec);
  encoding.choose(0);
  state.z.set(state.q.mu);
  decoding.show();
  const toy = startToy(panel("toy"), spec.toy);
  window.fastvae = { spec, network, model, state, decoding, encoding, estimating, toy, jobs, summary, logWeights, proposalAt, normals, arrays };
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  const said = document.getElementById("failed");
  said.hidden = false;
  said.textContent = `This page could not start: ${error.message}. It needs a browser of 2023 or later.`;
  throw error;
});
