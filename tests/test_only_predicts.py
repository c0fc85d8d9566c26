"""An install without TensorFlow: what it refuses, and that its predictions are those of the whole install."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cde_app.errors import InstallError
from cde_app.machine.packages import FOR_TRAINING, missing_for_training, require_training
from tests.conftest import ONLY_PREDICTS, assert_same_scores, whole_install

LINE = (
    "training: expected TensorFlow and GPflux to be installed; got no 'tensorflow', 'tensorflow-probability', "
    "'tf-keras', 'gpflow', 'gpflux'. This install only predicts: train where `pip install cde-app` has installed "
    "everything (Python 3.11 or 3.12)."
)
CONFIG = "schema_version: 1\ndata: {path: no_such_table.csv, inputs: [x], targets: [y]}\n"
WITHOUT_TENSORFLOW = (
    "import sys\n"
    f"sys.modules.update(dict.fromkeys({[name.replace('-', '_') for name in FOR_TRAINING]}))\n"  # None: not found
)
ROUNDING = 1e-10
"""Relative to the largest value of a column: another version of NumPy rounds otherwise. Measured: 2e-13 at most."""


def without_tensorflow(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a process that finds none of the packages that only trainings need."""
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW + code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def cde_without_tensorflow(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return without_tensorflow("from cde_app.cli import main\nsys.exit(main(sys.argv[1:]))", *arguments, folder=folder)


@pytest.mark.parametrize("options", [(), ("--overwrite",), ("--resume",)])
def test_training_says_in_one_line_what_is_missing_before_it_reads_or_writes(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    done = cde_without_tensorflow("train", "config.yaml", "--out", "run", *options, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {LINE}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_training_from_python_raises_the_same_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    code = (
        "import cde_app\n"
        "try:\n"
        "    cde_app.train('config.yaml', out='run')\n"
        "except cde_app.errors.CdeError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = without_tensorflow(code, folder=tmp_path)
    assert done.stdout == f"InstallError {LINE}\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_the_line_names_only_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOR_TRAINING:
        monkeypatch.setitem(sys.modules, name.replace("-", "_"), sys)  # found, as sys has a spec
    require_training()
    monkeypatch.setitem(sys.modules, "gpflux", None)
    assert missing_for_training() == ["gpflux"]
    with pytest.raises(InstallError, match=r"got no 'gpflux'\. This install only predicts"):
        require_training()


def test_doctor_says_that_training_is_not_installed_which_is_no_error(tmp_path: Path) -> None:
    done = cde_without_tensorflow("doctor", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^training +not installed; this install only predicts$", done.stdout, re.MULTILINE)


def test_doctor_names_other_packages_that_are_missing(cde: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["no-such-package>=2"])
    outcome = cde("doctor", "--quiet")
    assert outcome.code == 2
    assert outcome.err == ("error: package 'no-such-package': expected to be installed; got nothing. Install it.\n")


def test_the_lock_of_the_prediction_side_has_every_dependency_but_those_of_training(project: Path) -> None:
    lines = (project / "requirements-predict.lock").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in lines)
    locked = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    dependencies = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    named = {re.match(r"[a-z0-9-]+", dependency)[0] for dependency in dependencies}  # type: ignore[index]
    assert set(FOR_TRAINING) < named
    assert named - set(FOR_TRAINING) <= locked
    assert locked.isdisjoint({*FOR_TRAINING, "keras", "pytest", "hypothesis", "setuptools"})


# --- the numbers, where a second install has TensorFlow -----------------------------------------------------------


@pytest.mark.skipif(not ONLY_PREDICTS, reason="compares with another install; `make test-predict` has both")
@pytest.mark.parametrize("name", ["tiny_run", "line_run"])
def test_both_installs_give_the_same_numbers(
    name: str, request: pytest.FixtureRequest, cde: Callable[..., Any], tmp_path: Path
) -> None:
    trained = request.getfixturevalue(name)
    for file in ("summary.csv", "samples.csv"):
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        if not ours.exists():
            command = ("predict", trained.run, trained.table, "--quiet", "--out")
            assert cde(*command, ours).code == 0
            whole_install(*command, theirs)
        assert_same_table(pd.read_csv(ours / file), pd.read_csv(theirs / file))
    command = ("evaluate", trained.run, "--json")
    assert_same_scores(json.loads(cde(*command).out), json.loads(whole_install(*command)), rounding=ROUNDING)
    pages = []
    for whose, install in (("ours", cde), ("theirs", whole_install)):
        shutil.copytree(trained.run, tmp_path / whose / "of/run")
        install("report", tmp_path / whose / "of/run", "--quiet")
        pages.append((tmp_path / whose / "of/run/report.html").read_text())
    (our_page, our_data), (their_page, their_data) = map(page_and_data, pages)
    assert our_page == their_page
    assert_same_scores(our_data, their_data, rounding=ROUNDING)


def page_and_data(page: str) -> tuple[str, dict[str, Any]]:
    """A report without the data of its explorer, and these without the emulator, whose coefficients rounding decides.

    The directions of inputs that hardly differ are those of rounding errors. What the emulator is good for is how far
    its probabilities are from the model's, which the page states; that is below a quarter of a percentage point.
    """
    found = re.search(r'(?<=id="explorer-data">).*?(?=</script>)', page, re.DOTALL)
    assert found
    data = json.loads(found[0])
    del data["emulator"]
    errors = data.pop("error")
    assert all(errors[part] < 0.0025 for part in ("half", "most", "largest"))
    return page[: found.start()] + page[found.end() :], data


def assert_same_table(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    assert list(ours.columns) == list(theirs.columns)
    for column in ours:
        if ours[column].dtype == float:
            scale = np.abs(theirs[column]).max()
            np.testing.assert_allclose(ours[column], theirs[column], rtol=ROUNDING, atol=ROUNDING * scale)
        else:
            assert ours[column].equals(theirs[column])
