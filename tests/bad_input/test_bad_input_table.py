"""The table of malformed inputs: each has its lines and its exit code, and leaves nothing behind."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bad_input import command_lines, configurations, csv_tables, forecasters, parquet_tables, run_directories
from tests.bad_input.cases import CONFIG, ROWS, Case, text
from tests.conftest import PROJECT, TrainedTiny

KINDS = (configurations, csv_tables, parquet_tables, command_lines, run_directories, forecasters)
CASES = {f"{kind.__name__.rpartition('.')[2]}: {name}": case for kind in KINDS for name, case in kind.CASES.items()}


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return everything below a folder, hidden files too, with size and time of the last change."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) if not path.is_dir() else (0, 0)
        for path in sorted(folder.rglob("*"))
    }


def prepare(case: Case, folder: Path, tiny: TrainedTiny) -> None:
    """Make the folder in which the commands of a case run."""
    (folder / "table.csv").write_text(text(ROWS))
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "trained.csv").symlink_to(tiny.table)
    for name, content in case.files.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    if case.prepare is None:
        (folder / "run").symlink_to(tiny.run)
    else:
        shutil.copytree(tiny.run, folder / "run")
        case.prepare(folder)


@pytest.mark.thinned(3)  # all of them take half a minute
@pytest.mark.parametrize("name", CASES)
def test_a_malformed_input_has_its_lines_and_its_code_and_leaves_nothing_behind(
    name: str, tiny_run: TrainedTiny, cde: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    prepare(case, tmp_path, tiny_run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cde_app.runs.run.SECONDS_TO_REPLACE", 0.0)
    monkeypatch.setattr("cde_app.execution.dask.SECONDS_TO_CONNECT", 0.3)
    folders = (tmp_path, tiny_run.run)
    before = [listing(folder) for folder in folders]
    for command in case.commands:
        outcome = cde(*shlex.split(command))
        found = re.sub(r"\b[0-9a-f]{12}\.\.\.", "HASH...", outcome.err.replace(str(tmp_path), "HERE"))
        assert found.splitlines() == [f"error: {line}" for line in case.lines], command
        assert (outcome.code, outcome.out) == (case.code, ""), command
        assert [listing(folder) for folder in folders] == before, command


def test_the_documentation_counts_the_table() -> None:
    """Every case is another input: no two have the same files and commands."""
    inputs = {(case.commands, str(case.files), case.prepare) for case in CASES.values()}
    assert len(inputs) == len(CASES) > 150
    found = re.search(r"\| (\d+) malformed inputs", (PROJECT / "docs/reliability.md").read_text())
    assert found is not None
    assert int(found[1]) == len(CASES)
