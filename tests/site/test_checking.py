"""The checks of a site, on a small one with every fault that they are to find."""

import pytest

from tests.site.checking import Page, Site, badly_formed, loaded_by

WHOLE = {
    "index.html": '<h1 id="top-of-it">x</h1><a href="sub/b.html#here">b</a><a href="#top-of-it">up</a>'
    '<a href="#">top</a>'
    '<img src="_images/a%20b.svg"><link rel="stylesheet" href="_static/s.css?v=1"><a href="https://example.org/x">out</a>'
    '<img src="data:image/png;base64,AAAA"><svg><use href="#top-of-it"></use></svg><div style="color: red"></div>',
    "sub/b.html": '<p id="here"></p><a href="../index.html">back</a><a name="old"></a><a href="#old">old</a>',
    "_images/a b.svg": '<svg xmlns="http://www.w3.org/2000/svg"><use xlink:href="#m"/></svg>',
    "_static/s.css": "/* url(nothing) */ body { background: url('../_images/a b.svg') }",
}
FAULTS = {  # what is put into index.html, and what is said of it
    '<a href="c.html">c</a>': "c.html leads to no file",
    '<a href="sub/b.html#there">b</a>': "leads to no place in sub/b.html",
    '<a href="#nowhere">b</a>': "leads to no place in index.html",
    '<a href="sub">b</a>': "sub leads to no file",
    '<a href="../secret.html">b</a>': "leads to no file of the site",
    '<a href="/index.html">b</a>': "begins at a root",
    '<a href="https://exa mple.org">b</a>': "not formed",
    '<a href="https://">b</a>': "not formed",
    '<a href="file:///etc/hosts">b</a>': "neither http nor https",
    '<img src="https://example.org/a.png">': "loads https://example.org/a.png from elsewhere",
    '<img src="//example.org/a.png">': "from elsewhere",
    '<img src="missing.png">': "missing.png leads to no file",
    '<img srcset="sub/b.html 1x, https://example.org/b.png 2x">': "loads https://example.org/b.png",
    '<script src="https://example.org/a.js"></script>': "from elsewhere",
    '<link rel="preconnect" href="https://example.org">': "from elsewhere",
    '<iframe src="https://example.org"></iframe>': "from elsewhere",
    '<object data="https://example.org/x"></object>': "from elsewhere",
    "<style>@font-face { src: url(https://example.org/f.woff2) }</style>": "from elsewhere",
    '<style>@import "https://example.org/f.css";</style>': "from elsewhere",
    "<p style=\"background: url('https://example.org/f.png')\">x</p>": "from elsewhere",
    '<p id="top-of-it">x</p>': "'top-of-it' is there twice",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in WHOLE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_nothing_is_wrong_with_a_whole_site(folder):
    site = Site(folder)
    assert site.problems() == []
    assert site.outside() == {"https://example.org/x": ["index.html"]}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_alone(folder, fault):
    (folder / "index.html").write_text(WHOLE["index.html"] + "\n" + fault)
    (problem,) = Site(folder).problems()
    assert problem.startswith("index.html:2: ")
    assert FAULTS[fault] in problem


@pytest.mark.parametrize("name", ["_static/s.css", "_images/a b.svg"])
def test_what_a_style_sheet_or_a_picture_loads_is_looked_at(folder, name):
    wrong = {
        "_static/s.css": "p { background: url(https://example.org/a.png) }",
        "_images/a b.svg": '<image href="x.png"/>',
    }
    (folder / name).write_text(wrong[name])
    (problem,) = Site(folder).problems()
    assert problem.startswith(f"{name}: ")


def test_a_lost_page_breaks_the_links_to_it(folder):
    (folder / "sub/b.html").unlink()
    assert len(Site(folder).problems()) == 1


def test_parts():
    assert loaded_by("a{b:url( \"x\" )}@import 'y';") == ["x", "y"]
    assert Page("<a name=n></a><p id=i>").ids == {"n", "i"}
    assert badly_formed("mailto:a@b.org") is None
    assert "no address" in badly_formed("mailto:a b")
