"""The command line as its users meet it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cde_app import __version__
from cde_app.cli.app import app
from cde_app.cli.configuration import _expand

COMMANDS = ["init", "check", "train", "predict", "batch", "evaluate", "diagnose", "explain", "drift", "cv", "sweep"]
COMMANDS += ["plot", "report", "explore", "info", "compare", "verify", "simulate", "selftest", "doctor"]
CONFIG = "schema_version: 1\ndata: {path: rows.csv, inputs: [x], targets: [y], predict: [new.csv, sub/more.csv]}\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in the current folder, which holds nothing else."""
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)
    return Path("a.yaml")


def test_the_version_is_printed(cde: Callable) -> None:
    outcome = cde("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"cde {__version__}\n", "")


def test_help_lists_every_command(cde: Callable) -> None:
    outcome = cde("--help")
    assert outcome.code == 0
    assert all(f"\n  {name} " in outcome.out for name in [*COMMANDS, "config"])
    assert "..." not in outcome.out.partition("Commands:")[2]


@pytest.mark.parametrize("command", [*COMMANDS, "config schema", "config show", "config depends"])
def test_every_command_has_help_with_an_example_and_the_shared_options(cde: Callable, command: str) -> None:
    outcome = cde(*command.split(), "--help")
    assert outcome.code == 0
    assert f"Example: cde {command}" in " ".join(outcome.out.split())
    assert all(option in outcome.out for option in ("--json", "--quiet / --verbose"))


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def in_bash(tmp_path: Path, option: str) -> subprocess.CompletedProcess[str]:
    """Run `cde OPTION` as a child of bash, with a home folder of its own; cde finds the shell that started it."""
    return subprocess.run(
        ["bash", "-c", '"$0" -m cde_app "$1"; exit $?', sys.executable, option],
        env=os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@needs_bash
def test_the_completion_of_the_shell_is_shown(tmp_path: Path) -> None:
    done = in_bash(tmp_path, "--show-completion")
    assert (done.returncode, done.stderr) == (0, "")
    assert "_CDE_COMPLETE=complete_bash" in done.stdout
    assert done.stdout.splitlines()[-1] == "complete -o default -F _cde_completion cde"


@needs_bash
def test_the_completion_is_installed_for_the_shell(tmp_path: Path) -> None:
    done = in_bash(tmp_path, "--install-completion")
    assert (done.returncode, done.stderr) == (0, "")
    assert "bash completion installed in" in done.stdout
    assert "cde" in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize(
    ("words", "found"), [("cde pre", ["predict"]), ("cde predict --q", ["--quantiles", "--quiet"])]
)
def test_commands_and_options_are_completed(words: str, found: list[str], cde_process: Callable) -> None:
    last = str(len(words.split()) - 1)
    completing = {"_CDE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": last}
    outcome = cde_process(env=os.environ | completing)
    assert (outcome.code, outcome.out.split(), outcome.err) == (0, found, "")


def test_every_command_is_registered_with_an_example() -> None:
    assert {info.callback.__name__ for info in app.registered_commands if info.callback} == set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["trian"], "cde: no such command 'trian'. Did you mean 'train'? See `cde --help`."),
        (["train"], "cde train: missing argument 'CONFIG'. See `cde train --help`."),
        (["init", "a.csv"], "cde init: missing option '--target'. See `cde init --help`."),
        (["config", "show"], "cde config show: missing argument 'CONFIG'. See `cde config show --help`."),
        (["compare"], "cde compare: missing argument 'RUN...'. See `cde compare --help`."),
        (["train", "a.yaml", "--owt", "x"], "cde train: no such option: --owt"),
        (["predict", "runs/a", "a.csv"], "cde predict: missing option '--out'. See `cde predict --help`."),
        (["predict", "runs/a", "a.csv", "--out"], "cde: option '--out' requires an argument."),
        (["predict", "runs/a", "a.csv", "--out", "b", "c"], "cde predict: got unexpected extra argument"),
        (["predict", "runs/a", "a.csv", "--out", "b", "--samples", "-1"], "cde predict: invalid value for '--samples'"),
        (["predict", "runs/a", "a.csv", "--out", "b", "--format", "xlsx"], "cde predict: invalid value for '--format'"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_exits_with_2(cde: Callable, arguments: list[str], text: str) -> None:
    outcome = cde(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"error: {text}")
    assert line.endswith("--help`.")


@pytest.mark.parametrize("arguments", [[], ["config"]])
def test_no_command_at_all_shows_the_help(cde: Callable, arguments: list[str]) -> None:
    outcome = cde(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert "\nCommands:\n" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["predict", "runs/a", "a.csv", "--out", "b", "--quantiles", "0.1,x,1.5"],
            "--quantiles: expected numbers between 0 and 1, separated by commas; got 'x'.",
        ),
        (["evaluate", "runs/a", "--gate", "nlpd"], "--gate: expected KEY>NUMBER, with >, >=, < or <=; got 'nlpd'."),
        (["train", "-"], "--out: expected a run directory when CONFIG is standard input; got nothing."),
        (
            ["train", "a.yaml", "--resume", "--overwrite"],
            "--resume and --overwrite: expected one of them; got both. Resume keeps, overwrite replaces.",
        ),
    ],
)
def test_a_wrong_value_is_told_before_anything_is_read(cde: Callable, arguments: list[str], line: str) -> None:
    outcome = cde(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {line}\n")


def test_a_missing_configuration_is_one_line(cde: Callable) -> None:
    outcome = cde("train", "missing.yaml")
    assert outcome.code == 2
    assert outcome.err.startswith("error: missing.yaml: ")
    assert outcome.err.count("\n") == 1


def test_the_resolved_configuration_can_be_read_again(cde: Callable, config: Path) -> None:
    shown = cde("config", "show", config, "--set", "seed=7", "--set", "training.learning_rate=1e-3")
    assert shown.code == 0
    Path("again.yaml").write_text(shown.out)
    assert cde("config", "show", "again.yaml").out == shown.out
    resolved = json.loads(cde("config", "show", "again.yaml", "--json").out)
    assert (resolved["seed"], resolved["training"]["learning_rate"]) == (7, 0.001)


def test_a_configuration_from_standard_input_is_read(cde_process: Callable, tmp_path: Path) -> None:
    outcome = cde_process("config", "show", "-", input=CONFIG, cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert "schema_version: 1" in outcome.out


def test_the_schema_is_json(cde: Callable) -> None:
    assert "properties" in json.loads(cde("config", "schema").out)


def test_what_a_configuration_depends_on_is_one_line_per_file(cde: Callable, config: Path) -> None:
    outcome = cde("config", "depends", config)
    assert outcome.out == "data\trows.csv\npredict\tnew.csv\npredict\tsub/more.csv\n"
    assert json.loads(cde("config", "depends", config, "--json").out)[0] == {"kind": "data", "path": "rows.csv"}


def test_a_glob_depends_on_its_files_and_on_the_folder_in_which_new_ones_appear(tmp_path: Path, config: Path) -> None:
    (tmp_path / "parts").mkdir()
    for name in ("b.csv", "a.csv"):
        (tmp_path / "parts" / name).touch()
    rows = _expand("data", (f"{tmp_path}/parts/*.csv", "-"))
    assert rows == [("folder", "parts"), ("data", "parts/a.csv"), ("data", "parts/b.csv")]


def test_doctor_names_the_packages_and_their_versions(cde: Callable) -> None:
    outcome = cde("doctor", "--json")
    assert outcome.code == 0
    result = json.loads(outcome.out)
    assert set(result["packages"]) >= {"tensorflow", "gpflow", "gpflux", "numpy"}
    assert result["cpus"] >= 1
    assert "packages.gpflux" in cde("doctor").out


def test_doctor_prints_no_more_in_quiet_and_no_less_in_verbose(cde: Callable) -> None:
    assert cde("doctor", "--quiet").out == cde("doctor", "--verbose").out


def test_names_that_the_terminal_cannot_show_are_no_error(cde_process: Callable, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    (tmp_path / "a.yaml").write_text(CONFIG.replace("[x]", "[größe]"), encoding="utf-8")
    outcome = cde_process("config", "show", "a.yaml", "--json", cwd=tmp_path, env=environment)
    assert outcome.code == 0, outcome.err
    assert "gr\\xf6\\xdfe" in outcome.out


def test_what_an_override_leaves_out_of_the_file_is_noted_on_standard_error(cde: Callable, tmp_path: Path) -> None:
    table, config = tmp_path / "t.csv", tmp_path / "c.yaml"
    table.write_text("x,y\n" + "".join(f"{n % 7},{n * n}\n" for n in range(30)))
    assert cde("init", table, "--target", "y", "-o", config).code == 0
    change = ("--set", "model.latent.compositor.kind=concatenate")
    note = (
        "note: --set model.latent.compositor.kind=concatenate: model.latent.compositor: 'num_steps' is "
        "left out, as kind 'concatenate' does not take it.\n"
    )
    for command in (["config", "show"], ["config", "depends"], ["check"]):
        outcome = cde(*command, config, *change)
        assert (outcome.code, outcome.err) == (0, note)
        assert cde(*command, config, *change, "--quiet").err == ""
