"""What opens pages in the tests sees what it is there to see."""

import pytest

from tests.page.browser import opened

PAGE = "<!doctype html><meta charset='utf-8'><title>a page</title>{}"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<script>console.error('so it is')</script>", "error: so it is"),
        ("<script>undeclared()</script>", "raised undeclared is not defined"),
        ("<img alt='' src='http://127.0.0.1:9/a.png'>", "asked for http://127.0.0.1:9/a.png"),
        ("<script>fetch('other.json').catch(() => 0)</script>", r"asked for file:///\S*/other.json"),
    ],
)
def test_a_fault_of_a_page_is_seen(browser, body, problem):
    with pytest.raises(AssertionError, match=problem), opened(browser, PAGE.format(body)) as page:
        page.wait_for_load_state("load")


def test_a_page_from_a_file_in_the_dark(browser, tmp_path):
    path = tmp_path / "a page.html"
    path.write_text(PAGE.format("<p>here</p>"))
    with opened(browser, path, width=390, color_scheme="dark") as page:
        assert page.inner_text("p") == "here"
        assert page.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [390, True]
