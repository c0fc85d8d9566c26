"""`cde diagnose` on a trained run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel


def test_diagnose_describes_every_training_with_its_latent_variables_and_gps(cde: Callable[..., Any], tiny_run: Any):
    done = cde("diagnose", tiny_run.run, "--json")
    assert done.code == 0
    found, run = json.loads(done.out), Run.open(tiny_run.run)
    model = TrainedModel.load(run)
    members = [member for factor in model.predictor.factors for member in factor.members]
    assert [own["name"] for own in found["trainings"]] == [own["name"] for own in run.manifest()["trainings"]]
    for own, member in zip(found["trainings"], members, strict=True):
        assert len(own["latent"]) == member.latent_dim
        gps = [*(layer.gp for layer in member.inner_layers), *member.output_terms]
        assert [gp["number"] for gp in own["inducing"]] == [len(gp.inducing_inputs) for gp in gps]
        assert all(gp["duplicates"] + gp["far"] <= gp["number"] >= gp["informed"] >= 0 for gp in own["inducing"])
    text = cde("diagnose", tiny_run.run).out
    assert all(own["name"] in text for own in found["trainings"])
    assert text.startswith("\n".join(found["advice"] or ["No problems found."]) + "\n\ntraining ")


def test_the_points_of_the_gps_are_those_at_which_a_prediction_evaluates_them(tiny_run: Any):
    model = TrainedModel.load(Run.open(tiny_run.run))
    member = model.predictor.factors[0].members[0]
    X = model.predictor.features(np.zeros((3, len(model.contract.feature_names))))
    *_, (last, points) = member.gp_inputs(X)
    assert last is member.output_terms[-1]
    num_nodes = len(member.latent_nodes)
    means = [
        gp.moments(own)[0].reshape(3, -1, gp.num_gps) for gp, own in member.gp_inputs(X)[len(member.inner_layers) :]
    ]
    if not member.inner_layers and member.mixing is None:
        seen = (X if member.input_projection is None else X @ member.input_projection)[:, None]
        expected = member.predict(X).means[:, :num_nodes]
        np.testing.assert_allclose(sum(means) + member.output_mean(seen), expected, atol=1e-6)
    assert len(points) in (3, 3 * num_nodes)


@pytest.mark.parametrize("fewest", [16, 17])
def test_of_the_own_table_the_held_out_rows_are_used_if_there_are_enough(
    fewest: int, cde: Callable[..., Any], line_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cde_app.workflow.diagnose.FEWEST_WITNESSES", fewest)
    moved = shutil.copy(line_run.table, tmp_path / "moved.csv")
    unnamed, named = (cde("diagnose", line_run.run, *table, "--json") for table in ((), (moved,)))
    found, expected = json.loads(named.out), json.loads(unnamed.out)
    assert found | {"warnings": []} == expected
    assert found["num_rows"] == (16 if fewest == 16 else 80)
    said = (
        "has the content of the table that the run was trained on: the 16 of its 80 rows that were held out are used."
    )
    assert found["warnings"] == ([f"{moved} {said}"] if fewest == 16 else [])
    assert named.err == "".join(f"warning: {warning}\n" for warning in found["warnings"])


def test_a_missing_run_is_one_line(cde: Callable[..., Any], tmp_path: Path):
    done = cde("diagnose", tmp_path / "none")
    assert done.code == 6
    assert done.err.count("\n") == 1
