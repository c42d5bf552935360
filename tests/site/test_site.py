"""The site, built as `python -m tests.site` builds it: links, what it loads, cells that ran, names of the reference."""

import importlib
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.site.checking import Site

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = pathlib.Path(__file__).parent
MISSING = [
    name
    for name in ("sphinx", "myst_nb", "furo", "latex2mathml", "ipykernel", "onnxruntime", "safetensors")
    if not importlib.util.find_spec(name)
]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install -e '.[docs]'"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that holds the site, `site`, and what ran for it, `jupyter_execute`."""
    before = state_of_the_tree()
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "tests.site", "--out", str(folder / "site")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert state_of_the_tree() == before, "the build has left files in the source tree"
    print(result.stdout)
    return folder


def state_of_the_tree():
    """What lies in the checkout, but for what is ignored by the names of its folders."""
    ignored = {
        "build",
        ".git",
        "__pycache__",
        ".pytest_cache",
        ".ruff_cache",
        ".mypy_cache",
        ".hypothesis",
        ".benchmarks",
    }
    return {
        os.path.join(folder, name)
        for folder, folders, names in os.walk(ROOT)
        for name in names
        if not folders.__setitem__(slice(None), [each for each in folders if each not in ignored])
    }


@pytest.fixture(scope="module")
def site(built):
    return Site(built / "site")


def sources():
    return sorted(path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.md"))


def test_each_page_is_there_and_reached_from_the_first(site):
    pages = {path.relative_to(site.folder).with_suffix("").as_posix() for path in site.pages}
    assert set(sources()) <= pages
    first = site.pages[site.folder / "index.html"]
    led = {(site.folder / address.split("#")[0]).resolve() for _, address in first.links}
    for page in sources():
        if page != "index":
            assert site.folder / f"{page}.html" in led, f"index.html does not lead to {page}"


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    assert site.problems() == []


def test_links_that_lead_elsewhere_are_listed(site):
    for address, pages in sorted(site.outside().items()):
        print(address, "from", ", ".join(sorted(set(pages))))


def with_cells():
    return [page for page in sources() if "```{code-cell}" in (SOURCE / f"{page}.md").read_text()]


@pytest.mark.parametrize("page", with_cells())
def test_each_cell_ran_and_shows_what_it_drew(built, page):
    notebook = json.loads((built / "jupyter_execute" / f"{page}.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        source = "".join(cell["source"])
        assert cell["execution_count"], source
        for output in cell["outputs"]:
            assert output["output_type"] != "error", source
            assert output.get("name") != "stderr", source
            data = output.get("data", {})
            words = "".join(data.get("text/plain", ""))
            assert "with 0 Axes" not in words, source
            if "image/svg+xml" in data:
                svg = "".join(data["image/svg+xml"])
                assert len(re.findall(r"<(?:path|use|image|polygon)\b", svg)) > 3, f"an empty figure: {source}"


def documented(site):
    """Ids of all that the reference describes."""
    return set().union(*(page.ids for path, page in site.pages.items() if path.parent == site.folder / "api"))


def test_every_public_name_is_in_the_reference(site):
    import fastvae
    from tests.site.reference import ESTIMATORS, absent_of, first_place, public

    found = documented(site)
    assert set(ESTIMATORS) == set(fastvae.__all__) - {"__version__"}
    for name in ESTIMATORS:
        places = first_place(name)
        assert f"fastvae.{name}" in found
        assert {f"fastvae.{place}.{method}" for method, place in places.items()} <= found
        assert not set(places) & set(absent_of(name))
    modules = re.findall(
        r"^(?:\.\. py:module::) (\S+)", "".join(map(pathlib.Path.read_text, SOURCE.glob("api/*.md"))), re.M
    )
    assert len(modules) > 20
    for module in {*modules, "fastvae.kernels.cpu"} - {"fastvae.kernels", "fastvae.data", "fastvae.export"}:
        brought = importlib.import_module(module)
        places = {name: {module, getattr(brought, name).__module__} for name in public(brought)}
        missing = [name for name, homes in places.items() if not {f"{home}.{name}" for home in homes} & found]
        assert not missing or module in PARTLY, f"{module}: {missing}"


PARTLY = {
    "fastvae.own": "what `register` and `unregister` call for each kind",
    "fastvae.callbacks": "what tells callbacks of a training is no user's",
    "fastvae.kernels.formulas": "its decorator",
}


def test_each_command_says_what_its_help_says(site):
    from fastvae.command_line import COMMANDS

    text = (site.folder / "api/commands.html").read_text()
    for command in COMMANDS:
        assert f"usage: python -m fastvae.{command}" in text


def test_what_is_documented_leads_to_its_source(site):
    """Also what numba compiles, what a module has from another, and what a class inherits."""
    for page, name, module in (
        ("vae", "fastvae.VAE.fit", "fastvae/models/fitting"),
        ("formulas", "fastvae.kernels.formulas.exp", "fastvae/kernels/formulas"),
        ("kernels", "fastvae.kernels.cpu.latent_forward", "fastvae/kernels/cpu/latent"),
        ("kernels", "fastvae.kernels.cpu.bernoulli_forward", "fastvae/kernels/cpu/row_losses"),
        ("reference", "fastvae.reference.kl_terms", "fastvae/reference/latent"),
    ):
        text = (site.folder / f"api/{page}.html").read_text()
        (signature,) = re.findall(rf'<dt class="[^"]*" id="{re.escape(name)}">.*?</dt>', text, re.DOTALL)
        assert f'href="../_modules/{module}.html#' in signature, name
    for page in ("vae", "kernels", "formulas", "reference", "own", "evaluation", "quality"):
        text = (site.folder / f"api/{page}.html").read_text()
        for signature in re.findall(r'<dt class="sig[^"]*" id="[^"]*">.*?</dt>', text, re.DOTALL):
            assert "[source]" in signature or 'class="property"' in signature, signature


def test_no_page_needs_a_script_for_its_formulas(site):
    for path in site.pages:
        text = path.read_text()
        assert "mathjax" not in text.lower(), path
        assert "katex" not in text.lower(), path
