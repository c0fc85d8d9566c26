"""Fixtures for every test: the command line, and guards against state that leaks from one test to the next."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cde_app.machine.memory import VARIABLE as MEMORY_LIMIT
from cde_app.machine.packages import missing_for_training
from cde_app.machine.threads import VARIABLES, spread_operations

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IS_WORKER:  # as many workers as cores, and so one thread each: told before NumPy is loaded
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
spread_operations()  # as every command does before TensorFlow is loaded, which some tests load when they are collected

os.environ.setdefault("CDE_EXECUTOR", "serial")  # tests of worker processes say so; these load TensorFlow again

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from cde_app.cli import main  # noqa: E402
from cde_app.words import flatten  # noqa: E402

PROJECT = Path(__file__).parent.parent
LONGEST = (
    *("test_kills", "test_sweep", "test_session", "test_workflow", "test_latent", "test_gpflux_fit", "test_keeping"),
    *("test_objective", "test_insurance", "test_own_encoder"),
)
"""The files that take longest; workers begin with them, so that none is left with one at the end."""

ONLY_PREDICTS = bool(missing_for_training())
"""Whether TensorFlow is absent, as in `.venv-predict`. Then another install trains the runs that tests share."""
IMPORT_TENSORFLOW = [
    "model",
    "training",
    "predictive/test_approximations.py",
    "test_latent_layer.py",
    "test_linear_maps.py",
    "test_speed_benchmark.py",
]
"""What is not collected where it is absent; single tests have the mark `needs_tensorflow`."""
collect_ignore = IMPORT_TENSORFLOW if ONLY_PREDICTS else []
needs_tensorflow = pytest.mark.skipif(ONLY_PREDICTS, reason="needs TensorFlow")

TINY_CONFIG = """\
schema_version: 1
data:
  path: table.csv
  inputs: [x, {column: region, kind: categorical}]
  targets: [{column: a, unit: m, transform: {kind: identity}}, {column: b, transform: {kind: log}}]
model:
  targets_model: joint
  layers: [{num_inducing: 8}]
  output: {num_inducing: 12, num_inducing_latent: 8}
training: {max_steps: 500, checkpoint_every: 25, ensemble: 1, warm_start: {max_steps: 10}}
predict: {num_components: 16, samples: 5}
"""
LINE_CONFIG = """\
schema_version: 1
data:
  path: table.csv
  inputs: [t]
  targets: [{column: y, unit: kg}]
  split: {kind: random, validation: 0.2, test: 0.2}
model:
  layers: []
  output: {num_inducing: 10, num_inducing_latent: 6}
training: {max_steps: 100, ensemble: 2, early_stopping: {every: 25}, warm_start: {max_steps: 10}}
predict: {num_components: 16}
"""


@dataclass(frozen=True)
class Outcome:
    """What a command has left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class TrainedTiny:
    """A finished run and what it was made of; tests that change it copy it first."""

    run: Path
    config: Path
    table: Path


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases of thinned tests, and let the workers of pytest-xdist begin with the files that take longest."""
    seen = Counter[str]()
    for item in items:
        if (thinned := item.get_closest_marker("thinned")) is not None:
            test = item.nodeid.partition("[")[0]
            if seen[test] % thinned.args[0]:
                item.add_marker(pytest.mark.slow)
            seen[test] += 1
    if IS_WORKER:
        items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def no_limit_outlives_its_test() -> Iterator[None]:
    """Undo `--max-memory`, which a command sets for its process, of which a test has several."""
    before = os.environ.get(MEMORY_LIMIT)
    yield
    os.environ.pop(MEMORY_LIMIT, None)
    if before is not None:
        os.environ[MEMORY_LIMIT] = before


@pytest.fixture(autouse=True)
def no_test_changes_the_global_random_state() -> Iterator[None]:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    after = np.random.get_state()[1]  # noqa: NPY002
    assert np.array_equal(before, after), "something drew from or seeded NumPy's global generator"


@pytest.fixture
def double_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute the forms of `model/moments.py` in double precision, for tests of the algebra to the last digits.

    Next to such a test stands one in the precision of a training.
    """
    import tensorflow as tf

    from cde_app.model import moments

    monkeypatch.setattr(moments, "FORM_PRECISION", tf.float64)


@pytest.fixture
def project() -> Path:
    """The folder of the repository."""
    return PROJECT


@pytest.fixture
def cde(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `cde` in this process; a test that trains is skipped where TensorFlow is absent."""

    def run(*arguments: object) -> Outcome:
        skip_training_without_tensorflow(arguments)
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def cde_process() -> Callable[..., Outcome]:
    """Run `cde` in a process of its own; keyword arguments go to `subprocess.run`."""

    def run(*arguments: object, **options: Any) -> Outcome:
        skip_training_without_tensorflow(arguments)
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


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedTiny:
    """A run with a numeric and a categorical input and two targets, of 120 rows."""
    rng = np.random.default_rng(1)
    x, region = rng.uniform(-2, 2, 120), rng.choice(["north", "south"], 120)
    a = np.sin(x) + 0.5 * (region == "south") + rng.choice([-0.6, 0.6], 120) + 0.1 * rng.normal(size=120)
    b = np.exp(0.3 * x + 0.2 * rng.normal(size=120))
    rows = [f"{x[n]},{region[n]},{a[n]},{b[n]}" for n in range(120)]
    return train_once(tmp_path_factory, "tiny", TINY_CONFIG, ["x,region,a,b", *rows])


@pytest.fixture(scope="session")
def line_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedTiny:
    """A run with one numeric input, one target and validation rows, of 80 rows."""
    rng = np.random.default_rng(2)
    t = np.sort(rng.uniform(0, 10, 80))
    y = 50 + 10 * np.sin(t) + (1 + t) * rng.normal(size=80)
    return train_once(tmp_path_factory, "line", LINE_CONFIG, ["t,y", *(f"{t[n]},{y[n]}" for n in range(80))])


def train_once(factory: pytest.TempPathFactory, name: str, config: str, lines: list[str]) -> TrainedTiny:
    """Train a configuration on a table of its own; the workers of pytest-xdist share what the first of them trains."""
    folder = factory.getbasetemp().parent / name if IS_WORKER else factory.mktemp(name)
    folder.mkdir(exist_ok=True)
    tiny = TrainedTiny(folder / "run", folder / "config.yaml", folder / "table.csv")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # which ends with the process, however that ends
        if not (folder / "trained").exists():
            tiny.table.write_text("\n".join(lines) + "\n")
            tiny.config.write_text(config)
            train(tiny.config, "--out", tiny.run, "--quiet", "--overwrite")
            (folder / "trained").touch()
    return tiny


def skip_training_without_tensorflow(arguments: Sequence[object]) -> None:
    """Skip a test that trains where it cannot."""
    if ONLY_PREDICTS and arguments[:1] in (("train",), ("cv",), ("sweep",)):
        pytest.skip("trains, which needs TensorFlow")


def train(*arguments: object) -> None:
    """Run `cde train` in this process, or where TensorFlow is absent in the install that has it."""
    if ONLY_PREDICTS:
        whole_install("train", *arguments)
    else:
        assert main(["train", *(str(argument) for argument in arguments)]) == 0


def whole_install(*arguments: object) -> str:
    """Run `cde` of this tree in the install that can train, and return its standard output."""
    python = os.environ.get("CDE_WHOLE_INSTALL")
    if python is None:
        pytest.fail("set CDE_WHOLE_INSTALL to a Python that has everything, such as .venv/bin/python")
    command = [python, "-m", "cde_app", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_same_scores(ours: dict[str, Any], theirs: dict[str, Any], *, rounding: float) -> None:
    """Compare what `cde evaluate --json` prints: numbers up to rounding, relative or absolute, all else exactly."""
    ours, theirs = (dict(flatten(scores, into_lists=True)) for scores in (ours, theirs))
    numbers = [key for key, value in theirs.items() if isinstance(value, float)]
    assert ours.keys() == theirs.keys()
    assert [ours.pop(key) for key in numbers] == pytest.approx(
        [theirs.pop(key) for key in numbers], rel=rounding, abs=rounding
    )
    assert ours == theirs


def with_one(text: str, before: str, after: str) -> str:
    """Replace what occurs exactly once."""
    assert text.count(before) == 1, (before, text)
    return text.replace(before, after)
