"""What it costs, and how far it moves the forecasts, if an input is taken from another row.

Letters: N rows, D features, P targets, R repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cde_app.arrays import Array, IntArray
from cde_app.explanation.donors import alike_donors, any_donors
from cde_app.explanation.inputs import Input
from cde_app.explanation.quantities import SCORES, Values
from cde_app.machine.streams import Stream, generator

Scheme = Literal["any", "alike"]
Measure = Literal["cost", "share", "change"]
SMALLEST_SPREAD = 1e-6
"""A quantity whose standard deviation over the rows is below this, in its unit, does not vary."""


@dataclass(frozen=True)
class Importance:
    """One number about one input."""

    target: str
    """Empty for all targets together."""
    input: str
    donors: Scheme
    """`any`: the input is taken from any other row. `alike`: from one whose other inputs say the same of it."""
    quantity: str
    """nlpd, crps, mean, width, entropy, or P(...)."""
    measure: Measure
    """`cost`: the mean rise of a score. `change`: the mean change of the quantity. `share`: half the mean square of its
    change per its variance over the rows, which for independent inputs is the share of that variance that vanishes if
    the input is fixed."""
    value: float | None
    """None if the quantity does not vary."""
    se: float | None
    """Standard error over rows and repetitions."""


def importances(
    values: Callable[[Array], Values],
    X: Array,
    inputs: Sequence[Input],
    expected: Mapping[str, Array],
    units: Mapping[str, float],
    *,
    num_repeats: int,
    seed: int,
) -> Iterator[Importance]:
    """Yield the importance of each input, for donors of both kinds.

    Args:
        values: what `quantities` returns for rows of X, which are the N rows or changed copies of them in their order.
        X: [N, D], N >= 2, standardised features.
        inputs: inputs and groups.
        expected: name -> what is expected of an input given the others, as `expectation` returns it; none if there are
            no others.
        units: target -> a standard deviation of it, in relation to which a mean or a width varies or not.
        num_repeats: R.
        seed: of the donors.

    Source: Wood et al. (2024), "Model-agnostic variable importance for predictive uncertainty: an entropy-based
    approach", Data Mining and Knowledge Discovery 38, for the cost in log likelihood and the change of entropy; Jansen
    (1999), "Analysis of variance designs for model output", Computer Physics Communications 117, for the share.
    """
    before = values(X)
    for index, one in enumerate(inputs):
        random = generator(seed, Stream.PERMUTATIONS, index)
        schemes: dict[Scheme, IntArray] = {"any": any_donors(len(X), num_repeats, random)}
        if one.name in expected:
            schemes["alike"] = alike_donors(expected[one.name], num_repeats, random)
        for scheme, donors in schemes.items():
            after = []
            for chosen in donors:
                changed = np.array(X)
                changed[:, one.features] = X[chosen][:, one.features]
                after.append(values(changed))
            for (target, quantity), own in before.items():
                with np.errstate(invalid="ignore"):  # an infinite score has no change
                    moved = np.stack([repeat[target, quantity] for repeat in after]) - own
                unit = units.get(target, 1.0) if quantity in ("mean", "width") else 1.0
                for measure, (value, se) in measures(quantity, own, moved, donors, unit=unit).items():
                    yield Importance(target, one.name, scheme, quantity, measure, value, se)


def measures(
    quantity: str, own: Array, moved: Array, donors: IntArray, *, unit: float
) -> dict[Measure, tuple[float | None, float | None]]:
    """Return what a quantity has: a cost, or a change and a share, each with its standard error.

    Args:
        quantity: its name.
        own: [N], its values.
        moved: [R, N], their changes.
        donors: [R, N].
        unit: of the quantity.
    """
    if quantity in SCORES:
        return {"cost": mean_over_pairs(moved, donors)}
    variance, nothing = float(np.var(own, ddof=1)), (None, None)
    share: tuple[float | None, float | None] = nothing
    if math.sqrt(variance) > SMALLEST_SPREAD * unit:
        share = mean_over_pairs(0.5 * moved**2 / variance, donors, (own - own.mean()) ** 2 / variance)
    return {"change": mean_over_pairs(moved, donors), "share": share}


def mean_over_pairs(values: Array, donors: IntArray, per: Array | None = None) -> tuple[float | None, float | None]:
    """Return the mean of what pairs of rows have, and its standard error over the rows and the repetitions.

    A row enters as the one that is changed and as the donor of others; its influence is the sum of the two means. Each
    of these means varies by the choice of its pairs, too, but a pair counts once: its variance is subtracted once.

    Args:
        values: [R, N], of each pair.
        donors: [R, N].
        per: [N], whose mean of one the values are divided by, so that its chance counts too; None for none.

    Source: Hoeffding (1948), "A class of statistics with asymptotically normal distribution", for the projection.
    """
    num_repeats, num_rows = values.shape
    mean = float(values.mean())
    if not math.isfinite(mean):
        return None, None
    if num_rows < 3:
        return mean, None
    as_changed = values.mean(0) - mean
    as_donor = np.bincount(donors.ravel(), (values - mean).ravel(), minlength=num_rows) / num_repeats
    influence = as_changed + as_donor - (0.0 if per is None else mean * (per - 1.0))
    variance = float(np.var(influence, ddof=1)) - float(np.var(values)) / num_repeats
    return mean, math.sqrt(max(variance, 0.0) / num_rows)
