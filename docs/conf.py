"""How Sphinx makes the pages: `make docs`. Nothing here or in the pages needs the network.

The repository is the source folder, so that a link means the same in a page and on a Git host.
"""

from __future__ import annotations

import inspect
import re
import shutil
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cde_app

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "cde"
release = version = cde_app.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# --- the pages ----------------------------------------------------------------------------------------------------

root_doc = "README"
include_patterns = ["*.md", "configs/README.md", "data/README.md", "docs/*.md", "docs/*.ipynb"]
exclude_patterns = [".*", "benchmarks", "cde_app", "docs/_build", "out", "predictions", "runs", "tests"]
CONTENTS = """
```{toctree}
:hidden:
:caption: Use

Overview <self>
docs/from_csv_to_answer
docs/guide
docs/configuration
docs/api
data/README
configs/README
```

```{toctree}
:hidden:
:caption: Understand

docs/method
docs/architecture
docs/performance
docs/scaling
docs/reliability
```

```{toctree}
:hidden:
:caption: Develop

CONTRIBUTING
CHANGELOG
```
"""
"""What the side bar lists; it is no part of the README, which a Git host shows too."""

nb_execution_mode = "off"  # the notebook has its outputs; a slow test runs it
myst_heading_anchors = 4  # the anchors of a Git host
highlight_language = "text"

html_theme = "furo"
html_title = f"cde {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

# --- the reference from the docstrings ----------------------------------------------------------------------------

default_role = "code"  # docstrings write `code` as Markdown does
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_mock_imports = ["skpro"]  # which no lock has
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("Array", "IntArray", "Columns", "MakeEncoder")}
python_use_unqualified_type_names = True
maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_rtype = False  # "Returns:" describes the shape and the unit; the signature has the type

# Signatures name types of other libraries and inner types, which have no page here.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|matplotlib|numpy|pandas|pathlib|pd|sklearn)\..*"),
    ("py:class", r"cde_app\..*"),
    ("py:class", r"[A-Z]\w+(\[\w+)?"),
]
PUBLIC_NAMES = "<!-- the public names -->"
INNER = tuple(f"TrainedModel.{name}" for name in ("check", "load", "local", "scores", "split_settings", "store"))
"""For the workflow, which has a `Run` and standardised features."""


def complete_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add what only the pages have: the side bar's list, and the names of `import cde_app`, functions first."""
    if docname == root_doc:
        source[0] += CONTENTS
    if docname == "docs/api":
        found = {name: inspect.isclass(getattr(cde_app, name)) for name in cde_app.__all__ if name != "__version__"}
        names = sorted(found, key=lambda name: found[name])
        lines = [f".. auto{'class' if found[name] else 'function'}:: cde_app.{name}" for name in names]
        source[0] = source[0].replace(PUBLIC_NAMES, "\n".join(["```{eval-rst}", *lines, "```"]))


def prepare_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon, which comes next, and reStructuredText from misreading our docstrings.

    The code under "Example:" is no prose; what stands before a colon in the docstring of an attribute or under
    "Returns:" is no type; and "N." alone is not the first entry of a list.
    """
    lines[:] = [re.sub(r"((?:^|: )[A-Z])\.$", r"\1\\.", line) for line in lines]
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]  # an empty comment
    if "Returns:" in lines:
        start = lines.index("Returns:") + 1
        lines[start:start] = ["    ..", ""]
    if "Example:" in lines:
        start = lines.index("Example:") + 1
        end = next((i for i in range(start, len(lines)) if lines[i][:1].strip()), len(lines))
        language = "pycon" if lines[start].strip().startswith(">>>") else "python"
        lines[start:end] = [f"    .. code-block:: {language}", "", *(f"    {line}" for line in lines[start:end])]


def shorten_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Name types by their aliases, and leave out the arguments of a dataclass, whose fields follow."""
    if what == "class" and is_dataclass(obj):
        return "", None
    alias = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
    return (arguments and alias.sub(r"\1", arguments), returned and alias.sub(r"\1", returned))


def skip_inner(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what is public but not for callers, and the methods that scikit-learn writes into an estimator."""
    function = getattr(obj, "fget", obj)  # a property has no name of its own
    inner = getattr(function, "__qualname__", "") in INNER or re.fullmatch(r"set_\w+_request", name)
    return True if inner else None


def write_index(app: Sphinx, exception: Exception | None) -> None:
    """Give the landing page the name that web servers look for."""
    if exception is None and app.builder.name == "html":
        shutil.copyfile(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """Register the functions above."""
    app.connect("source-read", complete_page)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-skip-member", skip_inner)
    app.connect("build-finished", write_index)
