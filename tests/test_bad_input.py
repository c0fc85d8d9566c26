"""Every fault a newcomer can make: one clear line, the right exit code, and nothing half-written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CONFIG, DATA, RUN = 2, 3, 6

Cde = Callable[..., Any]

CONFIG_TEXT = """\
schema_version: 1
data:
  path: table.csv
  inputs: [x, {column: region, kind: categorical}]
  targets: [a]
training:
  max_steps: 25
"""


def rows_of_table() -> list[str]:
    """A good table: 20 rows below a header."""
    return ["x,region,a", *(f"{n},{'north' if n % 2 else 'south'},{n * n}" for n in range(20))]


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

TABLES: dict[str, tuple[list[str] | str | None, tuple[str, ...]]] = {
    "missing file": (
        None,
        ("table.csv: must be a CSV or Parquet file; got no such file. Correct the path.",),
    ),
    "empty file": (
        [],
        ("table.csv: must have a header line and rows; got an empty file. Check what wrote it.",),
    ),
    "header only": (
        ["x,region,a"],
        ("table.csv: must have rows; got the header only. Check what wrote it.",),
    ),
    "no such columns": (
        ["x,Region,b", "1,north,2", "2,south,3"],
        (
            (
                "config.yaml:4:24: table.csv: no column 'region' (data.inputs); columns are 'x', 'Region', 'b'. "
                "Did you mean 'Region'?"
            ),
            (
                "config.yaml:5:13: table.csv: no column 'a' (data.targets); columns are 'x', 'Region', 'b'. "
                "Correct the name or the table."
            ),
        ),
    ),
    "text in a numeric column": (
        [*rows_of_table(), "oops,north,3"],
        (
            (
                "table.csv: column 'x' must be numbers; got 'oops' in row 21 of the table. "
                "Clean the column, or give it kind: categorical."
            ),
        ),
    ),
    "text in a target": (
        [*rows_of_table(), "1,north,n.a."],
        (
            (
                "table.csv: column 'a' must be numbers; got 'n.a.' in row 21 of the table. "
                "Clean the column, or choose another target."
            ),
        ),
    ),
    "numbers with a decimal comma": (
        [*rows_of_table(), '"7,5",north,"1.234,5"', '"8,5",north,2'],
        (
            (
                "table.csv: column 'x' must be numbers; got 2 cells such as '7,5', first in row 21 of the table. "
                "It looks like a number with a decimal comma; set data.format.decimal to ','."
            ),
            (
                "table.csv: column 'a' must be numbers; got '1.234,5' in row 21 of the table. It looks like a number "
                "with points between thousands; set data.format.decimal to ',' and data.format.thousands to '.'."
            ),
        ),
    ),
    "NaN": (
        ["x,region,a", "nan,north,1", "2,,3", "3,south,NaN", "4,south,5"],
        (
            (
                "table.csv: column 'x' must be numbers without gaps; got 1 gap (1 'nan'), first in row 1 of the table. "
                "Set data.missing or clean the file."
            ),
            (
                "table.csv: column 'region' must be labels without gaps; got 1 empty cell, "
                "first in row 2 of the table. Set data.missing or clean the file."
            ),
            (
                "table.csv: column 'a' must be numbers without gaps; got 1 gap (1 'NaN'), first in row 3 of the table. "
                "Set data.missing to drop, or clean the file."
            ),
        ),
    ),
    "more than one cell": (
        [*rows_of_table(), "inf,north,n.a.", "oops,north,n.a.", "-inf,south,2", "none,north,1"],
        (
            (
                "table.csv: column 'x' must be numbers; got 2 cells such as 'oops', first in row 22 of the table. "
                "Clean the column, or give it kind: categorical."
            ),
            (
                "table.csv: column 'x' must be finite numbers up to 1e+150; got 2 cells such as inf, first in row 21 "
                "of the table. Clean the file."
            ),
            (
                "table.csv: column 'a' must be numbers; got 2 cells such as 'n.a.', first in row 21 of the table. "
                "Clean the column, or choose another target."
            ),
        ),
    ),
    "infinity": (
        [*rows_of_table(), "inf,north,-inf"],
        (
            (
                "table.csv: column 'x' must be finite numbers up to 1e+150; got inf in row 21 of the table. "
                "Clean the file."
            ),
            (
                "table.csv: column 'a' must be finite numbers up to 1e+150; got -inf in row 21 of the table. "
                "Clean the file."
            ),
        ),
    ),
    "one row": (
        rows_of_table()[:2],
        ("table.csv: must have at least 2 rows without gaps; got 1. Add rows.",),
    ),
    "two rows, split": (
        rows_of_table()[:3],
        (
            (
                "table.csv: the split must leave at least 2 training rows; got 1 of 2. "
                "Lower data.split.test and data.split.validation, or add rows."
            ),
        ),
    ),
    "constant target": (
        ["x,region,a", *(f"{n},north,7.5" for n in range(5))],
        ("table.csv: column 'a' must vary; got 7.5 in every row. Choose another target.",),
    ),
    "constant inputs": (
        ["x,region,a", *(f"1,north,{n}" for n in range(5))],
        ("table.csv: an input must vary over the training rows; got constant columns only. Add to data.inputs.",),
    ),
    "ragged row": (
        [*rows_of_table(), "1,north"],
        (
            (
                "table.csv:22: must have 3 cells, as the header has; got 2. "
                "Correct the line, or quote a cell that holds a delimiter."
            ),
        ),
    ),
    "repeated column": (
        ["x,region,a,a", "1,north,1,2", "2,north,3,4"],
        ("table.csv: column names must differ; got ['a'] more than once. Rename the columns.",),
    ),
}


@pytest.mark.parametrize("fault", TABLES)
def test_training_on_a_bad_table_says_what_is_wrong_and_makes_no_run(fault: str, cde: Cde) -> None:
    lines, messages = TABLES[fault]
    Path("table.csv").unlink()
    if lines is not None:
        write_table(list(lines))
    with nothing_changes():
        assert_refused(cde("train", "config.yaml", "--out", "runs/a", "--quiet"), DATA, *messages)


# Whether two rows can be split, and whether an input varies over the training rows, shows with the split only.
@pytest.mark.parametrize("fault", [name for name in TABLES if name not in ("two rows, split", "constant inputs")])
def test_check_finds_the_same_faults_as_training(fault: str, cde: Cde) -> None:
    lines, messages = TABLES[fault]
    Path("table.csv").unlink()
    if lines is not None:
        write_table(list(lines))
    with nothing_changes():
        assert_refused(cde("check", "config.yaml"), DATA, *messages)


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

CONFIGS: dict[str, tuple[str, str, str]] = {
    "unknown key": ("max_steps: 25", "max_step: 25", "config.yaml:7:3: training.max_step: unknown key; did you mean"),
    "unknown section": ("training:", "trainings:", "config.yaml:6:1: trainings: unknown key; did you mean 'training'?"),
    "wrong type": (
        "max_steps: 25",
        "max_steps: many",
        "config.yaml:7:14: training.max_steps: expected an integer >= 1 or 'auto'; got 'many'.",
    ),
    "number out of range": (
        "max_steps: 25",
        "max_steps: 0",
        "config.yaml:7:14: training.max_steps: expected an integer >= 1 or 'auto'; got 0.",
    ),
    "text for a list": (
        "inputs: [x, {column: region, kind: categorical}]",
        "inputs: x",
        "config.yaml:4:11: data.inputs: expected a list; got 'x'. Write [x] for a list of one.",
    ),
    "a key twice": (
        "max_steps: 25",
        "max_steps: 25\n  max_steps: 30",
        "config.yaml:8:3: training.max_steps: duplicate key; first on line 7. Keep one of them.",
    ),
    "newer schema": ("schema_version: 1", "schema_version: 2", "config.yaml:1:17: schema_version: "),
    "a column that is input and target": (
        "targets: [a]",
        "targets: [a, x]",
        "config.yaml:5:16: data.targets.1: expected a column once among inputs and targets; got 'x' again. Remove it.",
    ),
}


@pytest.mark.parametrize("fault", CONFIGS)
@pytest.mark.parametrize("command", ["check", "train"])
def test_a_bad_configuration_is_refused_with_its_line(fault: str, command: str, cde: Cde) -> None:
    before, after, message = CONFIGS[fault]
    Path("config.yaml").write_text(CONFIG_TEXT.replace(before, after))
    with nothing_changes():
        outcome = cde(command, "config.yaml")
        (line,) = outcome.err.splitlines()
        assert line.startswith(f"error: {message}")
        assert (outcome.code, outcome.out) == (CONFIG, "")


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


def test_both_spellings_of_a_key_are_one_fault_that_names_the_right_one(cde: Cde) -> None:
    Path("config.yaml").write_text(CONFIG_TEXT + "  max-steps: 30\n")
    with nothing_changes():
        assert_refused(
            cde("train", "config.yaml", "--out", "runs/a"),
            CONFIG,
            "config.yaml:8:3: training.max-steps: unknown key; did you mean 'max_steps'?",
        )


def test_all_faults_of_a_configuration_are_reported_at_once(cde: Cde) -> None:
    Path("config.yaml").write_text(CONFIG_TEXT.replace("targets", "target").replace("25", "x"))
    outcome = cde("train", "config.yaml")
    assert outcome.code == CONFIG
    assert len(outcome.err.splitlines()) == 3
    assert "data.target: unknown key; did you mean 'targets'?" in outcome.err
    assert "training.max_steps: expected an integer" in outcome.err


def test_a_missing_configuration_points_to_init(cde: Cde) -> None:
    with nothing_changes():
        outcome = cde("train", "nothing.yaml")
        assert outcome.code == CONFIG
        assert re.match(r"error: nothing\.yaml: .*cde init", outcome.err)


# --- the run directory --------------------------------------------------------------------------------------------


@pytest.fixture
def run(tiny_run: Any) -> Path:
    """A copy of a finished run."""
    shutil.copytree(tiny_run.run, "run")
    return Path("run")


READING = [("evaluate",), ("plot",), ("report",), ("info",), ("compare",), ("predict", "table.csv", "--out", "out")]


def reading(cde: Cde, command: tuple[str, ...], run: Path) -> Any:
    return cde(command[0], run, *command[1:])


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_a_run_that_is_missing_or_something_else_is_not_read(command: tuple[str, ...], cde: Cde) -> None:
    Path("thesis").mkdir()
    Path("thesis/thesis.tex").write_text("years of work")
    with nothing_changes():
        missing = "run: expected a run directory; got nothing. Train one with: cde train CONFIG --out run"
        assert_refused(reading(cde, command, Path("run")), RUN, missing)
        folder = "thesis: expected a run directory; got a folder without a valid STATUS. Check the path."
        assert_refused(reading(cde, command, Path("thesis")), RUN, folder)
        file = "table.csv: expected a run directory; got a file. Check the path."
        assert_refused(reading(cde, command, Path("table.csv")), RUN, file)


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_a_run_of_a_newer_format_asks_for_a_newer_cde(command: tuple[str, ...], run: Path, cde: Cde) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with nothing_changes():
        assert_refused(
            reading(cde, command, run),
            RUN,
            "run/manifest.json: format_version: expected at most 4; got 99. "
            "The run was written by a newer cde; update cde.",
        )


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_a_corrupt_or_missing_file_of_a_run_is_named(command: tuple[str, ...], run: Path, cde: Cde) -> None:
    content = bytearray((run / "posterior/arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (run / "posterior/arrays.npz").write_bytes(content)
    (run / "columns.json").unlink()
    with nothing_changes():
        outcome = reading(cde, command, run)
        assert (outcome.code, outcome.out) == (RUN, "")
        columns, arrays = sorted(outcome.err.splitlines())
        assert columns == "error: run/columns.json: expected a file of the run; got nothing. Train the run again."
        assert re.fullmatch(
            r"error: run/posterior/arrays\.npz: expected SHA-256 \w{12}\.\.\.; got \w{12}\.\.\.\. "
            r"The file has changed since the training; train the run again\.",
            arrays,
        )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_manifest_is_named(content: str, run: Path, cde: Cde) -> None:
    (run / "manifest.json").write_text(content)
    with nothing_changes():
        outcome = cde("evaluate", run)
        (line,) = outcome.err.splitlines()
        assert outcome.code == RUN
        assert line.startswith("error: run/manifest.json: ")
        assert line.endswith("Train the run again.")


def test_an_unfinished_run_says_how_to_go_on(run: Path, cde: Cde) -> None:
    (run / "manifest.json").unlink()
    (run / "STATUS").write_text("running\n")
    with nothing_changes():
        assert_refused(
            cde("predict", run, "table.csv", "--out", "out"),
            RUN,
            "run: expected a finished run; got one that is killed. "
            "Resume with: cde train run/config.yaml --out run --resume",
        )


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

NEW_TABLES: dict[str, tuple[list[str] | None, tuple[str, ...]]] = {
    "missing file": (None, ("new.csv: must be a CSV or Parquet file; got no such file. Correct the path.",)),
    "empty file": ([], ("new.csv: must have a header line and rows; got an empty file. Check what wrote it.",)),
    "missing column": (
        ["x,a,b", "1,2,3"],
        ("new.csv: no column 'region'; columns are 'x', 'a', 'b'. Correct the name or the table.",),
    ),
    "text in a numeric column": (
        ["x,region", "1,north", "zero,south"],
        (("new.csv: column 'x' must be numbers; got 'zero' in row 2 of the table. Clean the column."),),
    ),
    "gap": (
        ["x,region", "1,north", ",south", "2,"],
        (
            (
                "new.csv: column 'x' must be numbers without gaps; got 1 empty cell, first in row 2 of the table. "
                "Fill them, or leave those rows out."
            ),
            (
                "new.csv: column 'region' must be labels without gaps; got 1 empty cell, first in row 3 of the table. "
                "Fill them, or leave those rows out."
            ),
        ),
    ),
    "infinity": (
        ["x,region", "-inf,north"],
        ("new.csv: column 'x' must be finite numbers up to 1e+150; got -inf in row 1 of the table. Clean the file.",),
    ),
    "text in a target": (
        ["x,region,a,b", "1,north,2,two"],
        (("new.csv: column 'b' must be numbers; got 'two' in row 1 of the table. Clean the column."),),
    ),
}


@pytest.mark.parametrize("fault", NEW_TABLES)
def test_predicting_a_bad_table_says_what_is_wrong_and_makes_no_folder(fault: str, tiny_run: Any, cde: Cde) -> None:
    lines, messages = NEW_TABLES[fault]
    if lines is not None:
        write_table(lines, "new.csv")
    with nothing_changes(tiny_run.run):
        assert_refused(cde("predict", tiny_run.run, "new.csv", "--out", "deep/out"), DATA, *messages)


@pytest.mark.parametrize("fault", ["missing file", "missing column", "text in a numeric column", "text in a target"])
def test_evaluating_a_bad_table_says_what_is_wrong(fault: str, tiny_run: Any, cde: Cde) -> None:
    lines, messages = NEW_TABLES[fault]
    if lines is not None:
        header, *rows = lines
        extra = ",a,b" if header == "x,region" else ""
        write_table([header + extra, *(row + ",1,1" * bool(extra) for row in rows)], "new.csv")
        messages = tuple(message.replace("'x', 'region'", "'x', 'region', 'a', 'b'") for message in messages)
    with nothing_changes(tiny_run.run):
        assert_refused(cde("evaluate", tiny_run.run, "new.csv"), DATA, *messages)


def test_evaluating_needs_the_targets(tiny_run: Any, cde: Cde) -> None:
    write_table(["x,region", "1,north"], "new.csv")
    with nothing_changes(tiny_run.run):
        outcome = cde("evaluate", tiny_run.run, "new.csv")
        columns = "columns are 'x', 'region'. Correct the name or the table."
        faults = [f"new.csv: no column {name!r}; {columns}" for name in ("a", "b")]
        assert_refused(outcome, DATA, *faults)


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
            "table.csv/out: expected a folder that can be written; got 'Not a directory'.",
        )
        assert_refused(
            cde(*command, tiny_run.run, "--overwrite"),
            RUN,
            f"{tiny_run.run}: expected only predictions; got 'STATUS'. Move it, or choose another --out.",
        )


def test_a_gap_in_a_target_is_no_row_to_score(tiny_run: Any, cde: Cde) -> None:
    write_table(["x,region,a,b", "1,north,2,3", "1,south,2,", "1,north,,1"], "new.csv")
    with nothing_changes(tiny_run.run):
        assert_refused(
            cde("evaluate", tiny_run.run, "new.csv"),
            DATA,
            "new.csv: column 'a' must be numbers without gaps; got 1 empty cell, first in row 3 of the table. "
            "Fill them, or leave those rows out.",
            "new.csv: column 'b' must be numbers without gaps; got 1 empty cell, first in row 2 of the table. "
            "Fill them, or leave those rows out.",
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--quantiles", "5,x"), "--quantiles: expected numbers between 0 and 1, separated by commas; got '5'."),
        (("--samples", "-1"), "cde predict: invalid value for '--samples'"),
        (("--format", "xlsx"), "cde predict: invalid value for '--format'"),
    ],
)
def test_a_wrong_option_is_a_fault_of_usage(options: tuple[str, ...], message: str, tiny_run: Any, cde: Cde) -> None:
    with nothing_changes(tiny_run.run):
        outcome = cde("predict", tiny_run.run, tiny_run.table, "--out", "out", *options)
        assert outcome.code == CONFIG
        assert message in outcome.err


@pytest.mark.parametrize("gate", ["crps", "crps_skill=1", "no_such_score>1", "crps>nan", "crps.per_target.c<1"])
def test_a_gate_that_cannot_be_judged_is_a_fault_of_usage_before_anything_is_scored(
    gate: str, tiny_run: Any, cde: Cde
) -> None:
    outcome = cde("evaluate", tiny_run.run, "no_such_table.csv", "--json", "--gate", gate)
    assert (outcome.code, outcome.out) == (CONFIG, "")
    assert outcome.err.startswith("error: --gate: expected ")
