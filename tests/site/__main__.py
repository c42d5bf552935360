"""Build the site: `python -m tests.site` all of it, `python -m tests.site howto/imputation` one page, to look at it.

All of it lies in build/site then, pages that were named in build/pages: open index.html, or PAGE.html. Every cell
runs, and a warning is an error. `--links` follows the links that lead elsewhere, for which it needs a network.
"""

import argparse
import os
import pathlib
import sys
import time

from sphinx.cmd.build import main as sphinx

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def doctrees(out: pathlib.Path) -> pathlib.Path:
    """Where what was read of the pages is kept from one build to the next."""
    return out.parent / f"{out.name}-doctrees"


def arguments(pages: list[str], out: pathlib.Path, jobs: int, links: bool = False) -> list[str]:
    """What `sphinx-build` is given."""
    words = ["-W", "--keep-going", "-q", "-j", str(jobs), "-d", str(doctrees(out))]
    words += ["-b", "linkcheck" if links else "html"]
    words += ["-D", "nb_execution_raise_on_error=0"]  # warnings: each page's is told, with its traceback
    if pages:
        files = [page.removesuffix(".md") + ".md" for page in pages]
        for file in files:
            if not (HERE / file).is_file():
                raise SystemExit(f"there is no page tests/site/{file}")
        words += ["-D", f"include_patterns={','.join(files)}", "-D", f"root_doc={files[0].removesuffix('.md')}"]
    return [*words, str(HERE), str(out)]


def main(given: list[str] | None = None) -> int:
    """Build, and say where it lies and how long it took."""
    parser = argparse.ArgumentParser(prog="python -m tests.site", description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="only these")
    parser.add_argument("--out", type=pathlib.Path, help="the folder that it is written to")
    parser.add_argument(
        "--jobs", type=int, default=CORES, help="how many pages are made at a time (default: %(default)s)"
    )
    parser.add_argument("--links", action="store_true", help="do not build, but follow the links that lead elsewhere")
    options = parser.parse_args(given)
    out = (options.out or BUILD / ("links" if options.links else "pages" if options.pages else "site")).resolve()
    begun = time.perf_counter()
    if not options.pages:
        print(f"every cell of {len(list(HERE.rglob('*.md')))} pages runs: some minutes", flush=True)
    failed = sphinx(arguments(options.pages, out, options.jobs, options.links))
    if failed:  # a page that was read is not read again: the next build would pass, with what is wrong still in it
        (doctrees(out) / "environment.pickle").unlink(missing_ok=True)
    first = f"{options.pages[0].removesuffix('.md')}.html" if options.pages else "index.html"
    print(f"{out / first}: {'failed' if failed else 'built'} in {time.perf_counter() - begun:.0f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
