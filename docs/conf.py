"""The documentation site: ``make docs`` builds it with Sphinx and MyST, and fails at the first broken link or reference."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx

import mathpipe

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import generated_text  # noqa: E402

project = "mathpipe"
author = "The mathpipe contributors"
copyright = author
version = release = mathpipe.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

# Strict: with `sphinx-build --fail-on-warning` each of these is an error.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!mathpipe\.).*"),  # types in signatures: of other packages, or by a short name
    (r"py:.*", r"mathpipe\.(datasets|generate|train|evaluate|pipeline)\..*"),  # no part of the public interface
]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4  # the same anchors as on GitHub
myst_links_external_new_tab = False
nb_execution_mode = "off"  # notebooks are run by a test; the site shows what they printed

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": False}
smartquotes = False  # two hyphens begin an option
default_role = "code"  # docstrings and help texts write code in single backticks, too

html_theme = "furo"
html_title = "mathpipe"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"


def insert_generated_text(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace ``<!-- insert NAME -->`` in a page by the text that ``generated_text.NAME`` writes from the code."""
    source[0] = re.sub(r"<!-- insert (\w+) -->", lambda match: getattr(generated_text, match[1])(), source[0])
    if page == "results":
        source[0] = generated_text.with_plots(source[0])


def escape_docstring(app: Sphinx, kind: str, name: str, subject: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with formulas: outside of literals ``|``, ``*`` and trailing ``_`` mean themselves."""
    for k, line in enumerate(lines):
        if not line.startswith("    "):
            parts = re.split(r"(``.*?``|`[^`]*`)", line)
            parts[::2] = [re.sub(r"([|*])|(?<=\w)(_)(?!\w)", r"\\\1\2", part) for part in parts[::2]]
            lines[k] = "".join(parts)


def shorten_signature(app: Sphinx, kind: str, name: str, subject: Any, *_: Any) -> tuple[str, None] | None:
    """The fields of a pydantic model have pages of their own, with types and bounds in words."""
    return ("(**fields)", None) if kind == "class" and issubclass(subject, BaseModel) else None


def show_examples_as_code(app: Sphinx, context: Any, lines: list[str]) -> None:
    """The examples of a help text, which sphinx-click writes as a line block, as a block of code."""
    text = "\n".join(lines)
    pattern = re.compile(r"^\| Examples?:\n((?:\|.*\n?)+)", re.MULTILINE)
    code = pattern.sub(
        lambda match: ".. code-block:: sh\n\n" + re.sub(r"^\| *", "   ", match[1], flags=re.MULTILINE), text
    )
    lines[:] = code.split("\n")


def setup(app: Sphinx) -> None:
    app.connect("sphinx-click-process-description", show_examples_as_code)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("source-read", insert_generated_text)
    app.connect("autodoc-process-docstring", escape_docstring)
