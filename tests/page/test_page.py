"""The page as people use it: by pointer, by keys alone, on a phone, in the dark; and the command that writes it."""

import json
import pathlib
import re

import numpy as np
import pytest

from fastvae import VAE, TableVAE, report, train
from fastvae.data.digits import load_digits
from fastvae.page.build import write_page
from tests.page.browser import PHONE, opened

DIGITS = load_digits()
READY = "html[data-ready=true]"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The page of a small model of images with labels."""
    model = VAE(12, hidden=(32,), likelihood="bernoulli", scale=(0, 16), epochs=3, random_state=0).fit(DIGITS.X[:800])
    model.metadata_ |= {"image_shape": (8, 8), "data": "digits <1>"}
    path = tmp_path_factory.mktemp("images") / "report.html"
    write_page(path, model, DIGITS.X[800:], DIGITS.labels[800:], places=np.arange(800, len(DIGITS.X)))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The page of a small model of a table whose names are awkward."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 4)) + [1990, 0, 0, 5] + 0.1 * rng.normal(size=(300, 4))
    model = VAE(2, hidden=(16,), likelihood="gaussian", epochs=3, random_state=0).fit(X)
    model.metadata_["column_names"] = ["year", "</script><b>x", "$a_b$", "a rather long name of a column " * 3]
    path = tmp_path_factory.mktemp("table") / "report.html"
    write_page(path, model, X)
    return path


def ready(page):
    page.wait_for_selector(READY, state="attached")
    return page


def settled(page):
    """Wait until nothing is worked out in the background."""
    for _ in range(600):
        if page.evaluate("window.fastvae.jobs.idle"):
            return
        page.wait_for_timeout(50)
    raise AssertionError("the page is still at work")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["images", "table"])
def test_no_panel_is_wider_than_a_phone(which, scheme, browser, request):
    with opened(browser, request.getfixturevalue(which), **PHONE, color_scheme=scheme) as page:
        settled(ready(page))
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert not page.is_visible("#failed")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The page of a mixed table with long names of levels, and one latent dimension."""
    rng = np.random.default_rng(0)
    levels = ["agricultural and fisheries worker", "legislator or senior official", "not stated or unknown"]
    rows = {"income": rng.normal(size=200), "occupation": rng.choice(levels, 200), "visits": rng.poisson(2, 200)}
    model = TableVAE(1, hidden=(8,), epochs=2, random_state=0).fit(rows)
    path = tmp_path_factory.mktemp("mixed") / "report.html"
    write_page(path, model, rows)
    return path


@pytest.mark.parametrize("width", [390, 1280])
def test_what_a_model_makes_of_a_table_is_seen_without_scrolling(mixed, browser, width):
    """No long name of a level pushes the numbers out of sight."""
    with opened(browser, mixed, width=width) as page:
        settled(ready(page))
        for panel in ("#decode", "#encode"):
            ends = page.locator(f"{panel} table.row").evaluate(
                "t => [t.getBoundingClientRect().right, t.parentElement.getBoundingClientRect().right]"
            )
            assert ends[0] <= ends[1] + 1, panel
        assert page.inner_text("#decode table.row tbody tr:first-child td").strip()


def test_one_dimension_has_no_plane_to_drag_in(mixed, browser):
    with opened(browser, mixed) as page:
        ready(page)
        said = page.inner_text("#decode > p")
        assert "Move the slider." in said
        assert "Drag" not in said


def test_numbers_of_a_condition_have_their_names(tmp_path, browser):
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = VAE(1, hidden=(4,), likelihood="gaussian", epochs=1, random_state=0).fit(X, condition=X[:, :2] + 1.5)
    model.metadata_["condition"] = ["alcohol", "hue"]
    write_page(tmp_path / "report.html", model, X, condition=X[:, :2] + 1.5)
    with opened(browser, tmp_path / "report.html") as page:
        ready(page)
        assert "condition: alcohol" in page.inner_text("#decode")


def test_names_are_text_and_no_markup(table, images, browser):
    with opened(browser, table) as page:
        ready(page)
        assert page.inner_text("#encode tbody tr:nth-child(2) th") == "</script><b>x"
        assert page.evaluate("window.fastvae.spec.names[2]") == "$a_b$"
    with opened(browser, images) as page:
        assert page.inner_text("h1") == "A VAE of digits <1>"


def test_dragging_z_decodes_it(images, browser):
    with opened(browser, images) as page:
        ready(page)
        box = page.locator(".pad").bounding_box()
        before = page.evaluate("Array.from(window.fastvae.decoding.x)")
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25)
        page.mouse.up()
        z, x, order = page.evaluate(
            "[[...window.fastvae.state.z], [...window.fastvae.decoding.x], window.fastvae.model.order]"
        )
        np.testing.assert_allclose([z[order[0]], z[order[1]]], [2, 2], atol=0.05)
        assert x == page.evaluate("[...window.fastvae.network.decode(window.fastvae.state.z, null)]")
        assert x != before


def test_keys_alone_reach_and_work_everything(images, browser):
    with opened(browser, images) as page:
        ready(page)
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        reached = []
        for _ in range(300):
            page.keyboard.press("Tab")
            place = page.evaluate(
                """() => {
                  const e = document.activeElement;
                  if (e === document.body) return null;
                  const all = [...document.querySelectorAll("*")], style = getComputedStyle(e);
                  return [all.indexOf(e), style.outlineStyle !== "none"];
                }"""
            )
            if place is None or [place[0], place[1]] in reached[:1]:
                break
            reached.append(place)
        wanted = page.evaluate(
            """() => {
              const all = [...document.querySelectorAll("*")];
              const controls = "a[href], button, input, select, summary, [tabindex='0']";
              const shown = [...document.querySelectorAll(controls)].filter((e) => e.checkVisibility());
              return shown.map((e) => all.indexOf(e));
            }"""
        )
        assert set(wanted) <= {place for place, _ in reached}
        assert all(outlined for _, outlined in reached)
        # the plane, the board and the slider by keys
        order = page.evaluate("window.fastvae.model.order")
        page.focus(".pad")
        before = page.evaluate("[...window.fastvae.state.z]")
        for key in ("ArrowRight", "ArrowUp", "ArrowUp"):
            page.keyboard.press(key)
        after = page.evaluate("[...window.fastvae.state.z]")
        np.testing.assert_allclose([after[k] - before[k] for k in order[:2]], [0.1, 0.2], atol=1e-6)
        page.focus(".board")
        before = page.evaluate("[...window.fastvae.state.x]")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Space")
        drawn = page.evaluate("[...window.fastvae.state.x]")
        assert sum(drawn) > sum(before)
        assert "row 5 of 8, column 4 of 8: 16" in page.inner_text(".board-frame [aria-live]")
        page.keyboard.press("Delete")
        assert sum(page.evaluate("[...window.fastvae.state.x]")) < sum(drawn)
        page.focus("#estimate input[type=range]")
        page.keyboard.press("End")
        settled(page)
        assert page.evaluate("window.fastvae.estimating.found.current.t") == 1


def test_who_does_not_see_is_told(images, table, browser):
    for path in (images, table):
        with opened(browser, path) as page:
            settled(ready(page))
            unnamed = page.evaluate(
                """() => [...document.querySelectorAll("input, select, canvas, svg, button, [role=application]")]
                  .filter((e) => e.checkVisibility() && !e.closest("[aria-hidden=true]"))
                  .filter((e) => !(e.labels?.length || e.getAttribute("aria-label") || e.querySelector("title")))
                  .filter((e) => !e.innerText?.trim())
                  .map((e) => e.outerHTML.slice(0, 120))"""
            )
            assert unnamed == []
            assert page.evaluate("document.documentElement.lang") == "en"
            ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
            assert len(ids) == len(set(ids))


def test_a_changed_number_changes_the_estimates(table, browser):
    with opened(browser, table) as page:
        settled(ready(page))
        before = page.evaluate("window.fastvae.encoding.found.terms")
        assert before["elbo"] <= before["value"] + 4 * np.hypot(before["mcse"] or 0, before["reconstructionError"])
        page.fill("#encode tbody tr:first-child input", "1800")
        settled(page)
        after = page.evaluate("window.fastvae.encoding.found.terms")
        assert after["value"] < before["value"] - 100
        page.fill("#encode tbody tr:first-child input", "")  # not a number yet
        assert page.evaluate("window.fastvae.state.x[0]") == 1800
        page.click("text=as it was")
        settled(page)
        assert page.evaluate("window.fastvae.encoding.found.terms") == before


def test_the_error_of_the_gap_is_that_of_other_draws(table, browser):
    """log p(x) - ELBO of one row, again and again with other seeds: they spread as the page says."""
    again = """(seed) => {
      const { encoding, spec, jobs } = window.fastvae;
      spec.seed = seed;
      encoding.changed();
      return new Promise((done) => {
        const wait = () => (jobs.running.has("encode") ? setTimeout(wait, 5) : done(encoding.found.terms));
        wait();
      });
    }"""
    with opened(browser, table) as page:
        settled(ready(page))
        page.get_by_label("draws K").select_option("100")
        found = [page.evaluate(again, seed) for seed in range(200)]
    gaps = np.array([terms["value"] - terms["elbo"] for terms in found])
    said = np.sqrt(np.mean([terms["gapError"] ** 2 for terms in found]))
    apart = np.sqrt(np.mean([terms["mcse"] ** 2 + terms["reconstructionError"] ** 2 for terms in found]))
    assert 0.85 < gaps.std(ddof=1) / said < 1.18  # the spread of 200 is known to 5%
    assert said < apart  # which it would be if the draws were others


def test_every_place_of_the_slider_estimates_the_same(table, browser):
    with opened(browser, table) as page:
        settled(ready(page))
        page.get_by_label("draws K").select_option("5000")
        settled(page)
        stops = page.evaluate("[...window.fastvae.estimating.found.stops]")
        values = {t: s["value"] for t, s in stops}
        assert len(values) == 5
        last = dict(stops)[1]
        assert last["reliable"]
        for t, s in stops:
            if s["reliable"]:
                assert abs(s["value"] - last["value"]) < 5 * np.hypot(s["mcse"], last["mcse"]), t


# ---- the command --------------------------------------------------------------------------------------------------


def test_a_run_has_its_page_and_the_command_writes_it_again(tmp_path, monkeypatch, capsys, browser):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--epochs", "2", "--hidden", "16", "--out", "run", "--quiet"]) == 0
    assert "report.html" in capsys.readouterr().err
    first = pathlib.Path("run/report.html").read_bytes()
    assert report.main(["run"]) == 0
    assert pathlib.Path("run/report.html").read_bytes() == first
    assert "run/report.html" in capsys.readouterr().err
    assert report.main(["run", "digits", "--out", "other.html"]) == 0
    held = json.loads(first.split(b'id="spec">')[1].split(b"</script>")[0])
    assert 0 < len(held["places"]) <= 200
    X = DIGITS.X[held["places"][0]]
    with opened(browser, tmp_path / "other.html") as page:
        ready(page)
        assert page.evaluate("[...window.fastvae.model.rows.subarray(0, 64)]") == X.tolist()
        assert page.evaluate("window.fastvae.spec.labels[0]") == str(DIGITS.labels[held["places"][0]])


@pytest.mark.parametrize("mixed", [False, True])
def test_the_page_of_a_table_has_its_rivals_both_times(mixed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{2 * a + b:.3f},{'fen' if a > 0 else 'bog'}" for a, b in rng.normal(size=(150, 2))]
    lines = ["a,b,site", *rows] if mixed else ["a,b", *(row.rpartition(",")[0] for row in rows)]
    pathlib.Path("t.csv").write_text("\n".join(lines) + "\n")
    assert train.main(["--data", "t.csv", "--hidden", "4", "--epochs", "2", "--out", "run", "--quiet"]) == 0
    first = pathlib.Path("run/report.html").read_bytes()
    assert b"log p(x), independent columns" in first
    assert (b"log p(x), one Gaussian" in first) != mixed
    assert report.main(["run"]) == 0
    kept = re.compile(rb'"best":\d+')  # the epoch whose parameters were kept is not in the model's file
    assert kept.sub(b"", pathlib.Path("run/report.html").read_bytes()) == kept.sub(b"", first)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--out", "page.txt"], "a page is .html"),
        (["run", "mnist.csv"], "mnist.csv"),
        (["nothing"], "nothing"),
        (["run", "--out", "run/model.npz"], "a page is .html"),
        (["run", "--part", "valid"], "valid"),
        (["model.npz"], "name data for the page"),
        (["run", "narrow.csv"], "expecting 64 features"),
    ],
)
def test_wrong_words_are_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--epochs", "1", "--hidden", "8", "--out", "run", "--quiet"]) == 0
    pathlib.Path("model.npz").write_bytes(pathlib.Path("run/model.npz").read_bytes())
    pathlib.Path("narrow.csv").write_text("a,b\n1,2\n3,4\n")
    capsys.readouterr()
    try:
        code = report.main(words)
    except SystemExit as error:
        code = error.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2
    assert len(lines) == 1
    assert said in lines[0]


def other_models():
    """Models whose rows are shown in other ways: a line over many columns, colours, one latent dimension."""
    rng = np.random.default_rng(0)
    short = {"hidden": (16,), "epochs": 2, "random_state": 0}
    wave = np.sin(rng.uniform(0, 6, (120, 1)) + np.linspace(0, 6, 200)) + 0.1 * rng.normal(size=(120, 200))
    yield "line", VAE(1, likelihood="gaussian", **short).fit(wave), wave, {}
    colours = rng.random((120, 5 * 4 * 3))
    model = VAE(2, likelihood="bernoulli", **short).fit(colours)
    model.metadata_ |= {"image_shape": (5, 4, 3), "ink": False}
    yield "colours", model, colours, {}
    c = rng.normal(size=(120, 2))
    yield (
        "numbers as condition",
        VAE(2, likelihood="gaussian", **short).fit(wave[:, :5], condition=c),
        wave[:, :5],
        {"condition": c},
    )


def test_rows_of_every_kind_are_shown(browser, tmp_path):
    for name, model, X, more in other_models():
        path = tmp_path / f"{name}.html"
        write_page(path, model, X, **more)
        for phone in (False, True):
            with opened(browser, path, **(PHONE if phone else {})) as page:
                settled(ready(page))
                page.click("text=draw z from the prior")
                page.click("text=next")
                settled(page)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
                assert np.isfinite(page.evaluate("window.fastvae.encoding.found.terms.elbo")), name
