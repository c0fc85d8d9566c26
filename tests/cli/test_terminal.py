"""What anyone may have written, such as names of columns, is shown by a terminal and never obeyed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cde_app.words import printable

Cde = Callable[..., Any]
HOSTILE = "a\x1b]0;title\x07b"
SHOWN = "a\\u001b]0;title\\u0007b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Größe [m²] 高さ", "Größe [m²] 高さ"),
        ("👩‍🔬", "👩‍🔬"),  # joined by a mark that has no width
        (HOSTILE, SHOWN),
        ("one\nerror: two\r", "one\\u000aerror: two\\u000d"),
        ("\x9b31m", "\\u009b31m"),
        ("evil\u202egnp.exe", "evil\\u202egnp.exe"),
        (os.fsdecode(b"caf\xe9"), "caf\\udce9"),
    ],
)
def test_what_a_terminal_obeys_is_shown_by_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert json.loads(f'"{shown}"') == text
    assert printable(text, keeps="\n") == (shown.replace("\\u000a", "\n"))


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [f'"{HOSTILE}",b,y', *(f"{n % 5},{n},{n * n}" for n in range(40)), "1,x\x1b[31m,3"]
    Path("table.csv").write_text("\n".join(lines) + "\n")
    return Path("table.csv")


def test_names_and_cells_of_a_table_do_not_reach_the_terminal_raw(table: Path, cde: Cde) -> None:
    inputs = json.dumps([HOSTILE, "b"])
    Path("c.yaml").write_text(f"schema_version: 1\ndata: {{path: table.csv, inputs: {inputs}, targets: [y]}}\n")
    outcomes = [
        cde("check", "c.yaml"),
        cde("check", "c.yaml", "--set", f"data.{HOSTILE}=1"),
        cde("init", table, "-t", "y"),
    ]
    outcomes += [
        cde("check", f"no{HOSTILE}.yaml"),
        cde("check", "no\nerror: forged.yaml"),
        cde("predict", HOSTILE, table),
    ]
    for outcome in outcomes:
        assert "\x1b" not in outcome.out + outcome.err
        assert "\x07" not in outcome.out + outcome.err
        assert all(line.startswith(("error: ", "warning: ", "note: ")) for line in outcome.err.splitlines()), (
            outcome.err
        )
    assert "x\\x1b[31m" in outcomes[0].err
    assert "error: no\\u000aerror: forged.yaml" in outcomes[4].err


def test_json_of_hostile_names_is_still_json(table: Path, cde: Cde) -> None:
    table.write_text(table.read_text().replace("x\x1b[31m", "7"))
    inputs = json.dumps([HOSTILE, "b"])
    Path("c.yaml").write_text(f"schema_version: 1\ndata: {{path: table.csv, inputs: {inputs}, targets: [y]}}\n")
    outcome = cde("check", "c.yaml", "--json")
    assert HOSTILE in json.dumps(json.loads(outcome.out), ensure_ascii=False).encode().decode("unicode_escape")
