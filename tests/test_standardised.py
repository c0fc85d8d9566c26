"""Columns on one scale."""

from __future__ import annotations

import numpy as np

from cde_app.standardised import standardised_columns


def test_standardised_columns_have_mean_0_and_sd_1_and_constant_ones_are_0() -> None:
    random = np.random.default_rng(0)
    small = 1e-9 * random.standard_normal(50)
    values = np.column_stack([random.normal(5.0, 3.0, 50), np.full(50, 0.1), np.arange(50.0), small])
    found = standardised_columns(values, smallest_sd=1e-12)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(found.std(axis=0), [1.0, 0.0, 1.0, 1.0], atol=1e-14)
    assert not standardised_columns(values, smallest_sd=1e-6)[:, 3].any()
