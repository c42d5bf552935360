// The first panel: z by hand, and what the decoder makes of it.

const REACH = 4, SHOWN_DIMENSIONS = 8; // z from -4 to 4; so many sliders before the rest, which is folded

function decodePanel(root, spec, model, state) {
  const { network, codes, order } = model, { Z } = network;
  const view = rowView(spec, network, "mean of p(x|z)"), x = new Float64Array(network.D);
  const time = element("output", { class: "quiet" });
  const sliders = [];
  let [across, up] = [order[0], order[1] ?? order[0]];
  const frames = [];

  // Everything that a new z changes: what this takes is the time of a frame.
  function show() {
    const began = performance.now();
    network.decode(state.z, state.c, x);
    view.show(x);
    for (let k = 0; k < Z; k++) {
      if (sliders[k].shown === state.z[k]) continue;
      sliders[k].shown = state.z[k];
      sliders[k].input.value = state.z[k];
      sliders[k].value.textContent = decimals(state.z[k]);
    }
    moveMark();
    const took = performance.now() - began;
    frames.push(took);
    if (frames.length > 500) frames.shift();
    time.textContent = `decoded in ${took.toFixed(1)} ms`;
  }

  for (let k = 0; k < Z; k++) {
    const value = element("output", { class: "number" });
    const input = element("input", {
      type: "range", min: -REACH, max: REACH, step: 0.01, value: 0,
      oninput: () => {
        state.z[k] = sliders[k].shown = input.valueAsNumber;
        value.textContent = decimals(state.z[k]);
        show();
      },
    });
    sliders.push({ input, value, shown: null, node: labelled(`z${k}`, input, [value]) });
  }

  // The plane of two dimensions, with the codes of some rows: dragged, or moved by arrow keys.
  const SIZE = 320;
  const pad = element("canvas", {
    width: SIZE, height: SIZE, class: "pad", tabindex: 0, role: "application", "aria-roledescription": "plane",
    "aria-label": "two dimensions of z: arrow keys move by a tenth, with Shift by a hundredth",
  });
  const mark = element("span", { class: "pad-mark", "aria-hidden": "true" });
  const place = (z) => ((z + REACH) / (2 * REACH)) * 100;
  function moveMark() {
    mark.style.left = `${Math.min(100, Math.max(0, place(state.z[across])))}%`;
    mark.style.top = `${Math.min(100, Math.max(0, 100 - place(state.z[up])))}%`;
  }
  function drawPad() {
    const context = pad.getContext("2d"), ratio = Math.min(3, window.devicePixelRatio || 1);
    pad.width = pad.height = SIZE * ratio;
    context.scale(ratio, ratio);
    const at = (z) => ((z + REACH) / (2 * REACH)) * SIZE;
    context.strokeStyle = theme.line;
    for (const radius of [1, 2, 3]) {
      context.beginPath();
      context.arc(SIZE / 2, SIZE / 2, (radius * SIZE) / (2 * REACH), 0, 2 * Math.PI);
      context.stroke();
    }
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    codes.forEach(({ mu }, i) => {
      const label = spec.labels ? spec.labels[i] : "";
      context.fillStyle = label ? SERIES[spec.classes.indexOf(label) % SERIES.length] : SERIES[0];
      const [cx, cy] = [at(mu[across]), SIZE - at(mu[up])];
      if (label && label.length <= 2) context.fillText(label, cx, cy);
      else {
        context.beginPath();
        context.arc(cx, cy, 2.5, 0, 2 * Math.PI);
        context.fill();
      }
    });
    moveMark();
  }
  function dragged(event) {
    const box = pad.getBoundingClientRect();
    const z = (value) => Math.min(REACH, Math.max(-REACH, value));
    state.z[across] = z(((event.clientX - box.left) / box.width) * 2 * REACH - REACH);
    if (up !== across) state.z[up] = z(REACH - ((event.clientY - box.top) / box.height) * 2 * REACH);
    show();
  }
  let down = false;
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    down = true;
    dragged(event);
  });
  pad.addEventListener("pointermove", (event) => down && dragged(event));
  for (const name of ["pointerup", "pointercancel"]) pad.addEventListener(name, () => (down = false));
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [across, -1], ArrowRight: [across, 1], ArrowUp: [up, 1], ArrowDown: [up, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [k, sign] = step;
    state.z[k] = Math.min(REACH, Math.max(-REACH, state.z[k] + sign * (event.shiftKey ? 0.01 : 0.1)));
    show();
  });
  theme.watch(drawPad);

  const dimensions = order.map((k) => [k, `z${k}`]);
  const axes = element("div", { class: "controls" },
    labelled("across", choice(dimensions, across, (k) => { across = Number(k); drawPad(); })),
    labelled("up", choice(dimensions, up, (k) => { up = Number(k); drawPad(); })));
  const prior = { step: 0 };
  const buttons = element("div", { class: "controls" },
    button("draw z from the prior", () => { state.z.set(normals(spec.seed, 2, prior.step++, 0, 0, Z)); show(); }),
    button("z = 0", () => { state.z.fill(0); show(); }),
    button("z = μ of the row below", () => { state.z.set(state.q.mu); show(); }));
  const first = order.slice(0, SHOWN_DIMENSIONS).map((k) => sliders[k].node);
  const rest = order.slice(SHOWN_DIMENSIONS).map((k) => sliders[k].node);
  const all = element("div", { class: "sliders" }, ...first);
  const more = rest.length ? [element("details", {}, element("summary", {}, `the other ${rest.length} dimensions, which say less`), element("div", { class: "sliders" }, ...rest))] : [];
  const plane = Z > 1 ? [axes, element("div", { class: "pad-frame" }, pad, mark)] : [];
  root.append(
    element("div", { class: "columns" },
      element("div", {}, ...plane, buttons),
      element("div", {}, ...conditionControls(spec, state, () => state.conditionChanged()), view.node, element("p", {}, time)),
      element("div", {}, all, ...more)));
  drawPad();
  return { show, frames, x };
}

// What a conditional model is given beside z and x.
function conditionControls(spec, state, changed) {
  const { condition } = spec;
  if (!condition) return [];
  if (condition.kind === "labels") {
    const chosen = condition.classes.findIndex((_, k) => state.c[k] > 0);
    return [labelled("condition c", choice(condition.classes.map((name, k) => [k, name]), chosen, (k) => {
      state.c.fill(0)[Number(k)] = Math.sqrt(condition.columns);
      changed();
    }))];
  }
  return condition.names.map((name, k) => {
    const input = element("input", { type: "number", step: "any", value: significant(state.c[k] * condition.scale[k] + condition.offset[k], 6).replace("−", "-") });
    input.addEventListener("input", () => {
      if (!Number.isFinite(input.valueAsNumber)) return;
      state.c[k] = (input.valueAsNumber - condition.offset[k]) / condition.scale[k];
      changed();
    });
    return labelled(`condition: ${name}`, input);
  });
}
