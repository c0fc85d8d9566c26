"""Are two samples from one distribution? Tests that hold for any distribution, and how large a difference is.

A difference is one of probabilities, between 0 and 1: the largest that the test has seen between the shares of the two
samples in an event. It is comparable between numbers, labels and several columns at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from cde_app.arrays import Array, IntArray
from cde_app.standardised import standardised_columns

FEWEST_CLASSIFIED = 20
"""Rows that either sample needs for the classifier: the p-value of fewer is not accurate in its tail."""
MOST_COMPONENTS = 15
"""Principal components whose squares and products the classifier sees."""
SMALLEST_SD = 1e-12
"""Of what the classifier sees. The square of a small component, of ranks that hardly differ, is far below 1."""


class Difference(NamedTuple):
    """A difference between two samples, and its p-value: how probable one at least as large is by chance."""

    size: float
    p_value: float


NONE_TO_SEE = Difference(0.0, 1.0)
"""Of two samples one of which is empty."""


def compare_numbers(old: Array, new: Array) -> Difference:
    """Compare numbers by the test of Kolmogorov and Smirnov: the largest difference of P(value <= c) over all c.

    With ties the p-value is too large, never too small.

    Args:
        old: [M], without gaps.
        new: [N], without gaps.
    """
    from scipy.stats import ks_2samp  # takes half a second to load

    if not (len(old) and len(new)):
        return NONE_TO_SEE
    found = ks_2samp(old, new, method="exact" if max(len(old), len(new)) <= 2000 else "asymp")
    return Difference(float(found.statistic), float(found.pvalue))


def compare_shares(old: IntArray, new: IntArray, *, resamples: int, random: np.random.Generator) -> Difference:
    """Compare the counts of labels by Pearson's statistic and a permutation test, which is exact for small counts too.

    The size is the total variation distance, half the sum of the absolute differences of the shares.

    Args:
        old: [L], how often each label occurs in the first sample.
        new: [L], in the second.
        resamples: R, random assignments of the rows to the samples; the smallest possible p-value is 1 / (R + 1).
        random: draws them.

    Source: Phipson and Smyth (2010), "Permutation p-values should never be zero", SAGMB 9 (the one that is added).
    """
    both = old + new
    num_old, num_new = int(old.sum()), int(new.sum())
    if not (num_old and num_new) or np.count_nonzero(both) < 2:
        return NONE_TO_SEE
    old, new, both = old[both > 0], new[both > 0], both[both > 0]
    expected = both * (num_new / (num_old + num_new))

    def statistic(counts: IntArray) -> Array:  # the cells of the other sample only add a factor
        return np.asarray(((counts - expected) ** 2 / expected).sum(axis=-1))

    drawn = random.multivariate_hypergeometric(both, num_new, size=resamples, method="marginals")
    exceeded = int(np.count_nonzero(statistic(drawn) >= statistic(new) * (1 - 1e-12)))
    size = 0.5 * float(np.abs(old / num_old - new / num_new).sum())
    return Difference(size, (1 + exceeded) / (1 + resamples))


def compare_extremes(num_beyond: int, num_old: int, num_new: int) -> Difference:
    """Judge how many new values exceed the largest old one; the same holds below the smallest.

    All orders of the values are equally probable, and so the k largest of all are new with probability
    n (n - 1) ... (n - k + 1) / ((m + n) (m + n - 1) ... (m + n - k + 1)).

    Args:
        num_beyond: k.
        num_old: m.
        num_new: n.

    Source: Wilks (1942), "Statistical prediction with special reference to the problem of tolerance limits", AMS 13.
    """
    if not (num_old and num_new):
        return NONE_TO_SEE
    k, m, n = num_beyond, num_old, num_new
    log_p = gammaln(n + 1) - gammaln(n - k + 1) - gammaln(m + n + 1) + gammaln(m + n - k + 1)
    return Difference(k / n, min(1.0, math.exp(log_p)))


def compare_jointly(old: Array, new: Array, *, random: np.random.Generator) -> Difference:
    """Compare rows by a classifier: can it tell, of rows that it has not seen, which sample they are from?

    One half of either sample trains it, on the ranks of the features and on the squares and products of their leading
    principal components (a ridge regression of the sample's label). The other halves are tested for higher scores of
    the new rows (Mann and Whitney). The size is the largest difference of P(score <= c); it is at most the total
    variation distance of the rows, but for the error of sampling.

    Args:
        old: [M, D].
        new: [N, D].
        random: draws the halves.

    Source: Lopez-Paz and Oquab (2017), "Revisiting classifier two-sample tests", ICLR, section 3.
    """
    from scipy.stats import mannwhitneyu

    if min(len(old), len(new)) < FEWEST_CLASSIFIED or old.shape[1] == 0:
        return NONE_TO_SEE
    features = classifier_features(np.vstack([old, new]))
    is_new = np.arange(len(features)) >= len(old)
    trains = np.zeros(len(features), dtype=bool)
    for rows in (np.flatnonzero(~is_new), np.flatnonzero(is_new)):
        trains[random.permutation(rows)[: len(rows) // 2]] = True
    # Both samples weigh the same, whatever their sizes.
    share = is_new[trains].mean()
    weights = np.where(is_new[trains], 0.5 / share, 0.5 / (1 - share))
    F, label = features[trains], np.where(is_new[trains], 1.0, -1.0)
    penalty = F.shape[1] * np.eye(F.shape[1])
    coefficients = np.linalg.solve(F.T @ (weights[:, None] * F) + penalty, F.T @ (weights * label))
    scores = features[~trains] @ coefficients
    of_old, of_new = scores[~is_new[~trains]], scores[is_new[~trains]]
    higher = mannwhitneyu(of_new, of_old, alternative="greater", method="asymptotic")
    return Difference(compare_numbers(of_old, of_new).size, float(higher.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number: those below a level accuse anything wrongly with at most that probability.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def classifier_features(rows: Array) -> Array:
    """Return standardised features of pooled rows, [N, D] to [N, F]; without the labels, so the test stays exact."""
    from scipy.stats import rankdata

    ranks = standardised_columns(rankdata(rows, axis=0), smallest_sd=SMALLEST_SD)
    _, _, directions = np.linalg.svd(ranks, full_matrices=False)
    leading = ranks @ directions[:MOST_COMPONENTS].T
    first, second = np.triu_indices(leading.shape[1])
    products = standardised_columns(leading[:, first] * leading[:, second], smallest_sd=SMALLEST_SD)
    return np.hstack([ranks, products])
