"""The toy's every number is the reference's, and everything of it can be reached."""

import json
import pathlib
import re

import numpy as np
import pytest

import fastvae.page
from fastvae.page.toy import toy_model
from fastvae.reference import (
    LATENT,
    adam,
    dense_backward,
    dense_forward,
    latent_backward,
    latent_forward,
    normals,
    squared_error_forward_backward,
    vae_loss_and_gradients,
)
from tests.page.browser import PHONE, opened

FOLDER = pathlib.Path(fastvae.page.__file__).parent
TOY = toy_model()
ROWS = np.array(TOY["rows"])
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
COLOURS = """
:root { --text: #1b1f24; --muted: #5b6570; --line: #c9d0d8; --surface: #fff; --accent: #0b62b8; --second: #a8480f; }
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e6e9ec; --muted: #a0abb6; --line: #47515c; --surface: #15191e; --accent: #6cb2ff; --second: #ff9d5c;
  }
}
body { background: var(--surface); color: var(--text); font: 16px system-ui, sans-serif; margin: 1rem; }
"""


def standalone(toy=TOY):
    """A page of the toy alone."""
    style, noise, script = ((FOLDER / name).read_text("utf-8") for name in ("toy.css", "noise.js", "toy.js"))
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>A step of a toy</title>
<style>{COLOURS}{style}</style></head><body><main><h1>A step of a toy</h1><section id="toy"></section></main>
<script>{noise}{script}
const started = startToy(document.getElementById("toy"), {json.dumps(toy)});</script></body></html>"""


REACHED = """() => {
  const element = document.activeElement;
  const name = element.getAttribute("aria-label") || element.labels?.[0]?.textContent || element.textContent;
  return [element.tagName, name, getComputedStyle(element).outlineStyle];
}"""
NUMBERS = "Object.fromEntries(Object.entries(started.known()))"


def python_numbers(row=0, step=1, parameters=None, sigma=TOY["sigma"], beta=TOY["beta"]):
    """The numbers of a pass, each by its label's name, from the reference's own functions."""
    p = parameters or initial()
    x, eps = ROWS[row : row + 1], normals(TOY["seed"], LATENT, step, row, (1, 1))
    h = dense_forward(x, p["encoder.0.weight"], p["encoder.0.bias"], "tanh")
    mu = dense_forward(h, p["mu.weight"], p["mu.bias"], "identity")
    logvar = dense_forward(h, p["logvar.weight"], p["logvar.bias"], "identity")
    z, kl = latent_forward(mu, logvar, eps)
    h2 = dense_forward(z, p["decoder.0.weight"], p["decoder.0.bias"], "tanh")
    xhat = dense_forward(h2, p["decoder.1.weight"], p["decoder.1.bias"], "identity")
    nll, d_xhat = squared_error_forward_backward(x, xhat, sigma)
    found = {"x": x, "h": h, "mu": mu, "logvar": logvar, "eps": eps, "z": z, "h2": h2, "xhat": xhat}
    found |= {"nll": nll, "kl": kl, "loss": nll + beta * kl}
    d = {"xhat": d_xhat}

    def back(layer, x, activation, d_out):
        weight, bias = p[layer + ".weight"], p[layer + ".bias"]
        d_x, d[layer + ".weight"], d[layer + ".bias"] = dense_backward(x, weight, bias, activation, d_out)
        return d_x

    d["h2"] = back("decoder.1", h2, "identity", d_xhat)
    d["z"] = back("decoder.0", z, "tanh", d["h2"])
    d["mu"], d["logvar"] = latent_backward(mu, logvar, eps, d["z"], beta)
    _, d["logvar_z"] = latent_backward(mu, logvar, eps, d["z"], 0.0)
    d["mu_kl"], d["logvar_kl"] = latent_backward(mu, logvar, eps, 0 * z, beta)
    d["h"] = back("mu", h, "identity", d["mu"]) + back("logvar", h, "identity", d["logvar"])
    back("encoder.0", x, "tanh", d["h"])
    d["a"], d["a2"] = d["encoder.0.bias"], d["decoder.0.bias"]
    return found, d


def initial():
    return {name: np.array(value) for name, value in TOY["parameters"].items()}


def labelled(arrays, prefix=""):
    """Numbers by the labels that the page gives them."""
    found = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        if not name.endswith((".weight", ".bias")):
            array = array.reshape(-1)
        for place, value in np.ndenumerate(array):
            single = array.size == 1 and "." not in name
            found[prefix + name + ("" if single else str(list(place)))] = float(value)
    return found


def assert_same(theirs, ours, rtol=1e-12):
    assert set(ours) <= set(theirs), set(ours) - set(theirs)
    np.testing.assert_allclose([theirs[key] for key in ours], list(ours.values()), rtol=rtol, atol=1e-15)


@pytest.fixture(scope="module")
def module_page(browser):
    with opened(browser, standalone(), reduced_motion="reduce") as page:
        yield page


@pytest.fixture
def page(module_page):
    own = {"beta": TOY["beta"], "sigma": TOY["sigma"]}
    module_page.evaluate("(own) => { Object.assign(started.state, own); started.restart(); }", own)
    return module_page


def click(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def until(page, expression):
    """Wait for it; playwright's own waiting is refused by the page's policy."""
    for _ in range(400):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {expression}")


def test_what_the_simplest_models_make_of_the_rows():
    mean, covariance = ROWS.mean(axis=0), np.cov(ROWS.T, bias=True)
    np.testing.assert_allclose(TOY["mean"], mean)
    assert TOY["nll"]["mean"] == pytest.approx(np.log(np.pi * np.trace(covariance)) + 1, rel=1e-12)
    assert TOY["nll"]["line"] == pytest.approx(np.log(2 * np.pi) + 1 + np.linalg.slogdet(covariance)[1] / 2, rel=1e-12)
    ends = np.array(TOY["line"])
    np.testing.assert_allclose(ends.mean(axis=0), mean, atol=1e-15)
    direction = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    assert direction @ covariance @ direction == pytest.approx(np.linalg.eigvalsh(covariance)[1])


def test_a_seed_makes_one_toy():
    assert json.loads(json.dumps(TOY)) == toy_model(0) == TOY
    other = toy_model(1, rows=7)
    assert len(other["rows"]) == 7
    assert other["parameters"]["mu.weight"] != TOY["parameters"]["mu.weight"]


def test_every_number_of_a_step_is_the_reference_s(page):
    values, d = python_numbers()
    before = page.evaluate(NUMBERS)
    assert "h[0]" not in before
    page.evaluate("started.forward()")
    theirs = page.evaluate(NUMBERS)
    assert_same(theirs, labelled(values) | labelled(initial()))
    assert not any(key.startswith(("d_", "new_")) for key in theirs)
    page.evaluate("started.backward()")
    theirs = page.evaluate(NUMBERS)
    assert_same(theirs, labelled(d, "d_"))
    assert len(labelled(d)) == sum(key.startswith("d_") for key in theirs)
    page.evaluate("started.update()")
    theirs = page.evaluate(NUMBERS)
    for name, value in initial().items():
        zero = np.zeros_like(value)
        new, m, v = adam(value, d[name], zero, zero, 1, TOY["learning_rate"])
        assert_same(
            theirs, labelled({name: new}, "new_") | labelled({name: m}, "new_m_") | labelled({name: v}, "new_v_")
        )
        assert_same(theirs, labelled({name: value}) | labelled({name: zero}, "m_"))


@pytest.mark.parametrize(("beta", "sigma"), [(1.0, 0.2), (2.5, 0.35), (0.0, 1.0)])
def test_fifty_steps(page, beta, sigma):
    page.evaluate("(s) => Object.assign(started.state, s)", {"beta": beta, "sigma": sigma, "row": 20})
    page.evaluate("started.step(50)")
    p = initial()
    m, v = {name: 0 * each for name, each in p.items()}, {name: 0 * each for name, each in p.items()}
    losses = []
    for step in range(1, 51):
        row = (20 + step - 1) % len(ROWS)
        noise = normals(TOY["seed"], LATENT, step, row, (1, 1))
        loss, _, gradients = vae_loss_and_gradients(
            p, ROWS[row : row + 1], noise, "tanh", "gaussian", sigma=sigma, beta=beta
        )
        losses.append(loss)
        began = p
        for name in p:
            new, m[name], v[name] = adam(p[name], gradients[name], m[name], v[name], step, TOY["learning_rate"])
            p = p | {name: new}
    theirs = page.evaluate(NUMBERS)
    assert theirs["step"] == 50
    assert theirs["row"] == row
    values, d = python_numbers(row, 50, began, sigma, beta)
    assert_same(theirs, labelled(values) | labelled(d, "d_") | labelled(began), rtol=1e-11)
    assert_same(theirs, labelled(p, "new_") | labelled(m, "new_m_") | labelled(v, "new_v_"), rtol=1e-11)
    np.testing.assert_allclose(page.evaluate("started.state.history"), losses, rtol=1e-11)


@pytest.mark.parametrize("seed", range(4))
def test_passes_with_other_parameters(page, seed):
    rng = np.random.default_rng(seed)
    p = {name: rng.normal(size=each.shape) * (1 + seed) for name, each in initial().items()}
    if seed == 3:
        p["logvar.bias"][:] = 60.0  # beyond its limit, where it has no gradient
    x, eps, sigma, beta = rng.normal(size=(1, 2)), rng.normal(size=(1, 1)), 0.3, 1.7
    loss, _, gradients = vae_loss_and_gradients(p, x, eps, "tanh", "gaussian", sigma=sigma, beta=beta)
    given = [{name: each.ravel().tolist() for name, each in p.items()}, x[0].tolist(), eps[0].tolist(), sigma, beta]
    theirs, d = page.evaluate(
        """([p, x, eps, sigma, beta]) => {
          const values = started.forwardPass(p, x, eps, sigma, beta);
          return [values.loss[0], started.backwardPass(p, values, sigma, beta)];
        }""",
        given,
    )
    assert theirs == pytest.approx(loss, rel=1e-12)
    for name, each in gradients.items():
        np.testing.assert_allclose(d[name], each.ravel(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_gradients_are_central_differences(page):
    page.evaluate("Object.assign(started.state, { beta: 1.5, sigma: 0.4 }); started.step(7); started.backward()")
    slopes, gradients = page.evaluate(
        """() => {
          const { parameters, values, d, sigma, beta } = started.state, slopes = [], gradients = [];
          const loss = () => started.forwardPass(parameters, values.x, values.eps, sigma, beta).loss[0];
          for (const [name, array] of Object.entries(parameters)) {
            array.forEach((value, i) => {
              const [above, below] = [1e-5, -1e-5].map((by) => { array[i] = value + by; return loss(); });
              array[i] = value;
              slopes.push((above - below) / 2e-5);
              gradients.push(d[name][i]);
            });
          }
          return [slopes, gradients];
        }"""
    )
    assert len(slopes) == 31
    np.testing.assert_allclose(gradients, slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("steps", "sigma"), [(0, 0.2), (400, 0.2), (400, 0.06)])
def test_log_prob_by_quadrature(page, steps, sigma):
    page.evaluate("(n) => started.step(n)", steps)
    theirs = page.evaluate("(sigma) => started.negativeLogProb(started.state.parameters, sigma)", sigma)
    p = {k: np.reshape(v, initial()[k].shape) for k, v in page.evaluate("started.state.parameters").items()}
    z = np.linspace(-9, 9, 20_001)[:, None]
    h2 = dense_forward(z, p["decoder.0.weight"], p["decoder.0.bias"], "tanh")
    f = dense_forward(h2, p["decoder.1.weight"], p["decoder.1.bias"], "identity")
    nll = [squared_error_forward_backward(x, f, sigma)[0] for x in ROWS]
    logs = -np.array(nll) - z.T**2 / 2 - np.log(2 * np.pi) / 2 + np.log(z[1, 0] - z[0, 0])
    assert theirs == pytest.approx(-np.logaddexp.reduce(logs, axis=1).mean(), rel=1e-8)


def test_lines_say_what_they_compute(page):
    """Each expression, with all digits put in, has the value that stands behind it."""
    page.evaluate("started.step(3)")
    box = page.get_by_label("all digits")
    box.check()
    lines = page.locator(".toy-lines p").all_inner_texts()
    box.uncheck()
    assert len(lines) == 15 + 51 + 3
    names = {"tanh": np.tanh, "exp": np.exp, "ln": np.log, "sqrt": np.sqrt, "π": np.pi}
    signs = {"·": "*", "−": "-", "²": "**2", "^": "**", "√": "sqrt", "10⁻⁸": "1e-8", "2*ln": "2*ln"}
    counted = 0
    for line in lines:
        key, expression, value = line.split(" = ")
        if key == "eps":
            continue
        for sign, python in signs.items():
            expression, value = expression.replace(sign, python), value.replace(sign, python)
        expression = re.sub(r"ln (\S+)", r"ln(\1)", expression).replace("2π", "2*π")
        assert eval(expression, names) == pytest.approx(float(value), rel=1e-9, abs=1e-14), line
        counted += 1
    assert counted == len(lines) - 1


def test_formula_by_formula_and_back(page):
    start = page.evaluate("started.numbers()")
    press = """([name, times]) => {
      const button = [...document.querySelectorAll("button")].find((each) => each.textContent === name);
      return Array.from({ length: times }, () => {
        button.click();
        return [started.state.cursor, document.querySelectorAll("[aria-current=step]").length];
      });
    }"""
    count = page.locator(".toy-formulas li").count()
    assert page.evaluate(press, ["next formula", count]) == [[i + 1, 1] for i in range(count)]
    assert page.evaluate(press, ["next formula", 1]) == [[count, 1]]
    done = page.evaluate("started.numbers()")
    assert done["step"] == 1
    page.evaluate("started.restart(); started.update()")
    assert page.evaluate("started.numbers()") == done
    assert page.evaluate(press, ["formula before", count])[-1] == [0, 0]
    assert page.evaluate(press, ["formula before", 1]) == [[0, 0]]
    for name in ("parameters", "m", "v", "step", "history", "cursor"):
        assert page.evaluate("started.numbers()")[name] == start[name]


def test_buttons_and_what_they_say(page):
    status = page.locator(".toy-status")
    assert status.get_attribute("aria-live") == "polite"
    click(page, "forward")
    values, d = python_numbers()
    assert status.inner_text().startswith(f"Row 0, step 1: z = {values['z'][0, 0]:.3g}")
    click(page, "backward")
    assert f"{abs(d['mu'][0, 0]):.3g}" in status.inner_text()
    click(page, "update")
    click(page, "forward")  # the same row once more, with other noise
    assert page.evaluate("[started.state.step, started.state.row, started.state.cursor]") == [1, 0, 10]
    click(page, "next row")
    assert page.evaluate("[started.state.step, started.state.row, started.state.cursor]") == [1, 1, 0]
    click(page, "a whole epoch")
    assert page.evaluate("[started.state.step, started.state.row]") == [61, 0]
    click(page, "start again")
    assert page.evaluate("started.state.parameters['mu.weight']") == initial()["mu.weight"].ravel().tolist()


def test_it_learns_to_be_better_than_a_line(page):
    words = page.get_by_text("the less the better")
    assert "worse than both" in words.inner_text()
    click(page, "100 epochs")
    assert page.evaluate("started.state.history.length") == 6000
    network = page.evaluate("started.negativeLogProb(started.state.parameters, started.state.sigma)")
    assert network < TOY["nll"]["line"] - 0.5
    assert "better than both" in words.inner_text()


@pytest.mark.long
def test_with_motion_it_goes_through_the_formulas_one_after_another(browser):
    with opened(browser, standalone(), reduced_motion="no-preference") as page:
        click(page, "forward")
        until(page, "started.state.cursor === 10")
        click(page, "a whole epoch")
        until(page, "started.state.step > 2")
        click(page, "next row")  # which ends it
        at = page.evaluate("started.state.step")
        page.wait_for_timeout(200)
        assert page.evaluate("started.state.step") == at < 60
        click(page, "100 epochs")
        until(page, f"started.state.step === {at + 6000}")
        until(page, "document.querySelector('.toy-status').textContent.startsWith('Step ')")


def test_a_point_of_the_plane_is_chosen(page):
    box = page.locator("svg[aria-label^='The plane']").bounding_box()
    centre = page.locator(".toy-dot").nth(33).bounding_box()
    x, y = (centre[a] + centre[b] / 2 - box[a] for a, b in (("x", "width"), ("y", "height")))
    page.locator("svg[aria-label^='The plane']").click(position={"x": x, "y": y})
    chosen = page.evaluate("started.state.row")
    assert np.linalg.norm(ROWS[chosen] - ROWS[33]) < 0.02
    assert page.get_by_role("slider", name="row x").input_value() == str(chosen)


def test_all_of_it_by_the_keyboard(page):
    reached = []
    page.locator("button").first.focus()
    for _ in range(40):
        reached.append(page.evaluate(REACHED))
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
    assert all(outline != "none" for _, _, outline in reached[1:])
    tags = [tag for tag, _, _ in reached]
    assert tags.count("BUTTON") == 9
    assert tags.count("INPUT") == 4
    assert {"SELECT", "SUMMARY", "OL"} <= set(tags)
    assert all(name.strip() for _, name, _ in reached)

    page.get_by_role("slider", name="row x").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("started.state.row") == 1
    page.get_by_label("beta").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("started.state.beta") == pytest.approx(1.05)
    page.get_by_role("group", name="The plane").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("started.state.row") == 58
    page.get_by_role("button", name="forward").focus()
    page.keyboard.press("Enter")
    page.get_by_role("group", name="The network").focus()
    page.keyboard.press("Home")
    seen = set()
    for _ in range(60):
        readout = page.locator(".toy-readout").inner_text()
        seen.add(readout.split(":")[0])
        page.keyboard.press("ArrowRight")
    assert page.locator(".toy-readout").get_attribute("aria-live") == "polite"
    assert len(seen) == 31 + 17
    known = page.evaluate(NUMBERS)
    key, rest = readout.split(": ")
    assert float(rest.split()[1]) == known[key]


def test_pointing_at_a_number_reads_it(page):
    page.evaluate("started.backward()")
    page.locator("g[data-key='h[1]']").hover()
    known = page.evaluate(NUMBERS)
    assert page.locator(".toy-readout").inner_text() == f"h[1]: value {known['h[1]']}; gradient {known['d_h[1]']}"
    page.evaluate("started.update()")
    page.locator("g[data-key='logvar.weight[2, 0]'] text").click()
    assert "new_logvar.weight[2, 0]" in page.locator(".toy-lines").last.inner_text()


def test_what_stands_on_the_edges(page):
    page.evaluate("started.backward()")
    text = page.locator("g[data-key='decoder.0.weight[0, 2]'] text")
    for choice, prefix in (("weights", ""), ("gradients", "d_"), ("m", "m_")):
        page.get_by_label("on edges and biases").select_option(choice)
        value = page.evaluate(NUMBERS)[prefix + "decoder.0.weight[0, 2]"]
        assert float(text.text_content().replace("−", "-")) == pytest.approx(value, rel=6e-3)
    page.get_by_label("on edges and biases").select_option("weights")


def test_what_a_screen_reader_is_told(page):
    page.evaluate("started.update()")
    for svg in page.locator("svg").all():
        assert svg.get_attribute("role") == "img"
        assert svg.locator("title").text_content()
        assert svg.locator("desc").text_content()
    assert page.locator("svg [tabindex]").count() == 0
    assert page.evaluate(
        "[...document.querySelectorAll('#toy input, #toy select')].every((each) => each.labels.length)"
    )
    page.locator("summary").click()
    known = page.evaluate(NUMBERS)
    rows = page.locator("table tbody tr")
    assert rows.count() == 31 + 17
    cells = page.locator("table tbody tr", has_text="mu.weight[1, 0]").first.locator("td").all_inner_texts()
    prefixes = ["", "d_", "m_", "v_", "new_m_", "new_v_", "new_"]
    for cell, prefix in zip(cells, prefixes, strict=True):
        assert float(cell.replace("−", "-")) == pytest.approx(known[f"{prefix}mu.weight[1, 0]"], rel=6e-3)
    page.locator("summary").click()


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", PHONE), ("dark", PHONE), ("light", {"width": 320, "height": 568})]
)
def test_on_a_phone_nothing_is_wider_than_the_screen(browser, scheme, size):
    with opened(browser, standalone(), **size, color_scheme=scheme, reduced_motion="reduce") as page:
        page.evaluate("started.step(3)")
        page.get_by_label("all digits").check()
        page.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        colour = page.evaluate("getComputedStyle(document.querySelector('.toy-gradient')).fill")
        assert colour == {"light": "rgb(168, 72, 15)", "dark": "rgb(255, 157, 92)"}[scheme]


def test_colours_of_its_own_where_the_page_has_none(browser):
    with opened(browser, standalone().replace(COLOURS, "")) as page:
        assert page.evaluate("getComputedStyle(document.querySelector('.toy-gradient')).fill") == "rgb(168, 72, 15)"
