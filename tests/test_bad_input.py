"""Every fault a newcomer can make: one clear line, the right exit code, and nothing half-written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bad_input import csv_tables
from tests.bad_input.cases import CONFIG as CONFIG_TEXT
from tests.bad_input.cases import ROWS

CONFIG, DATA, RUN = 2, 3, 6

Cde = Callable[..., Any]


def rows_of_table() -> list[str]:
    """A good table: 20 rows below a header."""
    return list(ROWS)


@pytest.fixture(autouse=True)
def in_a_folder_with_a_table_and_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(rows_of_table())
    Path("config.yaml").write_text(CONFIG_TEXT)


def write_table(lines: list[str], name: str = "table.csv") -> None:
    Path(name).write_text("".join(line + "\n" for line in lines))


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file and folder below a folder, hidden ones too, the files with size and time of the last change."""
    paths = sorted(folder.rglob("*"))
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0) for path in paths}


@contextmanager
def nothing_changes(*folders: Path) -> Iterator[None]:
    before = [listing(folder) for folder in (Path.cwd(), *folders)]
    yield
    assert [listing(folder) for folder in (Path.cwd(), *folders)] == before


def assert_refused(outcome: Any, code: int, *messages: str) -> None:
    """Check that a command has printed these errors, one a line, and nothing else."""
    assert outcome.err.splitlines() == [f"error: {message}" for message in messages]
    assert (outcome.code, outcome.out) == (code, "")


# --- the table, when training -------------------------------------------------------------------------------------

TRAINED = [
    *("missing file", "empty file", "header only", "no such columns", "text in a numeric column", "text in a target"),
    *("numbers with a decimal comma", "gaps", "more than one cell", "infinity", "one row", "constant target"),
    *("too few cells", "column twice"),
]


@pytest.mark.parametrize("fault", TRAINED)
def test_training_finds_the_same_faults_as_check_and_makes_no_run(fault: str, cde: Cde) -> None:
    case = csv_tables.CASES[fault]
    if case.prepare is None:
        Path("table.csv").write_bytes(str(case.files["table.csv"]).encode())
    else:
        case.prepare(Path.cwd())
    with nothing_changes():
        assert_refused(cde("train", "config.yaml", "--out", "runs/a", "--quiet"), DATA, *case.lines)


@pytest.mark.parametrize(
    ("line", "override", "place", "role"),
    [
        ("  inputs: [z, x]", None, "config.yaml:4:12", "data.inputs"),
        ("  inputs:\n    - x\n    - {kind: categorical, column: z}", None, "config.yaml:6:35", "data.inputs"),
        ("  inputs: [x]\n  split: {kind: group, column: z}", None, "config.yaml:5:32", "data.split"),
        ("  inputs: [x]\n  split: {kind: time, column: z}", None, "config.yaml:5:31", "data.split"),
        ("  inputs: [x]", "data.targets=[z]", "--set data.targets=[z]", "data.targets"),
    ],
)
def test_a_column_that_is_not_in_the_table_is_named_where_the_configuration_names_it(
    line: str, override: str | None, place: str, role: str, cde: Cde
) -> None:
    text = CONFIG_TEXT.replace("  inputs: [x, {column: region, kind: categorical}]", line)
    Path("config.yaml").write_text(text)
    options = [] if override is None else ["--set", override]
    message = f"table.csv: no column 'z' ({role}); columns are 'x', 'region', 'a'. Correct the name or the table."
    for command in (["check", "config.yaml"], ["train", "config.yaml", "--out", "runs/a", "--quiet"]):
        assert_refused(cde(*command, *options), DATA, f"{place}: {message}")


def test_the_fault_stands_below_the_progress_when_nobody_asks_for_quiet(cde: Cde) -> None:
    Path("table.csv").unlink()
    outcome = cde("train", "config.yaml", "--out", "runs/a")
    assert [line.partition(" ")[0] for line in outcome.err.splitlines()] == ["[data]", "error:"]


def test_init_refuses_a_table_without_the_target_and_writes_no_file(cde: Cde) -> None:
    with nothing_changes():
        outcome = cde("init", "table.csv", "--target", "A", "-o", "new.yaml")
        assert outcome.code == DATA
        assert re.fullmatch(r"error: table\.csv: no column 'A'.* Did you mean 'a'\?\n", outcome.err)


def test_init_tells_which_columns_it_leaves_out_unless_it_is_to_be_quiet(cde: Cde) -> None:
    Path("constant.csv").write_text("a,k,y\n" + "".join(f"{i % 7}.5,1,{i % 5}.25\n" for i in range(40)))
    outcome = cde("init", "constant.csv", "--target", "y", "-o", "new.yaml")
    assert (outcome.code, outcome.err) == (0, "note: column 'k' is constant and left out.\n")
    assert Path("new.yaml").read_text().startswith("# column 'k' is constant and left out.\n")
    assert cde("init", "constant.csv", "--target", "y", "-o", "new.yaml", "--overwrite", "--quiet").err == ""


@pytest.mark.parametrize(
    ("table", "config", "path"),
    [
        ("table.csv", "new.yaml", "table.csv"),
        ("table.csv", "configs/new.yaml", "../table.csv"),
        ("data/table.csv", "configs/new.yaml", "../data/table.csv"),
        ("data/table.csv", "data/new.yaml", "table.csv"),
    ],
)
def test_init_names_the_table_relative_to_the_file_it_writes(table: str, config: str, path: str, cde: Cde) -> None:
    for folder in ("data", "configs"):
        Path(folder).mkdir()
    Path("data/table.csv").write_bytes(Path("table.csv").read_bytes())
    for given, written in ((table, path), (str(Path(table).absolute()), str(Path(table).absolute()))):
        assert cde("init", given, "--target", "a", "-o", config, "--overwrite").code == 0
        assert f"  path: {written}\n" in Path(config).read_text()
        assert cde("check", config).code == 0


# --- the configuration --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("check",), ("train", "--out", "runs/a", "--quiet")])
def test_a_kernel_of_a_constant_column_is_refused(command: tuple[str, ...], cde: Cde) -> None:
    text = CONFIG_TEXT.replace("inputs: [x,", "inputs: [x, flat,")
    Path("config.yaml").write_text(f"{text}model: {{output: {{kernel: {{kind: linear, columns: [x, flat]}}}}}}\n")
    write_table(["flat," + line if n == 0 else "7," + line for n, line in enumerate(rows_of_table())])
    with nothing_changes():
        assert_refused(
            cde(*command, "config.yaml"),
            DATA,
            "table.csv: column 'flat' (model.output.kernel.columns) must vary over the training rows; got a constant. "
            "Leave it out there.",
        )


@pytest.mark.parametrize("command", [("check",), ("train", "--out", "runs/a", "--quiet")])
def test_a_mean_that_does_not_fit_the_table_is_a_fault_of_the_configuration(command: tuple[str, ...], cde: Cde) -> None:
    Path("config.yaml").write_text(f"{CONFIG_TEXT}model:\n  output:\n    mean: {{kind: identity}}\n")
    with nothing_changes():
        assert_refused(
            cde(*command, "config.yaml"),
            CONFIG,
            "config.yaml:10:5: model.output.mean: identity needs as many features (neighbours and earlier targets of a "
            "chain included) and inputs of the output layer as a model has targets; got 4, 4 and 1 with table.csv. "
            "Choose kind: linear.",
        )


# --- the run directory --------------------------------------------------------------------------------------------


@pytest.fixture
def run(tiny_run: Any) -> Path:
    """A copy of a finished run."""
    shutil.copytree(tiny_run.run, "run")
    return Path("run")


def test_training_never_writes_into_what_is_there(run: Path, cde: Cde) -> None:
    Path("thesis").mkdir()
    Path("thesis/thesis.tex").write_text("years of work")
    command = ("train", "config.yaml", "--quiet", "--out")
    with nothing_changes():
        assert_refused(
            cde(*command, "run"),
            RUN,
            "run exists and is not empty; choose another --out, or pass --overwrite.",
        )
        assert_refused(
            cde(*command, "run", "--resume"),
            RUN,
            "run is done; there is nothing to resume. Pass --overwrite to train it again.",
        )
        assert_refused(
            cde(*command, "thesis", "--overwrite"),
            RUN,
            "thesis exists and is not a run, so --overwrite does not replace it; choose another --out.",
        )
        assert_refused(
            cde(*command, "table.csv", "--overwrite"),
            RUN,
            "table.csv exists and is not a folder; choose another --out.",
        )
        assert_refused(
            cde(*command, "nothing", "--resume"),
            RUN,
            "nothing: expected a run directory; got nothing. Train one with: cde train CONFIG --out nothing",
        )


def test_a_training_that_is_refused_spares_the_run_it_would_have_replaced(run: Path, tiny_run: Any, cde: Cde) -> None:
    write_table([*rows_of_table(), "oops,north,1"])
    with nothing_changes():
        assert cde("train", "config.yaml", "--out", run, "--overwrite", "--quiet").code == DATA
    (run / "manifest.json").unlink()
    (run / "STATUS").write_text("interrupted\n")
    settings = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(settings.replace(str(tiny_run.table), str(Path("table.csv").absolute())))
    for way, settings in (("--overwrite", "config.yaml"), ("--resume", run / "config.yaml")):
        with nothing_changes():
            assert cde("train", settings, "--out", run, way, "--quiet").code == DATA


# --- the table, when predicting -----------------------------------------------------------------------------------


def test_a_fault_far_down_a_table_costs_neither_old_nor_half_of_the_new_predictions(tiny_run: Any, cde: Cde) -> None:
    rng = np.random.default_rng(3)
    good = ["x,region", *(f"{x},north" for x in rng.uniform(-1, 1, 1500))]
    write_table(good, "good.csv")
    write_table([*good, "far,north"], "bad.csv")
    message = "bad.csv: column 'x' must be numbers; got 'far' in row 1501 of the table. Clean the column."
    with nothing_changes():
        assert_refused(cde("predict", tiny_run.run, "bad.csv", "--out", "a/b", "--samples", "1"), DATA, message)
    assert cde("predict", tiny_run.run, "good.csv", "--out", "out", "--samples", "1", "--quiet").code == 0
    with nothing_changes():
        again = cde("predict", tiny_run.run, "bad.csv", "--out", "out", "--samples", "1", "--overwrite")
        assert_refused(again, DATA, message)


def test_predictions_are_not_written_over_what_is_there(tiny_run: Any, cde: Cde) -> None:
    Path("thesis").mkdir()
    Path("thesis/thesis.tex").write_text("years of work")
    command = ("predict", tiny_run.run, tiny_run.table, "--out")
    with nothing_changes(tiny_run.run):
        assert_refused(
            cde(*command, "thesis"),
            RUN,
            "thesis exists and is not empty; choose another --out, or pass --overwrite.",
        )
        assert_refused(
            cde(*command, "thesis", "--overwrite"),
            RUN,
            "thesis: expected only predictions; got 'thesis.tex'. Move it, or choose another --out.",
        )
        assert_refused(cde(*command, "table.csv"), RUN, "table.csv exists and is not a folder; choose another --out.")
        assert_refused(
            cde(*command, "table.csv/out"),
            RUN,
            "table.csv/out: expected a folder that can be made; got 'Not a directory'.",
        )
        assert_refused(
            cde(*command, tiny_run.run, "--overwrite"),
            RUN,
            f"{tiny_run.run} is a run; choose another --out.",
        )
