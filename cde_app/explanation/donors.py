"""From which row an input is taken when it is permuted: from any other, or from one whose other inputs are alike.

Letters: N rows, D features, R repetitions.
"""

from __future__ import annotations

import numpy as np

from cde_app.arrays import Array, IntArray
from cde_app.machine.blocks import one_blas_thread
from cde_app.machine.rows import blocks_of
from cde_app.standardised import standardised_columns

NEIGHBOURS = 10
"""Rows among which a donor is drawn if the other inputs shall be alike."""
PENALTIES = 10.0 ** np.arange(-6, 3)
"""Ridge penalties that are tried [rows]; the one with the smallest leave-one-out error is used."""
SAME_DISTANCE = 1e-12
SMALLEST_SD = 1e-6
"""Of a feature; one that varies less is constant."""
BLOCK_ROWS = 512
"""Rows whose distances to all others are in memory."""


def any_donors(num_rows: int, num_repeats: int, random: np.random.Generator) -> IntArray:
    """Return random permutations without a fixed point, each one cycle through all rows; [R, N], N >= 2."""
    donors = np.empty((num_repeats, num_rows), np.intp)
    for repeat in range(num_repeats):
        order = random.permutation(num_rows)
        donors[repeat, order] = np.roll(order, 1)
    return donors


@one_blas_thread()
def alike_donors(expected: Array, num_repeats: int, random: np.random.Generator) -> IntArray:
    """Return donors that are alike in what the other inputs say: each one of the `NEIGHBOURS` nearest rows.

    Rows at the same distance have the same chance.

    Args:
        expected: [N, F], what is expected of the input given the others; N >= 2.
        num_repeats: R.
        random: draws them.

    Returns:
        [R, N]; no row is its own donor.

    Source: Little (1988), "Missing-data adjustments in large surveys", JBES 6, for donors with a similar expectation;
    Strobl et al. (2008), "Conditional variable importance for random forests", BMC Bioinformatics 9, for permutations
    given the other inputs.
    """
    num_rows, squares = len(expected), (expected**2).sum(1)
    donors, last = np.empty((num_repeats, num_rows), np.intp), min(NEIGHBOURS, num_rows - 1) - 1
    for rows in blocks_of(num_rows, BLOCK_ROWS):
        distances = squares[rows, None] + squares - 2.0 * expected[rows] @ expected.T
        distances[np.arange(len(distances)), np.arange(num_rows)[rows]] = np.inf
        near = distances <= np.partition(distances, last, axis=1)[:, [last]] + SAME_DISTANCE
        for repeat in range(num_repeats):
            donors[repeat, rows] = np.argmax(random.random(near.shape) * near, axis=1)
    return donors


@one_blas_thread()
def expectation(X: Array, features: tuple[int, ...]) -> tuple[Array, float]:
    """Return what is expected of some features given the others, and how much of their variance that explains.

    It is a ridge regression on the other features and their squares. The penalty has the smallest leave-one-out error,
    which follows from the diagonal of the hat matrix.

    Args:
        X: [N, D].
        features: F of them, not all.

    Returns:
        [N, F], in units of the features' standard deviations; and the share of the variance that is explained when a
        row is left out, in [0, 1].

    Source: Allen (1974), "The relationship between variable selection and data augmentation and a method for
    prediction", Technometrics 16, for the leave-one-out error.
    """
    own = standardised_columns(X[:, list(features)], smallest_sd=SMALLEST_SD)
    others = standardised_columns(np.delete(X, list(features), axis=1), smallest_sd=SMALLEST_SD)
    basis = np.hstack([others, standardised_columns(others**2, smallest_sd=SMALLEST_SD)])
    U, s, _ = np.linalg.svd(basis, full_matrices=False)
    num_rows, best = len(X), np.inf
    expected, projected = np.zeros_like(own), U.T @ own
    for penalty in PENALTIES * num_rows:
        shrunk = s**2 / (s**2 + penalty)
        fitted, leverage = U @ (shrunk[:, None] * projected), 1.0 / num_rows + (U**2) @ shrunk
        error = float(np.sum(((own - fitted) / np.maximum(1.0 - leverage, 1e-6)[:, None]) ** 2))
        if error < best:
            best, expected = error, fitted
    without = float(np.sum((own * num_rows / (num_rows - 1)) ** 2))
    return expected, max(0.0, 1.0 - best / without) if without > 0 else 0.0
