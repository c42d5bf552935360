// Small pieces that all panels are made of: elements, numbers as text, colours, work in the background.

function element(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) found.addEventListener(name.slice(2), value);
    else if (value === true) found.setAttribute(name, "");
    else if (value !== false && value != null) found.setAttribute(name, value);
  }
  found.append(...children);
  return found;
}

function drawn(tag, attributes = {}, ...children) {
  const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.append(...children);
  return found;
}

// A number for a reader: so many decimals, a minus sign, "?" for none.
function decimals(value, digits = 2) {
  if (Number.isNaN(value)) return "?";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = Math.abs(value) >= 1e6 ? value.toExponential(digits) : value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

// The same with so many significant digits, for quantities of any size.
function significant(value, digits = 4) {
  if (!Number.isFinite(value)) return decimals(value);
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

function labelled(text, control, after = []) {
  control.id ||= `control-${(labelled.count = (labelled.count || 0) + 1)}`;
  return element("div", { class: "control" }, element("label", { for: control.id }, text), control, ...after);
}

function choice(options, chosen, changed) {
  const found = element("select", { onchange: () => changed(found.value) });
  for (const [value, text] of options) {
    found.append(element("option", { value, selected: String(value) === String(chosen) }, text));
  }
  return found;
}

function button(text, pressed, attributes = {}) {
  return element("button", { type: "button", onclick: pressed, ...attributes }, text);
}

// Colours of the page as it is shown, light or dark; who draws on a canvas is told when they change.
const theme = {
  listeners: [],
  read() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["text", "muted", "line", "surface", "accent", "second"]) {
      theme[name] = style.getPropertyValue(`--${name}`).trim();
    }
    theme.rgb = {};
    for (const name of ["text", "surface"]) {
      const whole = parseInt(theme[name].slice(1), 16); // #rrggbb
      theme.rgb[name] = [whole >> 16, (whole >> 8) & 255, whole & 255];
    }
  },
  watch(changed) {
    theme.listeners.push(changed);
  },
  start() {
    theme.read();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      theme.read();
      theme.listeners.forEach((changed) => changed());
    });
  },
};
const SERIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#7f7f7f"];

// Work that is cut into pieces, one generator a name: the next of the same name takes its place.
const jobs = {
  running: new Map(),
  start(name, generator) {
    jobs.running.set(name, generator);
    const turn = () => {
      if (jobs.running.get(name) !== generator) return;
      const until = performance.now() + 8;
      let step;
      do step = generator.next();
      while (!step.done && performance.now() < until);
      if (step.done) jobs.running.delete(name);
      else setTimeout(turn, 0);
    };
    setTimeout(turn, 0);
  },
  get idle() {
    return jobs.running.size === 0;
  },
};
