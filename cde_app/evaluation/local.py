"""Local calibration: for which values of the inputs do the densities state wrong probabilities?

If the conditional densities are right, the PIT u = F(y | x) is uniform at every x, and not only on average over the
rows. 1[a < u <= b] minus its probability then has mean zero in every slice of the rows by an input, and its regression
on x is zero everywhere. Both are compared with what calibrated forecasts of the same rows give by chance; the
probability of a single false accusation, over all slices, claims, targets and both tests, is at most
`ACCUSATION_LEVEL`.

Letters: N rows, P targets, K slices, S simulations, G groups of rows.

Source: Zhao, Dalmasso, Izbicki and Lee (2021), "Diagnostics for conditional density models and Bayesian inference
algorithms", UAI, algorithms 1 and 2 (the regression, its Monte Carlo test); Kulldorff (1997), "A spatial scan
statistic", Communications in Statistics 26 (the largest likelihood ratio over windows); Westfall and Young (1993),
"Resampling-based multiple testing" (the distribution of the largest); Davison and Hinkley (1997), "Bootstrap methods
and their application", section 3.8 (drawing whole groups).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from cde_app.arrays import Array, IndexArray, IntArray
from cde_app.evaluation.slices import Column, Slice, slices_of
from cde_app.evaluation.verdict import HARMLESS_LOCAL_ERROR, MIN_ROWS_FOR_A_VERDICT

ACCUSATION_LEVEL = 0.05
SIMULATIONS, SIMULATIONS_AT_ONCE = 499, 100
MOST_SLICED_ROWS, MOST_REGRESSED_ROWS = 10_000, 2000
"""Of more rows, evenly spaced ones are taken."""
NEIGHBOURS = 0.05
"""Share of the rows that the regression averages over."""
MOST_FAULTS, SHOWN_FAULTS = 10, 3
"""How many are looked for in each target, and how many become sentences."""
ROUNDING = 1e-9
"""Statistics that differ by no more are equal."""


class Claim(NamedTuple):
    """What a density claims of its PIT: low < u <= high."""

    name: str
    low: float
    high: float
    probability: float


CLAIMS = (
    Claim("interval_0.9", 0.05, 0.95, 0.9),
    Claim("interval_0.5", 0.25, 0.75, 0.5),
    Claim("below_q05", -np.inf, 0.05, 0.05),
    Claim("below_q50", -np.inf, 0.5, 0.5),
    Claim("above_q95", 0.95, np.inf, 0.05),
)


class Residuals:
    """1[low < u <= high] - probability, of what happened and of what calibrated forecasts give by chance.

    Independent rows have independent uniform u. Rows of a group may depend on each other in any way: a simulated group
    has the u of rows of a group drawn at random, ranked among all, so that they are uniform on average.
    """

    def __init__(self, pit: Array, groups: IntArray | None) -> None:
        self.observed = {claim: residual(pit, claim) for claim in CLAIMS}
        self._num_rows = len(pit)
        self._donors = None if groups is None else Donors(pit, groups)

    def simulated(self) -> Iterator[dict[Claim, Array]]:
        """Yield [N, S'] of each claim, until there are `SIMULATIONS` in all."""
        # They only serve to compute one number: a fixed seed makes it reproducible.
        random = np.random.default_rng(0)
        for start in range(0, SIMULATIONS, SIMULATIONS_AT_ONCE):
            number = min(SIMULATIONS_AT_ONCE, SIMULATIONS - start)
            draw = (
                random.random((self._num_rows, number)) if self._donors is None else self._donors.draw(number, random)
            )
            yield {claim: residual(draw, claim) for claim in CLAIMS}


class Donors:
    """Groups of rows whose PIT values stand for those of other groups.

    Args:
        pit: [N].
        groups: [N], the group of each row.
    """

    def __init__(self, pit: Array, groups: IntArray) -> None:
        _, self._group, self._sizes = np.unique(groups, return_inverse=True, return_counts=True)
        self._starts = np.cumsum(self._sizes) - self._sizes
        order = np.argsort(self._group, kind="stable")
        self._place = np.empty(len(pit), dtype=np.intp)  # of a row in its group
        self._place[order] = np.arange(len(pit)) - self._starts[self._group[order]]
        ranks = np.empty(len(pit))
        ranks[np.argsort(pit, kind="stable")] = np.arange(0.5, len(pit))
        self._uniform = ranks[order] / len(pit)

    def draw(self, number: int, random: np.random.Generator) -> Array:
        """Return uniform values that depend on each other within groups as the observed ones do, [N, number].

        Every row of the table is equally likely to be the donor. A group takes the rows of its donor in turn, from a
        random one on, so that none is taken twice unless the donor is smaller.
        """
        shares = self._sizes / self._sizes.sum()
        donors = random.choice(len(shares), (len(shares), number), p=shares)
        first = np.floor(random.random(donors.shape) * self._sizes[donors]).astype(np.intp)
        place = (self._place[:, None] + first[self._group]) % self._sizes[donors][self._group]
        return self._uniform[self._starts[donors][self._group] + place]


def residual(pit: Array, claim: Claim) -> Array:
    """Return whether the claim held, minus its probability; any shape."""
    return ((pit > claim.low) & (pit <= claim.high)) - claim.probability


def judge_locally(
    pit: Array, columns: Sequence[Column], X: Array, target_names: Sequence[str], groups: IntArray | None = None
) -> dict[str, Any]:
    """Find the values of the inputs for which the densities state wrong probabilities.

    Args:
        pit: [N, P], PIT values of rows that the training has not seen.
        columns: the inputs of the same rows, in the user's units.
        X: [N, D], standardised features of the same rows, in which the regression finds neighbours.
        target_names: [P].
        groups: [N], the group of each row, if only groups are independent.

    Returns:
        `num_rows`, of which the slices consist; `level`; `p_value` of the hypothesis that the densities are right
        everywhere; `num_faults`; `faults`, the slices in which a claim about a target is proven wrong, the strongest
        first; `regression`, per target its `p_value` and `near`, the
        inputs of the row around which it is furthest from zero; `sentences`. `{}` if there are too few rows to tell.
    """
    kept = evenly_spaced(len(pit), MOST_SLICED_ROWS)
    if len(kept) < 2 * MIN_ROWS_FOR_A_VERDICT:
        return {}
    some = kept[evenly_spaced(len(kept), MOST_REGRESSED_ROWS)]
    slices = [one for column in columns for one in slices_of(column.of_rows(kept), fewest_rows=MIN_ROWS_FOR_A_VERDICT)]
    tests = 2 * len(target_names)
    weights = neighbour_weights(X[some])
    faults, regression = [], {}
    for p, target in enumerate(target_names):
        found = faults_of(Residuals(pit[kept, p], None if groups is None else groups[kept]), slices)
        faults += [fault | {"target": target, "p_value": min(1.0, tests * fault["p_value"])} for fault in found]
        p_value, row = regress(Residuals(pit[some, p], None if groups is None else groups[some]), weights)
        near = {column.name: column.text(column.values[some[row]]) for column in columns}
        regression[target] = {"p_value": min(1.0, tests * p_value), "near": near}
    p_values = [fault["p_value"] for fault in faults] + [own["p_value"] for own in regression.values()]
    proven = sorted(
        (fault for fault in faults if fault["p_value"] <= ACCUSATION_LEVEL), key=lambda fault: -fault["strength"]
    )
    result = {
        "num_rows": len(kept),
        "level": ACCUSATION_LEVEL,
        "p_value": min(p_values),
        "num_faults": len(proven),
        "faults": proven,
        "regression": regression,
    }
    return result | {"sentences": sentences_of(result)}


def evenly_spaced(num_rows: int, most: int) -> IndexArray:
    """Return the positions of at most so many rows."""
    return np.linspace(0, max(num_rows - 1, 0), min(num_rows, most)).astype(np.intp)


def faults_of(residuals: Residuals, slices: Sequence[Slice]) -> list[dict[str, Any]]:
    """Return the slices in which claims are wrong, the strongest first, with the chance of such a difference.

    The rows of a fault are left out before the next one is looked for, so that an input that goes along with the one to
    blame, or a density that is wrong on average, does not multiply the faults. The search ends with the first that is
    not proven. A p-value is the probability that the largest difference over all claims and slices is as large in
    calibrated forecasts.
    """
    if not slices:
        return []
    members = np.stack([one.rows for one in slices])
    sums = slice_sums(slices)
    sizes = members.sum(axis=1)
    largest = np.concatenate(
        [
            np.max([strength(sums(own), sizes, claim).max(axis=0) for claim, own in block.items()], axis=0)
            for block in residuals.simulated()
        ]
    )
    found = list[dict[str, Any]]()
    while not found or (found[-1]["p_value"] <= ACCUSATION_LEVEL and len(found) < MOST_FAULTS):
        sizes = members.sum(axis=1)
        strengths = np.stack(
            [strength(members @ own[:, None], sizes, claim)[:, 0] for claim, own in residuals.observed.items()]
        )
        strengths[:, sizes < MIN_ROWS_FOR_A_VERDICT] = 0.0
        index, k = map(int, np.unravel_index(np.argmax(strengths), strengths.shape))
        claim, rows = CLAIMS[index], members[k]
        if not rows.any():  # all slices are explained by the faults before
            break
        found.append(
            {
                "column": slices[k].column,
                "where": slices[k].where,
                "claim": claim.name,
                "expected": claim.probability,
                "share": claim.probability + float(residuals.observed[claim][rows].mean()),
                "num_rows": int(rows.sum()),
                "strength": float(strengths[index, k]),
                "p_value": float(1 + np.sum(largest >= strengths[index, k] - ROUNDING)) / (1 + SIMULATIONS),
            }
        )
        members = members & ~rows
    return found


def slice_sums(slices: Sequence[Slice]) -> Callable[[Array], Array]:
    """Return a function that adds up the rows of each slice, [N, S] to [K, S].

    The slices of a column overlap: it adds up the rows that are in the same slices first.
    """
    from scipy.sparse import block_diag, csr_matrix, vstack  # predictions do not need it

    pieces, parts = [], []
    for _, own in groupby(slices, key=lambda one: one.column):
        patterns, part = np.unique(np.stack([one.rows for one in own]), axis=1, return_inverse=True)
        rows = np.arange(part.size)
        pieces.append(csr_matrix((np.ones(part.size), (part.ravel(), rows)), shape=(patterns.shape[1], part.size)))
        parts.append(patterns.astype(float))
    in_part, in_slice = vstack(pieces, format="csr"), block_diag(parts, format="csr")
    return lambda values: in_slice @ (in_part @ values)


def strength(sums: Array, sizes: IndexArray, claim: Claim) -> Array:
    """Return how strongly residuals speak against a claim, [K, S], in standard errors: zero if they are harmless.

    sqrt(2 log likelihood ratio) of a binomial share.

    Args:
        sums: [K, S], of the residuals in each slice.
        sizes: [K], rows in each slice.
        claim: what they are about.
    """
    count, p = np.maximum(sizes, 1)[:, None], claim.probability
    share = np.clip(p + sums / count, 0.0, 1.0)
    ratio = xlogy(share, share / p) + xlogy(1 - share, (1 - share) / (1 - p))
    return np.where(np.abs(sums) <= HARMLESS_LOCAL_ERROR * count, 0.0, np.sqrt(np.maximum(2 * count * ratio, 0.0)))


def neighbour_weights(X: Array) -> Any:
    """Return the weights of the regression, [N, N], sparse: a mean over the nearest rows; X [N, D]."""
    from scipy.sparse import csr_matrix
    from scipy.spatial.distance import cdist

    nearest = max(MIN_ROWS_FOR_A_VERDICT, round(NEIGHBOURS * len(X)))
    index = np.argsort(cdist(X, X), axis=1, kind="stable")[:, :nearest]
    rows = np.repeat(np.arange(len(X)), nearest)
    return csr_matrix((np.full(index.size, 1.0 / nearest), (rows, index.ravel())), shape=(len(X), len(X)))


def regress(residuals: Residuals, weights: Any) -> tuple[float, int]:
    """Return the p-value of the regression of the residuals on x, and the row at which it is furthest from zero.

    The statistic is the mean over the rows and the sum over the claims of r(x)^2 / (p (1 - p)), where r is the
    regression of the residuals of a claim with probability p.
    """

    def squares(own: dict[Claim, Array]) -> Array:
        """Return those of every row, [N, S] or [N]."""
        return sum((weights @ values) ** 2 / (c.probability * (1 - c.probability)) for c, values in own.items())

    observed = squares(residuals.observed)
    simulated = np.concatenate([squares(block).mean(axis=0) for block in residuals.simulated()])
    as_large = np.sum(simulated >= observed.mean() - ROUNDING)
    return float(1 + as_large) / (1 + SIMULATIONS), int(np.argmax(observed))


def sentences_of(local: dict[str, Any]) -> list[str]:
    """Write what was found: the strongest faults, else what only the regression sees, else that there is nothing."""
    several = len(local["regression"]) > 1
    faults = local["faults"]
    if faults:
        written = [sentence_of(fault, named=several) for fault in faults[:SHOWN_FAULTS]]
        more = len(faults) - SHOWN_FAULTS
        return written + ([f"{more} more such faults are in the JSON output, under local.faults."] if more > 0 else [])
    unseen = {name: own for name, own in local["regression"].items() if own["p_value"] <= local["level"]}
    if not unseen:
        return [f"No slice of the {local['num_rows']} rows by an input shows wrong probabilities beyond chance."]
    return [
        f"The probabilities stated{f' for {name!r}' if several else ''} are wrong for some combinations of the inputs, "
        "though for no range of a single one: most of all near "
        f"{', '.join(f'{column} = {value}' for column, value in own['near'].items())}."
        for name, own in unseen.items()
    ]


def sentence_of(fault: dict[str, Any], *, named: bool) -> str:
    """Write a fault, as in `For wind above 110, the 90% interval covers 71% of 120 rows; it is too narrow there`."""
    share, target = f"{fault['share']:.0%} of {fault['num_rows']} rows", f" of {fault['target']!r}" if named else ""
    start, higher = f"For {fault['column']} {fault['where']}", fault["share"] > fault["expected"]
    claim = fault["claim"]
    if claim.startswith("interval"):
        verb = "wide" if higher else "narrow"
        return f"{start}, the {fault['expected']:.0%} interval{target} covers {share}; it is too {verb} there."
    level, side = {
        "below_q05": ("5% quantile", "below"),
        "below_q50": ("median", "below"),
        "above_q95": ("95% quantile", "above"),
    }[claim]
    low = higher == (side == "above")
    return (
        f"{start}, {share} are {side} the {level}{target}, where {fault['expected']:.0%} should be; it is too "
        f"{'low' if low else 'high'} there."
    )
