"""A page in a headless Chromium, which is to print no error and to ask for nothing from anywhere.

The browser is the one that FASTVAE_CHROMIUM names, or else that of the path; without one, or without playwright, tests
are skipped.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}


def chromium() -> str | None:
    """Where the browser is."""
    names = "chromium", "chromium-browser", "google-chrome"
    return os.environ.get("FASTVAE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def launched():
    """The browser. It must be gone before anything else of the process runs an event loop of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="a page is opened by playwright")
    if (path := chromium()) is None:
        pytest.skip("no Chromium on the path, and FASTVAE_CHROMIUM is not set")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser, html, width=1280, height=900, **settings):
    """A page from its HTML, or from a `Path` to it, opened as a file. It fails where the page has printed an error or a
    warning, raised, or asked for anything: each says what. `settings` are those of playwright's `new_context`:
    `color_scheme="dark"`, `reduced_motion="reduce"`."""
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(html, str):
            path = pathlib.Path(folder, "page.html")
            path.write_text(html, encoding="utf-8")
        else:
            path = pathlib.Path(html).resolve()
        own = path.as_uri()

        def answer(route):
            if route.request.url.split("#")[0] == own:
                route.continue_()
            else:
                route.abort()

        def asked(request):
            if request.url.split("#")[0] != own and not request.url.startswith(("data:", "blob:")):
                problems.append(f"asked for {request.url}")

        def printed(message):
            if message.type in ("error", "warning"):
                problems.append(f"{message.type}: {message.text}")

        viewport = {"width": width, "height": height}
        context = browser.new_context(viewport=viewport, offline=True, service_workers="block", **settings)
        try:
            context.route("**/*", answer)
            page = context.new_page()
            page.set_default_timeout(20_000)
            page.on("request", asked)
            page.on("console", printed)
            page.on("pageerror", lambda error: problems.append(f"raised {error}"))
            page.goto(own)
            yield page
            page.evaluate("0")  # whatever the page has printed until here has arrived
        finally:
            context.close()
    assert not problems, "\n".join(problems)
