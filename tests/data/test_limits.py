"""Settings that a table limits: each is told, and the number told is the one that a training uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cde_app import config
from cde_app.data.limits import limited_settings
from cde_app.data.split import Split
from cde_app.plan import plan_trainings


def limits(
    num_train: int = 100,
    *,
    num_validation: int = 0,
    num_test: int = 10,
    num_dealt: int | None = None,
    num_features: int = 3,
    targets: tuple[str, ...] = ("y",),
    **blocks: Any,
) -> tuple[str, ...]:
    data = {"path": "a.csv", "inputs": ["a"], "targets": list(targets), **blocks.pop("data", {})}
    settings = config.Config.model_validate({"schema_version": 1, "data": data, **blocks})
    split = Split(*(np.arange(count) for count in (num_train, num_validation, num_test)))
    if num_dealt is None:
        num_dealt = num_train + num_validation + num_test
    plan = plan_trainings(
        settings, num_rows=len(split.train), num_validation_rows=len(split.validation), num_features=num_features
    )
    return limited_settings(settings, plan, split, num_dealt=num_dealt, num_features=num_features)


ALONE = {"ensemble": 1}  # and so no rows are left out


@pytest.mark.parametrize("num_rows", [2, 20, 100, 3000, 30_000])
@pytest.mark.parametrize("num_features", [1, 3])
def test_defaults_are_meant_to_be_as_large_as_the_table_allows(num_rows: int, num_features: int) -> None:
    assert limits(num_rows, num_features=num_features) == ()
    assert limits(num_rows, num_features=num_features, targets=("y", "z")) == ()


@pytest.mark.parametrize(
    ("sizes", "blocks", "expected"),
    [
        (
            {},
            {"training": {"batch_size": 101, **ALONE}},
            "training.batch_size: 101 exceeds the rows per training (100); every step uses all of them.",
        ),
        (
            {},
            {"training": {"batch_size": 91}},  # four members, each of which leaves out a tenth
            "training.batch_size: 91 exceeds the rows per training (90); every step uses all of them.",
        ),
        (
            {},
            {"model": {"output": {"structure": "additive", "num_inducing": 101}}, "training": ALONE},
            "model.output.num_inducing: 101 exceeds the rows per training (100); at most one per row is used.",
        ),
        (
            {},
            {"model": {"layers": [{}, {"num_inducing": 91}]}},
            "model.layers.1.num_inducing: 91 exceeds the rows per training (90); at most one per row is used.",
        ),
        (
            {},
            {"model": {"likelihood": {"kind": "heteroscedastic_gaussian", "num_inducing": 91}}},
            "model.likelihood.num_inducing: 91 exceeds the rows per training (90); at most one per row is used.",
        ),
        (
            {"num_train": 5000},
            {"model": {"output": {"structure": "additive", "num_inducing": 2001}}},
            "model.output.num_inducing: 2001 exceeds training.warm_start.max_rows (2000); at most one per row is used.",
        ),
        (
            {},
            {"model": {"layers": [{"num_gps": 4}]}},
            "model.layers.0.num_gps: 4 exceeds the number of features (3); the layer has one GP for each.",
        ),
        (
            {},
            {"model": {"layers": [{"num_gps": 2, "mean": {"kind": "pca"}}, {"num_gps": 3}]}},
            "model.layers.1.num_gps: 3 exceeds the number of features (2); the layer has one GP for each.",
        ),
        (
            {},
            {"model": {"neighbours": {"enabled": True}, "layers": [{"num_gps": 6}]}},
            "model.layers.0.num_gps: 6 exceeds the number of features (5); the layer has one GP for each.",
        ),
        (
            {},
            {"model": {"input_projection": {"dim": 4}}},
            "model.input_projection.dim: 4 exceeds the number of features (3); it has one dimension for each.",
        ),
        (
            {"targets": ("y", "z")},
            {"model": {"targets_model": "joint", "output": {"structure": "additive", "mixing": {"num_latent_gps": 3}}}},
            "model.output.mixing.num_latent_gps: 3 exceeds the number of targets (2); there is one GP for each.",
        ),
        (
            {},
            {"model": {"neighbours": {"count": 100}}},
            "model.neighbours.count: 100 exceeds the number of other training rows (99); all of them are used.",
        ),
        (
            {},
            {"predict": {"num_components": 3}},
            "predict.num_components: 3 is below the number of ensemble members (4); each has at least one component.",
        ),
        (
            {},
            {"training": {"calibration": {"left_out": 0.99}}},
            "training.calibration.left_out: 0.99 of 100 training rows leaves fewer than two; 98 are left out.",
        ),
        (
            {},
            {"training": {"calibration": {"left_out": 0.001}}},
            "training.calibration.left_out: 0.001 of 100 training rows is less than one; none is left out.",
        ),
        (
            {"num_validation": 7},
            {"training": {"calibration": {"left_out": 0.2}}},
            "training.calibration.left_out: 0.2 has no effect, as every training uses the 7 validation rows.",
        ),
        (
            {},
            {"data": {"split": {"kind": "random", "test": 0.001}}},
            "data.split.test: 0.001 of 110 rows is less than one; one is held out. Write 0 for none.",
        ),
        (
            {"num_dealt": 4},
            {"data": {"split": {"kind": "group", "column": "g", "validation": 0.05}}},
            "data.split.validation: 0.05 of 4 groups is less than one; one is held out. Write 0 for none.",
        ),
    ],
)
def test_a_number_that_the_table_limits_is_told(sizes: dict[str, Any], blocks: dict[str, Any], expected: str) -> None:
    assert limits(**sizes, **blocks) == (expected,)


@pytest.mark.parametrize(
    ("sizes", "blocks"),
    [
        ({}, {"training": {"batch_size": 100, **ALONE}}),
        ({}, {"training": {"batch_size": "full"}}),
        ({}, {"model": {"output": {"structure": "additive", "num_inducing": 90}}}),
        (
            {},
            {"model": {"output": {"structure": "additive", "num_inducing_latent": 500}}},
        ),  # w is drawn several times for each row
        ({}, {"model": {"output": {"structure": "joint", "num_inducing": 500}}}),
        ({}, {"model": {"layers": [{"num_gps": 3}], "input_projection": {"dim": 3}}}),
        ({}, {"model": {"neighbours": {"count": 99}}}),
        ({}, {"model": {"neighbours": {"count": 500, "enabled": False}}}),
        ({}, {"predict": {"num_components": 4}}),
        ({}, {"training": {"calibration": {"left_out": 0.01}}}),
        ({"num_validation": 7}, {"training": {"calibration": {"left_out": 0}}}),
        ({}, {"data": {"split": {"kind": "random", "test": 0, "validation": 0.005}}}),
    ],
)
def test_a_number_that_fits_the_table_is_not_told(sizes: dict[str, Any], blocks: dict[str, Any]) -> None:
    if blocks.get("data"):
        sizes = {**sizes, "num_dealt": 200}
    assert limits(**sizes, **blocks) == ()
