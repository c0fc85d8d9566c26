"""Fixtures for every test: the command line, and guards against state that leaks from one test to the next."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cde_app.cli import main

PROJECT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Outcome:
    """What a command has left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def no_test_changes_the_global_random_state() -> Iterator[None]:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    after = np.random.get_state()[1]  # noqa: NPY002
    assert np.array_equal(before, after), "something drew from or seeded NumPy's global generator"


@pytest.fixture
def project() -> Path:
    """The folder of the repository."""
    return PROJECT


@pytest.fixture
def cde(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `cde` in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def cde_process() -> Callable[..., Outcome]:
    """Run `cde` in a process of its own; keyword arguments go to `subprocess.run`."""

    def run(*arguments: object, **options: Any) -> Outcome:
        command = [sys.executable, "-m", "cde_app", *(str(argument) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def modules_after() -> Callable[..., set[str]]:
    """Run `cde` commands, one after another, in one fresh process, and return the top-level modules it has loaded."""
    code = (
        "import io, sys, contextlib\n"
        "from cde_app.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    codes = [main(line.split('\\t')) for line in sys.argv[1:]]\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
        "print(*codes)\n"
    )

    def run(*commands: list[str], codes: set[int] = frozenset({0})) -> set[str]:  # type: ignore[assignment]
        lines = ["\t".join(str(part) for part in command) for command in commands]
        done = subprocess.run([sys.executable, "-c", code, *lines], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        modules, exits = done.stdout.splitlines()[-2:]
        assert {int(word) for word in exits.split()} <= codes, done.stderr
        return set(modules.split())

    return run
