"""The import direction, the owners of third-party libraries, and what each command loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import needs_tensorflow

PACKAGE = Path(__file__).parent.parent / "cde_app"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Which parts of cde a part may import. A module of its own, such as data.check, may be named too.
FOUNDATION = {"arrays", "errors", "numerals", "words", "encoder_spec", "config", "plan", "trees", "machine"}
MAY_IMPORT: dict[str, set[str]] = {
    "arrays": set(),
    "standardised": {"arrays"},
    "errors": set(),
    "numerals": set(),
    "words": set(),
    "encoder_spec": set(),
    "progress": set(),
    "config": {"errors", "machine.standard_input", "numerals", "words"},
    "simulators": {"arrays"},
    "plan": {"config"},
    "trees": {"arrays"},
    "machine": {"arrays", "errors"},
    "execution": {"errors", "machine", "__version__"},
    "runs": {"arrays", "config", "errors", "machine", "trees", "words", "__version__"},
    "targets": FOUNDATION,
    "gp": FOUNDATION,
    "data": FOUNDATION | {"targets"},
    "predictive": FOUNDATION | {"targets", "gp"},
    "predictive.forecast": FOUNDATION | {"targets", "predictive", "report.densities"},  # `Forecast.plot`, when called
    "evaluation": FOUNDATION | {"standardised", "targets", "gp", "predictive"},
    "explanation": FOUNDATION | {"standardised", "targets", "predictive"},
    "report": FOUNDATION | {"targets", "predictive", "evaluation", "explanation"},
    "model": FOUNDATION | {"gp"},
    "training": FOUNDATION | {"execution.executor", "progress", "targets", "gp", "predictive", "model"},
    "training.recalibration": FOUNDATION | {"predictive", "evaluation.scores", "evaluation.verdict"},  # is it a gain?
    "stored_model": FOUNDATION | {"runs", "data"},
    "trained_model": FOUNDATION
    | {"runs", "stored_model", "targets", "data", "predictive", "evaluation", "explanation"},
    "workflow": FOUNDATION
    | {"execution", "progress", "runs", "targets", "data", "predictive", "evaluation", "explanation", "report"}
    | {"stored_model", "trained_model", "training", "simulators"},
    "cli": FOUNDATION
    | {"execution.choose", "explanation.sizes", "progress", "runs", "data.check", "data.cost", "workflow"}
    | {"__version__"},
    "__main__": {"cli"},
    "library": {
        "config",
        "encoder_spec",
        "errors",
        "execution.choose",
        "progress",
        "runs",
        "trained_model",
        "workflow",
    },
    "sklearn": {"arrays", "data.frame", "library", "predictive.forecast", "progress", "words"},
    "skpro": {"arrays", "predictive", "progress", "sklearn", "targets"},
    "__init__": {"encoder_spec", "library", "trained_model", "predictive.forecast"},
}
OWNERS: dict[str, set[str]] = {
    "tensorflow": {"model", "training"},
    "tensorflow_probability": {"model", "training"},
    "tf_keras": {"model", "training"},
    "gpflow": {"model", "training"},
    "gpflux": {"model", "training"},
    "check_shapes": {"model", "training"},
    "dask": {"execution"},
    "distributed": {"execution"},
    "optuna": {"workflow"},
    "threadpoolctl": {"machine"},
    "sklearn": {"sklearn"},
    "skpro": {"skpro"},
    "pandas": {"data", "skpro", "predictive.forecast"},  # `Forecast.to_frame`, when called
    "pyarrow": {"data"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "typer": {"cli"},
    "rich": {"cli"},
    "yaml": {"config"},
    "pydantic": {"config"},
}
HEAVY = set(OWNERS) - {"typer"} | {"numpy", "scipy"}
TENSORFLOW = {name for name, owners in OWNERS.items() if "model" in owners} | {"keras"}


def part_of(module: str) -> str:
    """Return the part of cde to which `cde_app.<module>` belongs; reading and writing it belongs to config."""
    first = module.split(".")[0]
    return "config" if first == "config_file" else first


def imports_of(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Yield (dotted name, for types only) of every import in a module, those inside functions included."""
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((f"{base}.{alias.name}", id(node) in for_types) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            name = node.args[0]
            yield (name.value if isinstance(name, ast.Constant) else "<computed>"), False


def faults_of(module: str, source: str) -> list[str]:
    """List the imports of `cde_app.<module>` that the tables above do not allow."""
    part, faults = part_of(module), []
    owners = {part, module}
    for name, for_types in imports_of(ast.parse(source)):
        top, _, rest = name.partition(".")
        if top == "cde_app":
            target = part_of(rest)
            allowed = MAY_IMPORT.get(module, MAY_IMPORT[part]) | {part}
            if target not in allowed and not any(rest == one or rest.startswith(one + ".") for one in allowed):
                faults.append(f"cde_app.{module} imports {name}")
        elif not for_types and not owners & OWNERS.get(top, owners):
            faults.append(f"cde_app.{module} imports {name}")
    return faults


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_what_its_part_may_import(path: Path) -> None:
    module = module_name(path)
    assert part_of(module) in MAY_IMPORT, f"add {part_of(module)!r} to MAY_IMPORT"
    assert faults_of(module, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data.table", "from cde_app.model import build"),
        ("data.table", "from cde_app import workflow"),
        ("predictive.mixture", "from cde_app.data.table import read_table"),
        ("predictive.mixture", "def f():\n    import tensorflow as tf"),
        ("evaluation.scores", "from gpflow.keras import tf_keras"),
        ("workflow", "import pandas as pd"),
        ("workflow", "import cde_app.cli"),
        ("report.html", "import importlib\nimportlib.import_module('rich.table')"),
    ],
)
def test_the_check_itself_finds_a_forbidden_import(module: str, source: str) -> None:
    assert len(faults_of(module, source)) == 1


def test_an_import_for_types_alone_loads_nothing_and_is_allowed() -> None:
    assert faults_of("workflow", "if TYPE_CHECKING:\n    import pandas as pd") == []


def test_no_module_lets_numpy_read_a_pickle() -> None:
    assert [path for path in MODULES if "allow_pickle=True" in path.read_text(encoding="utf-8")] == []


def test_no_module_is_named_after_nothing() -> None:
    assert {path.stem for path in MODULES}.isdisjoint({"utils", "helpers", "common", "base", "misc"})


def test_predictions_load_nothing_of_scipy_that_takes_long() -> None:
    heavy = {"scipy.stats", "scipy.optimize", "scipy.spatial", "scipy.linalg", "matplotlib"}
    assert loaded_by("cde_app.workflow.predict") & heavy == set()
    assert loaded_by(*heavy, "cde_app.workflow.predict") >= heavy, "the control"


@pytest.mark.parametrize(
    "module", ["training.warm_start", "training.collapsed_bound", "training.gp_start", "gp.kernels"]
)
def test_the_warm_start_needs_no_tensorflow(module: str) -> None:
    loaded = loaded_by(f"cde_app.{module}")
    assert loaded & TENSORFLOW == set()
    assert "numpy" in loaded


@needs_tensorflow
def test_the_check_itself_finds_tensorflow() -> None:
    assert loaded_by("cde_app.training.export") & TENSORFLOW >= {"tensorflow", "gpflow", "gpflux"}


def loaded_by(*modules: str) -> set[str]:
    """Return the names of all modules that a process has when it has imported some."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(result.stdout.split())


COMMANDS = ["init", "check", "train", "predict", "batch", "evaluate", "diagnose", "explain", "drift", "cv", "sweep"]
COMMANDS += ["plot", "report", "explore", "info", "compare", "verify", "simulate", "selftest", "doctor"]
COMMANDS += ["config"]


def test_help_loads_no_heavy_library(modules_after: Callable[..., set[str]]) -> None:
    assert modules_after(["--help"], ["--version"]) & HEAVY == set()


def test_the_help_of_a_command_loads_only_the_pydantic_that_typer_reads_parameters_with(
    modules_after: Callable[..., set[str]],
) -> None:
    loaded = modules_after(*([name, "--help"] for name in COMMANDS), ["config", "show", "--help"])
    assert loaded & (HEAVY - {"pydantic"}) == set()


def test_completing_a_command_line_loads_no_heavy_library() -> None:
    code = (
        "import atexit, os, sys\n"
        "os.environ.update(_CDE_COMPLETE='complete_bash', COMP_WORDS='cde predict --', COMP_CWORD='2')\n"
        "atexit.register(lambda: print(*sys.modules))\n"
        "from cde_app.cli import main\n"
        "sys.exit(main([]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    *found, modules = done.stdout.splitlines()
    assert "--plots" in found
    assert set(modules.split()) & (HEAVY - {"pydantic"}) == set()


def test_doctor_reads_versions_without_importing_the_packages(modules_after: Callable[..., set[str]]) -> None:
    assert modules_after(["doctor"]) & (HEAVY - {"pydantic"}) == set()


def test_looking_at_a_configuration_needs_no_array_library(
    modules_after: Callable[..., set[str]], project: Path
) -> None:
    config = str(project / "configs/motorcycle.yaml")
    loaded = modules_after(["config", "schema"], ["config", "show", config], ["config", "depends", config])
    assert loaded & (HEAVY - {"pydantic", "yaml"}) == set()


def test_init_and_check_never_import_tensorflow(modules_after: Callable[..., set[str]], project: Path) -> None:
    table, config = str(project / "data/motorcycle.csv"), str(project / "configs/motorcycle.yaml")
    assert modules_after(["init", table, "--target", "accel"], ["check", config]) & TENSORFLOW == set()


def test_commands_on_a_run_never_import_tensorflow(modules_after: Callable[..., set[str]], tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    commands = [[name, missing, "data.csv", "--out", str(tmp_path / "out")] for name in ("predict", "batch")]
    commands += [["explain", missing, "--out", str(tmp_path / "out")]]
    commands += [["drift", missing, "data.csv"]]
    commands += [[name, missing] for name in ("evaluate", "diagnose", "plot", "report", "explore", "info", "compare")]
    assert modules_after(*commands, codes={6}) & TENSORFLOW == set()
