"""How Sphinx makes the site: Markdown whose cells run, references made of docstrings, and nothing from elsewhere."""

import logging
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from myst_nb.core import render  # noqa: E402

from fastvae.version import VERSION  # noqa: E402

project = "fastvae"
author = copyright = "the fastvae authors"
version = release = VERSION

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "tests.site.mathml",
    "tests.site.pages",
    "tests.site.reference",
]
exclude_patterns = ["**/.ipynb_checkpoints", "**/__pycache__"]
nitpicky = True
nitpick_ignore_regex = [("py:(class|obj)", ".*")]  # types in docstrings, and what stands between backticks, are words

# ---- pages -----------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
myst_update_mathjax = False
html_math_renderer = "mathml"
numfig = False

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120  # seconds a cell, of which most are numba's where nothing is compiled yet
nb_execution_in_temp = True  # what a cell writes is gone with it
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "warn"  # shown, and an error of the build: a page that wants a warning catches it

KERNEL = """\
c.InlineBackend.figure_formats = {"svg"}
c.InlineBackend.rc = {"figure.facecolor": "white", "svg.hashsalt": "fastvae", "font.size": 10}
c.HistoryManager.enabled = False
c.IPKernelApp.log_level = 50  # else each says that it speaks over TCP, which it does inside this machine
"""


def _prepare(app) -> None:
    """The processes of the cells: this checkout, this Python, a thread each, and no settings of the user's."""
    settings = pathlib.Path(app.doctreedir) / "ipython"
    (settings / "profile_default").mkdir(parents=True, exist_ok=True)
    (settings / "profile_default/ipython_kernel_config.py").write_text(KERNEL)
    os.environ["IPYTHONDIR"] = str(settings)
    os.environ["MPLCONFIGDIR"] = str(settings)  # a style or a list of fonts from elsewhere draws other figures
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    os.environ["FASTVAE_SITE"] = str(app.outdir)  # where a cell leaves what its page leads to
    os.environ["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ.get("PATH", "")])
    logging.getLogger("traitlets").setLevel(logging.WARNING)
    os.environ.setdefault("FASTVAE_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def joined_streams(outputs: list) -> list:
    """What a cell writes to each stream, as one: myst-nb breaks a line wherever what a command says came in parts."""
    kept, streams = [], {}
    for output in outputs:
        name = output["name"] if output["output_type"] == "stream" else None
        if name in streams:
            streams[name]["text"] += output["text"]
            continue
        if name is not None:
            streams[name] = output
        kept.append(output)
    for output in streams.values():
        output["text"] = output["text"].rstrip() + "\n"
    return sorted(kept, key=lambda output: output.get("name") == "stderr")


# ---- the reference ---------------------------------------------------------------------------------------------------

default_role = "py:obj"  # of docstrings: `name` is code, and leads there where it is documented
smartquotes = False  # "gaussian" is code
maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True

# ---- how it looks ----------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"fastvae {VERSION}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False


def setup(app) -> None:
    render.coalesce_streams = joined_streams
    app.connect("builder-inited", _prepare)
