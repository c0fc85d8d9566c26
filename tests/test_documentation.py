"""The pages and the docstrings: their links lead somewhere, their examples run, and what they repeat is the same."""

from __future__ import annotations

import ast
import json
import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.model_selection import GridSearchCV

import cde_app as cde
from cde_app.config_file import load_config
from cde_app.workflow.train import train_run

PROJECT = Path(__file__).parent.parent
NOTEBOOKS = sorted(PROJECT.glob("docs/*.ipynb"))
PAGES = sorted(path for folder in (".", "configs", "data", "docs") for path in PROJECT.glob(f"{folder}/*.md"))

# --- links --------------------------------------------------------------------------------------------------------

FENCED = re.compile(r"^( *)(```+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"(`+).*?\1")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")


def broken_links(page: Path, *, root: Path) -> list[str]:
    """Return the relative links of a page that lead to no file of the repository, or to no heading of a page."""
    text = CODE_SPAN.sub("", COMMENT.sub("", FENCED.sub("", page.read_text(encoding="utf-8"))))
    return [target for target in LINK.findall(text) if not (is_address(target) or leads_somewhere(page, target, root))]


def is_address(target: str) -> bool:
    """Say whether a link leads out of the repository."""
    return re.match(r"[a-z]+:", target) is not None


def leads_somewhere(page: Path, target: str, root: Path) -> bool:
    """Say whether a relative link leads to a file of the repository and, if it has an anchor, to a heading."""
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not (path.is_file() and path.is_relative_to(root.resolve())):  # the built pages can show no folder
        return False
    return not anchor or (path.suffix == ".md" and anchor in anchors(path))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a Git host and MyST give the headings of a page."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} +(.+?) *$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
        if found[slug]:
            found[f"{slug}-{found[slug]}"] = 0
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page, root=PROJECT) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    good = "[a](#here) [b](docs/other.md#data_format-two) [c](docs/other.md#twice-1) [d](https://example.org) `[e](f)`"
    bad = ["#there", "missing.md", "docs/other.md#three", "docs", "../outside.md", "docs/other.md#twice-2"]
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n{good}\n```\n# There\n[g](h)\n```\n{' '.join(f'[x]({link})' for link in bad)}\n")
    (tmp_path / "docs/other.md").write_text("## `data_format`: two!\n## Twice\n## Twice\n```\n## Three\n```\n")
    assert broken_links(page, root=tmp_path) == bad


# --- examples -----------------------------------------------------------------------------------------------------

TRAINS = re.compile(r"\b(train|fit|cross_validate)\(")
SHORT = """\
schema_version: 1
data: {{path: {table}, inputs: {inputs}, targets: {targets}}}
model: {{layers: [], output: {{num_inducing: 8, num_inducing_latent: 6}}, targets_model: joint}}
training: {{max_steps: 2, ensemble: 1, warm_start: {{max_steps: 5}}}}
predict: {{num_components: 16}}
"""


@dataclass(frozen=True)
class Example:
    """Code that a reader may copy."""

    place: str
    code: str
    before: tuple[str, ...] = ()
    """The earlier examples of the section, which the reader has run."""
    module: str = ""
    """The module whose docstring it is in."""
    folder: str = "."
    """Where the reader runs it."""

    @property
    def trains(self) -> bool:
        """Whether it takes more than a moment."""
        return trains(self.code)


def trains(code: str) -> bool:
    """Say whether code trains a model, other than in a comment."""
    return TRAINS.search(re.sub("#.*", "", code)) is not None


def examples_of_pages() -> Iterator[Example]:
    """Yield every block of Python in the pages."""
    for page in PAGES:
        text, line = page.read_text(encoding="utf-8"), 1
        for section in re.split(r"^(?=## )", text, flags=re.MULTILINE):
            before: list[str] = []
            for block in re.finditer(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
                place = f"{page.relative_to(PROJECT)}:{line + section.count(chr(10), 0, block.start())}"
                yield Example(place, block[1], tuple(before))
                before += [] if trains(block[1]) else [block[1]]
            line += section.count("\n")


def examples_of_notebooks() -> Iterator[Example]:
    """Yield the cells of every notebook, as one example."""
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        yield Example(str(path.relative_to(PROJECT)), code, folder="docs")


def examples_of_docstrings() -> Iterator[Example]:
    """Yield what stands under "Example:" in every docstring of the package."""
    for path in sorted((PROJECT / "cde_app").rglob("*.py")):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                code = example_in(ast.get_docstring(node) or "")
                if code and "# doctest: +SKIP" not in code:
                    yield Example(f"{name}:{getattr(node, 'name', '')}", code, module=name)


def example_in(docstring: str) -> str:
    """Return the code under "Example:", or nothing."""
    found = re.search(r"^Example:\n((?: +.*\n|\n)+)", docstring + "\n", re.MULTILINE)
    return textwrap.dedent(found[1]).strip("\n") + "\n" if found else ""


EXAMPLES = [*examples_of_pages(), *examples_of_notebooks(), *examples_of_docstrings()]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The motorcycle table with made-up columns, under the names that the examples use."""
    random = np.random.default_rng(3)
    frame = pd.read_csv(PROJECT / "data/motorcycle.csv")
    age = random.uniform(2, 18, len(frame))
    height = 80 + 5 * age + random.normal(0, 5, len(frame))
    weight, y = 0.4 * height - 15 + random.gamma(4, 1, len(frame)), age + random.normal(0, 2, len(frame))
    region = random.choice(["north", "south"], len(frame))
    return frame.assign(age=age, region=region, height=height, weight=weight, y=y)


@pytest.fixture(scope="module")
def runs(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs that the examples load, without pictures."""
    folder = tmp_path_factory.mktemp("trained")
    table.to_csv(folder / "table.csv", index=False)
    for name, inputs, targets in (("motorcycle", "[times]", "[accel]"), ("mine", "[age]", "[height, weight]")):
        config = folder / f"{name}.yaml"
        config.write_text(SHORT.format(table="table.csv", inputs=inputs, targets=targets))
        options: dict[str, Any] = {"resume": False, "overwrite": False, "on_event": lambda event: None}
        train_run(load_config(config), folder / name, draw=False, **options)
    return {name: folder / name for name in ("motorcycle", "mine")}


@pytest.fixture
def folder(table: pd.DataFrame, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader: the tables, short configurations, and the runs that are loaded."""
    for name, run in runs.items():
        shutil.copytree(run, tmp_path / "runs" / name)
    for name in ("configs", "data", "docs"):
        (tmp_path / name).mkdir()
    for name in ("motorcycle.csv", "penguins.csv"):
        shutil.copy(PROJECT / "data" / name, tmp_path / "data")
    table.to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "mine.yaml").write_text(SHORT.format(table="table.csv", inputs="[age]", targets="[y]"))
    (tmp_path / "configs/motorcycle.yaml").write_text(
        SHORT.format(table="../data/motorcycle.csv", inputs="[times]", targets="[accel]")
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*rest on few components")  # the models of the examples are tiny
@pytest.mark.parametrize(
    "example",
    [pytest.param(one, id=one.place, marks=[pytest.mark.slow] if one.trains else []) for one in EXAMPLES],
)
def test_every_example_runs(
    example: Example, folder: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cde.load("runs/mine")
    names: dict[str, Any] = {
        "cde": cde,
        "pd": pd,
        "np": np,
        "frame": table,
        "model": model,
        "forecast": model.predict(table),
        "X": table[["age"]],
        "y": table["y"],
        "GridSearchCV": GridSearchCV,
    }
    if example.module:  # it sees what is in its module, as doctest has it
        names = {**vars(pytest.importorskip(example.module)), **names}
    if example.trains:
        shutil.rmtree(folder / "runs/mine")
    monkeypatch.chdir(folder / example.folder)
    for code in (*example.before, example.code):
        shortened = re.sub(r'(max_steps"?: )\d+', r"\g<1>2", code)
        exec(compile(shortened, example.place, "exec"), names)  # noqa: S102


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_was_run_from_its_first_cell_to_its_last(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"] == []
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])


def test_examples_of_pages_and_docstrings_are_found_and_those_that_train_are_known() -> None:
    trained = {example.place.partition(":")[0]: example.trains for example in EXAMPLES if not example.before}
    assert trained["README.md"] is False
    assert trained["docs/from_csv_to_answer.ipynb"] is True
    assert trained["cde_app"] is True
    docstring = "Do it.\n\nArgs:\n    x: one.\n\nExample:\n    if x:\n\n        y\n\nRaises:\n    E: no."
    assert example_in(docstring) == "if x:\n\n    y\n"
    assert example_in("Do it.\n\nRaises:\n    E: no.") == ""


# --- what the pages repeat ----------------------------------------------------------------------------------------


def test_the_citation_has_the_version_and_the_licence_of_the_package() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == cde.__version__
    assert f'license = "{citation["license"]}"' in project
    assert {reference["year"] for reference in citation["references"]} == {2018, 2019}


def test_the_locks_of_the_package_and_of_the_pages_have_nothing_in_common() -> None:
    locks = [(PROJECT / name).read_text().split() for name in ("requirements.lock", "requirements-docs.lock")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for lock in locks for line in lock)
    package, pages = ({line.partition("==")[0].lower().replace("_", "-") for line in lock} for lock in locks)
    assert pages >= {"furo", "myst-nb", "sphinx"}
    assert not package & pages
