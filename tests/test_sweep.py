"""A sweep: what it may vary, suggestions that depend on nothing but the seed and earlier results, and honest scores."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cde_app.cli import main
from cde_app.config_file import load_config
from cde_app.config_file.search import Dimension, search_space, with_values
from cde_app.errors import ConfigError, NumericalError
from cde_app.machine import packages
from cde_app.runs.run import Run
from cde_app.workflow.search import Search, Trial
from cde_app.workflow.sweep import for_trials, ranking
from cde_app.workflow.trials import Comparison, Course, PrunedError, TrialResult, validation_scores
from tests.conftest import PROJECT, needs_tensorflow

needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs Optuna")
Cde = Callable[..., Any]
CONFIG = """\
schema_version: 1
data: {path: table.csv, inputs: [t], targets: [{column: y, transform: {kind: identity}}]}
model: {layers: [], neighbours: {enabled: false}, output: {num_inducing: 8, num_inducing_latent: 6}}
training: {max_steps: 25, ensemble: 1, early_stopping: {every: 25}, warm_start: {max_steps: 5}}
predict: {num_components: 16}
sweep:
  batch: 2
  space:
    training.learning_rate: {low: 1e-3, high: 0.1, log: true}
    model.likelihood: {choices: [{kind: gaussian}, {kind: student_t}]}
"""


def write_sweep(folder: Path, space: str | None = None) -> Path:
    """Write a table and a configuration; `space` replaces what follows `sweep:`."""
    rng = np.random.default_rng(4)
    t = rng.uniform(0, 10, 40)
    y = 50 + 10 * np.sin(t) + (1 + t) * rng.normal(size=40)
    (folder / "table.csv").write_text("t,y\n" + "".join(f"{t[n]},{y[n]}\n" for n in range(40)))
    text = CONFIG if space is None else CONFIG.partition("sweep:")[0] + space
    (folder / "s.yaml").write_text(text)
    return folder / "s.yaml"


# --- the search space -----------------------------------------------------------------------------------------------


def faults_of(folder: Path, space: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        file = load_config(write_sweep(folder, space), overrides)
        with file.locating_faults():
            search_space(file.document, file.config)
    return [fault.removeprefix(f"{folder}/") for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (
            "{training.max_step: {low: 1, high: 3}}",
            ("s.yaml:7:11: training.max_step: unknown key; did you mean 'max_steps'?"),
        ),
        (
            "{training.max_steps: {low: 0, high: 3}}",
            (
                "s.yaml:7:37: training.max_steps: expected an integer >= 1 or 'auto'; got 0. Leave the key out "
                "for the default, 'auto'."
            ),
        ),
        (
            "{model.likelihood: {choices: [{kind: gaussian}, {kind: gausian}]}}",
            (
                "s.yaml:7:65: model.likelihood.kind: expected one of 'gaussian', 'heteroscedastic_gaussian', "
                "'student_t'; got 'gausian'. Did you mean 'gaussian'?"
            ),
        ),
        (
            "{training.learning_rate: {low: 0.1, high: 0.01}}",
            (
                "s.yaml:7:46: sweep.space.training.learning_rate.high: expected a number above low; got 0.01 and "
                "0.1. Exchange them."
            ),
        ),
        (
            "{training.learning_rate: {low: 0, high: 1, log: true}}",
            (
                "s.yaml:7:36: sweep.space.training.learning_rate.low: expected a number above 0, as the range is "
                "logarithmic; got 0. Raise it."
            ),
        ),
        (
            "{training.learning_rate: {low: 1, high: 2, log: true, step: 0.1}}",
            (
                "s.yaml:7:64: sweep.space.training.learning_rate.step: expected no step in a logarithmic range; "
                "got 0.1. Remove one of them."
            ),
        ),
        (
            "{training.learning_rate: {low: 1}}",
            (
                "s.yaml:7:11: sweep.space.training.learning_rate.high: expected low and high, or choices; got no "
                "value. Add it."
            ),
        ),
        (
            "{training.learning_rate: {low: 1, choices: [1, 2]}}",
            (
                "s.yaml:7:36: sweep.space.training.learning_rate.low: expected no low with choices, which are no "
                "range; got both. Remove one of them."
            ),
        ),
        (
            "{training.max_steps: {low: 10, high: 20, step: 0.5}}",
            (
                "s.yaml:7:57: sweep.space.training.max_steps.step: expected an integer, as the setting is one; "
                "got 0.5. Correct it."
            ),
        ),
        (
            "{}",
            ("s.yaml:7:3: sweep.space: expected at least one setting; got none. Add one."),
        ),
        (
            "{data.targets.1.rounding: {low: 0, high: 1}}",
            (
                "s.yaml:7:11: data.targets.1: expected an index below 1 (0 is the first); got '1'. Set "
                "data.targets as a whole, or correct the path"
            ),
        ),
    ],
)
def test_a_fault_of_the_space_is_found_before_anything_is_trained_with_its_position(
    tmp_path: Path, space: str, expected: str
) -> None:
    assert faults_of(tmp_path, f"sweep:\n  space: {space}\n") == [expected]


@pytest.mark.parametrize(
    "key", ["seed", "data.split.test", "data.path", "data.targets", "data.targets.0.column", "sweep"]
)
def test_what_decides_about_rows_and_targets_is_not_varied(tmp_path: Path, key: str) -> None:
    message = "expected a setting that leaves rows and targets as they are; got another. Remove it."
    space = f"sweep:\n  space: {{{key}: {{choices: [1, 2]}}}}\n"
    assert faults_of(tmp_path, space) == [f"s.yaml:7:11: sweep.space.{key}: {message}"]


def test_the_position_of_a_fault_is_that_of_the_value(tmp_path: Path) -> None:
    space = "sweep:\n  space:\n    training.max_steps:\n      low: 5\n      high: 1e400\n"
    assert faults_of(tmp_path, space)[0].startswith("s.yaml:10:13: sweep.space.training.max_steps.high: expected ")
    space = "sweep:\n  space:\n    training.max_steps:\n      low: 0\n      high: 9\n"
    assert faults_of(tmp_path, space)[0].startswith("s.yaml:9:12: training.max_steps: expected an integer >= 1")
    overridden = faults_of(tmp_path, space, "sweep.space={training.max_steps: {low: -1, high: 2}}")
    assert overridden[0].startswith("--set sweep.space={training.max_steps: {low: -1, high: 2}}: training.max_steps: ")


def test_without_a_space_the_line_says_what_to_add(tmp_path: Path) -> None:
    assert faults_of(tmp_path, "")[0].startswith("s.yaml:1:1: sweep: missing key; expected the settings that a sweep ")


def test_a_range_is_of_integers_if_the_setting_is_and_ends_at_a_step(tmp_path: Path) -> None:
    text = (
        "sweep:\n  space:\n    training.max_steps: {low: 10, high: 25, step: 10}\n"
        "    training.learning_rate: {low: 1, high: 2}\n    training.ensemble: {choices: [auto, 2]}\n"
    )
    file = load_config(write_sweep(tmp_path, text))
    steps, rate, ensemble = search_space(file.document, file.config)[0]
    assert steps == Dimension("training.max_steps", low=10, high=20, step=10, is_integer=True)
    assert rate == Dimension("training.learning_rate", low=1, high=2)
    assert ensemble == Dimension("training.ensemble", choices=("auto", 2))
    found = with_values(file.document, file.config, {"training.max_steps": 20, "training.ensemble": 1})
    assert (found.training.max_steps, found.training.ensemble, found.sweep) == (20, 2, None)
    assert found.data.path == str(tmp_path / "table.csv")


def test_values_that_do_not_go_together_are_a_fault_of_the_trial(tmp_path: Path) -> None:
    text = (
        "sweep:\n  space:\n    model.latent.encoder: {choices: [{kind: mlp}, {kind: per_row}]}\n"
        "    training.batch_size: {choices: [full, 16]}\n"
    )
    file = load_config(write_sweep(tmp_path, text), ["training.batch_size=full"])
    search_space(file.document, file.config)
    found = with_values(file.document, file.config, {"model.latent.encoder": 0, "training.batch_size": 1})
    assert (found.model.latent.encoder.kind, found.training.batch_size) == ("mlp", 16)
    assert file.config.training.batch_size == "full", "the original is not changed"
    with pytest.raises(
        ConfigError, match="training.batch_size: expected 'full', as model.latent.encoder 'per_row' has"
    ):
        with_values(file.document, file.config, {"model.latent.encoder": 1, "training.batch_size": 1})


# --- suggestions ----------------------------------------------------------------------------------------------------

SPACE = (Dimension("a", low=0.0, high=1.0), Dimension("b", low=1, high=64, log=True, is_integer=True))
SPACE += (Dimension("c", choices=("x", {"kind": "y"})),)


def judge(trial: Trial) -> TrialResult | Exception:
    """Score a trial by a known function."""
    if trial.number == 3:
        return NumericalError("it exploded")
    score = (trial.values["a"] - 0.3) ** 2 + 0.1 * np.log(trial.values["b"]) + trial.values["c"]
    course = Course({25: score + 1, 50: score}, {})
    scores = {"nlpd": {"value": score, "se": 0.1}, "crps": {"value": -score, "se": 0.2}}
    return TrialResult(course, scores)


def run_search(journal: Path, *, stops: Sequence[int], reverse: bool = False, seed: int = 0) -> list[Trial]:
    """Run a search in several commands, each of which ends after some trials."""
    for num_trials in stops:
        search = Search(journal, SPACE, metric="nlpd", seed=seed, batch=4)
        while (batch := search.next_batch(num_trials)[0]) != []:
            for trial in reversed(batch) if reverse else batch:
                search.tell(trial, judge(trial))
    return Search(journal, SPACE, metric="nlpd", seed=seed, batch=4).trials[: stops[-1]]


@needs_optuna
def test_suggestions_depend_on_the_seed_and_on_earlier_batches_only(tmp_path: Path) -> None:
    expected = run_search(tmp_path / "one", stops=[18])
    assert [trial.state for trial in expected].count("complete") == 17
    assert run_search(tmp_path / "two", stops=[18], reverse=True) == expected, "whatever ends first"
    assert run_search(tmp_path / "three", stops=[1, 5, 6, 13, 18]) == expected, "whatever the interruptions"
    other = run_search(tmp_path / "four", stops=[18], seed=1)
    assert [trial.values for trial in other] != [trial.values for trial in expected], "the control"
    assert all(0 <= trial.values["a"] <= 1 and isinstance(trial.values["b"], int) for trial in expected)
    assert (expected[3].state, expected[3].error, expected[3].name) == ("failed", "it exploded", "trial-004")


@needs_optuna
def test_later_suggestions_are_better_than_random_ones(tmp_path: Path) -> None:
    """The mean score of the last 8 of 40 trials is below that of the first 8, which are random."""
    trials = [trial for trial in run_search(tmp_path / "one", stops=[40]) if trial.scores]
    scores = [trial.scores["nlpd"]["value"] for trial in trials if trial.scores]
    assert np.mean(scores[-8:]) < np.mean(scores[:8])


@needs_optuna
def test_the_best_trial_is_first_and_scores_that_are_not_finite_are_failures(tmp_path: Path) -> None:
    search = Search(tmp_path / "journal", SPACE, metric="crps", seed=0, batch=3)
    results = [
        TrialResult(Course(), {"nlpd": {"value": 1.0, "se": None}, "crps": {"value": None, "se": None}}),
        TrialResult(Course({25: 3.0}, {}, is_complete=False), None),
        TrialResult(Course(), {"nlpd": {"value": 9.0, "se": None}, "crps": {"value": 2.0, "se": None}}),
    ]
    for trial, result in zip(search.next_batch(3)[0], results, strict=True):
        search.tell(trial, result)
    ranked = ranking(search.trials, "crps")
    assert [(trial.number, trial.state) for trial in ranked] == [(2, "complete"), (1, "pruned"), (0, "failed")]
    assert ranked[2].error == "the crps of the validation rows is not finite"
    assert ranked[1].course.values == {25: 3.0}


@needs_optuna
@pytest.mark.parametrize("pruner", ["median", "successive_halving"])
def test_a_trial_that_is_worse_than_the_earlier_ones_is_ended_early(pruner: str) -> None:
    earlier: tuple[Course, ...] = ()
    for level in (1.0, 1.1, 1.2, 1.3, 1.4):
        comparison = Comparison(pruner, (), every=25)
        comparison.tell(25, level)
        comparison.tell(100, level)
        earlier += (Course(comparison.values, comparison.rungs),)
    good = Comparison(pruner, earlier, every=25)
    good.tell(25, 0.9)
    good.tell(100, 0.9)
    bad = Comparison(pruner, earlier, every=25)
    with pytest.raises(PrunedError):
        bad.tell(25, 2.0)
    assert bad.values == {25: 2.0}
    untouched = Comparison("none", earlier, every=25)
    untouched.tell(25, 2.0)
    if pruner == "median":  # too few to tell
        Comparison(pruner, earlier[:3], every=25).tell(25, 2.0)


# --- a sweep --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_tensorflow
@needs_optuna
def test_a_sweep_trains_its_trials_goes_on_and_writes_the_best_settings(tmp_path: Path, cde: Cde) -> None:
    path, out = write_sweep(tmp_path), tmp_path / "out"
    command = ["sweep", path, "--out", out, "--executor", "serial"]
    assert cde(*command, "--trials", 1).code == 0
    first = (out / "trial-001/manifest.json").stat().st_mtime_ns
    done = cde(*command, "--trials", 2)
    assert done.code == 0
    assert "[trials] 1 of 2 are done" in done.err
    assert "note: the best score is optimistic, as the settings were chosen by it." in done.out
    assert (out / "trial-001/manifest.json").stat().st_mtime_ns == first
    result = json.loads((out / "sweep.json").read_text())
    assert result["rows"] == {"train": 28, "validation": 8, "test": 4}
    scores = [trial["score"]["value"] for trial in result["trials"]]
    assert scores == sorted(scores)
    best = result["best"]
    run = Run.open(out / best["run"])
    assert validation_scores(run)["nlpd"] == best["score"]
    assert run.read_json("metrics.json") == {"num_rows": 0}, "no test row was scored"
    assert cde("evaluate", out / best["run"], "--json").code == 0, "which anyone may do later"
    written, base = load_config(out / "best.yaml").config, load_config(path).config
    stored = yaml.safe_load(run.read_bytes("config.yaml"))
    assert written.training.learning_rate == best["settings"]["training.learning_rate"]
    assert written.model.likelihood.kind == best["settings"]["model.likelihood"]["kind"]
    assert (written.data, written.sweep) == (base.data, None)
    assert (stored["data"]["split"]["validation"], stored["sweep"]) == (0.2, None)
    other = cde(*command, "--trials", 2, "--set", "sweep.batch=3")
    assert other.code == 6
    assert "expected the settings that it was begun with; got sweep.batch 3, which was 2." in other.err
    assert (
        cde("cv", path, "--folds", 2, "--out", out)
        .err.splitlines()[-1]
        .endswith("out holds a sweep; choose another --out.")
    )
    shutil.rmtree(out / "plots")
    assert cde(*command, "--trials", 2, "--json", "--quiet").code == 0
    assert (out / "plots/trials.png").exists()


def test_the_rows_that_score_the_trials_are_none_that_test(tmp_path: Path) -> None:
    config = load_config(write_sweep(tmp_path)).config
    assert config.sweep is not None
    trial = for_trials(config, config.sweep)
    assert trial.data.split.model_dump() == {"kind": "random", "validation": 0.2, "test": 0.1}
    own = load_config(write_sweep(tmp_path), ["data.split.validation=0.3"]).config
    assert for_trials(own, config.sweep).data == own.data


@needs_tensorflow
@needs_optuna
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--trials", "0"], 2, "--trials: expected at least 1; got 0. Write for example --trials 20."),
        (["--set", "sweep=null"], 2, "sweep: missing key; expected the settings that a sweep varies."),
        (
            ["--set", "data.split.validation=0"],
            2,
            "data.split.validation: expected validation rows, which score the trials; got none. Add some.",
        ),
        (["--set", "data.path='-'"], 2, "data.path: expected a file, as every trial reads it; got standard input."),
        (["--set", "data.targets.0=z"], 3, "no column 'z'"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, cde: Cde, options: list[str], code: int, message: str
) -> None:
    trials = [] if "--trials" in options else ["--trials", "2"]
    found = cde("sweep", write_sweep(tmp_path), "--out", tmp_path / "out", "--quiet", *trials, *options)
    assert (found.code, len(found.err.splitlines())) == (code, 1)
    assert message in found.err
    assert not (tmp_path / "out").exists()


@needs_tensorflow
def test_without_optuna_a_sweep_says_what_to_install(tmp_path: Path, cde: Cde, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "optuna" else object())
    found = cde("sweep", write_sweep(tmp_path), "--trials", 2, "--out", tmp_path / "out")
    assert (found.code, found.err.splitlines()[-1]) == (
        2,
        "error: sweep: expected Optuna to be installed; got no 'optuna'. Install it with: pip install 'cde-app[sweep]'",
    )


def sweep_motorcycle(out: Path, executor: str) -> dict[str, Any]:
    """Sweep in ten trials of few steps, and return the result."""
    space = "{training.learning_rate: {low: 1e-4, high: 0.3, log: true}, model.output.num_inducing: {low: 4, high: 32}}"
    settings = ("training.max_steps=100", "training.ensemble=1", "training.early_stopping.every=25")
    command = ["sweep", str(PROJECT / "configs/motorcycle.yaml"), "--trials", "10", "--quiet", "--executor", executor]
    for setting in (*settings, f"sweep={{batch: 5, space: {space}}}"):
        command += ["--set", setting]
    assert main([*command, "--out", str(out)]) == 0
    return dict(json.loads((out / "sweep.json").read_text()))


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep in this process."""
    out = tmp_path_factory.mktemp("sweep") / "serial"
    sweep_motorcycle(out, "serial")
    return out


@pytest.mark.slow
@needs_tensorflow
@needs_optuna
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_every_executor_gives_the_same_scores(executor: str, serial: Path, tmp_path: Path) -> None:
    if executor == "dask":
        pytest.importorskip("distributed")
    found = sweep_motorcycle(tmp_path / "out", executor)
    assert found == json.loads((serial / "sweep.json").read_text())
    assert (tmp_path / "out/best.yaml").read_bytes() == (serial / "best.yaml").read_bytes()
    assert "pruned" in [trial["state"] for trial in found["trials"]]


@pytest.mark.slow
@needs_tensorflow
@needs_optuna
def test_the_best_configuration_is_trained_as_it_is(serial: Path, cde: Cde, tmp_path: Path) -> None:
    assert cde("train", serial / "best.yaml", "--out", tmp_path / "best", "--quiet").code == 0
