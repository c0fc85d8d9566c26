"""A forecast of some targets given the others: the joint density divided by that of what is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import simpson

from cde_app.predictive.chain import Chain
from cde_app.predictive.mixture import Mixture
from tests.predictive.test_chain import IDENTITY, LOG, joint_mixture, make_chain, make_known_chain
from tests.predictive.test_mixture import make_mixture

NAMES = ("a", "b", "c", "d")


def named(forecast: Mixture | Chain) -> Mixture | Chain:
    return replace(forecast, names=NAMES[: forecast.num_targets])


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("given", [["a"], ["c"], ["a", "c"], ["c", "b"]])
def test_the_joint_density_is_that_of_what_is_given_times_that_of_the_rest(
    given: list[str], *, correlated: bool
) -> None:
    mixture = named(make_mixture(4, (IDENTITY, LOG, IDENTITY), correlated=correlated))
    y = mixture.sample(1, seed=1)[0]
    values = {name: y[:, NAMES.index(name)] for name in given}
    rest = [p for p in range(3) if NAMES[p] not in given]
    conditional = mixture.given(values)
    assert conditional.names == tuple(NAMES[p] for p in rest)
    known = mixture._of_targets(sorted(NAMES.index(name) for name in given))
    expected = mixture.log_prob(y) - known.log_prob(y[:, sorted(NAMES.index(name) for name in given)])
    np.testing.assert_allclose(conditional.log_prob(y[:, rest]), expected, rtol=1e-9)


@pytest.mark.parametrize("correlated", [False, True])
def test_a_conditional_of_a_row_does_not_depend_on_the_rows_beside_it(*, correlated: bool) -> None:
    mixture = named(make_mixture(4, (IDENTITY, LOG), correlated=correlated))
    y = mixture.sample(1, seed=1)[0]
    together, alone = mixture.given(a=y[:, 0]), mixture[2:3].given(a=y[2, 0])
    np.testing.assert_allclose(together[2:3].mean(), alone.mean(), rtol=1e-12)
    assert 1 <= together.effective_components.min() <= together.effective_components.max() <= 4


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_given_the_first_of_a_chain_the_rest_is_its_factor(order: tuple[int, ...]) -> None:
    chain = named(make_chain(3, order=order))
    y = chain.sample(1, seed=1)[0]
    conditional = chain.given({NAMES[order[0]]: y[:, order[0]]})
    assert conditional.names == (NAMES[order[1]],)
    expected = chain.log_prob(y) - chain.marginal(order[0]).log_prob(y[:, order[0]])
    np.testing.assert_allclose(conditional.log_prob(y[:, order[1]]), expected, rtol=1e-10)


def test_given_the_first_of_three_the_rest_is_a_chain_that_keeps_its_names() -> None:
    chain = named(make_known_chain((IDENTITY,) * 3, num_components=16))
    chain = replace(chain, order=(2, 0, 1))
    y = chain.sample(1, seed=1)[0]
    conditional = chain.given(c=y[:, 2])
    assert isinstance(conditional, Chain)
    assert conditional.names == ("a", "b")
    assert conditional.order == (0, 1)
    expected = chain.log_prob(y) - chain.marginal("c").log_prob(y[:, 2])
    np.testing.assert_allclose(conditional.log_prob(y[:, :2]), expected, rtol=1e-10)


# The nodes are 4096 points of a low-discrepancy sequence. Errors of the distribution function and of the mean [sd] are
# means over the rows and, for the former, over ten levels.
@pytest.mark.parametrize(
    ("num_targets", "given", "tolerance"),
    [(2, [1], 0.001), (3, [2], 0.006), (3, [1], 0.003), (3, [0, 2], 0.002)],
)
def test_given_a_later_target_a_known_chain_has_the_closed_form(
    num_targets: int, given: list[int], tolerance: float
) -> None:
    num_components = 64 if num_targets == 2 else 24
    chain = named(make_known_chain((IDENTITY,) * num_targets, num_components=num_components, num_rows=8))
    truth = named(joint_mixture(chain))
    y = truth.sample(1, seed=3)[0]
    values = {NAMES[p]: y[:, p] for p in given}
    found, expected = chain.given(values), truth.given(values)
    assert found.names == expected.names
    levels = np.linspace(0.05, 0.95, 10)
    points = expected.quantile(levels)
    missed = np.mean([np.abs(found.cdf(y) - level) for y, level in zip(points, levels, strict=True)])
    assert missed < tolerance
    assert np.mean(np.abs(found.mean() - expected.mean()) / expected.sd()) < 2 * tolerance
    wrong = chain.given({name: value + 0.3 * truth.sd()[:, given[0]] for name, value in values.items()})
    missed = np.mean([np.abs(wrong.cdf(y) - level) for y, level in zip(points, levels, strict=True)])
    assert missed > 3 * tolerance, "the control: another value gives another density"


def test_given_the_later_target_a_bent_chain_has_the_density_of_the_joint_one() -> None:
    chain = named(make_chain(4))  # of the targets b, a; a is given
    y = chain.sample(1, seed=5)[0]
    z = np.linspace(-8, 8, 2001)
    b = LOG.inverse(z)
    found = chain.given(a=y[:, 0])
    for row in range(4):
        points = np.column_stack([np.full(len(b), y[row, 0]), b])
        density = np.exp(chain[np.full(len(b), row)].log_prob(points) - LOG.log_jacobian(b))
        density /= simpson(density, x=z)
        cdf = np.cumsum(density) * (z[1] - z[0])
        stated = found[np.full(len(b), row)].cdf(b)[:, 0]
        assert np.abs(cdf - stated).max() < 0.02
        assert found.effective_components[row] > 200


def test_what_cannot_be_given_is_said_in_one_line() -> None:
    mixture = named(make_mixture(3, (IDENTITY, LOG)))
    for values, reason in (
        ({}, r"expected some of the targets 'a', 'b', not all; got \[\]"),
        ({"a": 1.0, "b": 2.0}, r"not all; got \['a', 'b'\]"),
        ({"a": 1.0, 0: 2.0}, "given: expected each target once"),
        ({"c": 1.0}, "expected one of the targets 'a', 'b'; got 'c'"),
        ({"b": -7.0}, "given 'b': expected numbers in the range of the target; got -7 in row 1"),
        ({"a": [1.0, np.nan, 2.0]}, "given 'a': expected numbers in the range of the target; got nan in row 2"),
        ({"a": [1.0, 2.0]}, r"given 'a': expected one value, or one for each of the 3 rows; got an array \(2,\)"),
    ):
        with pytest.raises(ValueError, match=reason):
            mixture.given(values)
    with pytest.raises(ValueError, match="given: expected each target once; got 'a' again"):
        mixture.given({"a": 1.0}, a=2.0)


def test_given_the_first_of_three_the_marginals_have_good_nodes_of_their_own() -> None:
    chain = named(make_known_chain((IDENTITY,) * 3, num_components=24, num_rows=6))
    truth = named(joint_mixture(chain))
    y = truth.sample(1, seed=3)[0]
    found, expected = chain.given(a=y[:, 0]), truth.given(a=y[:, 0])
    np.testing.assert_allclose(found.sd(), expected.sd(), rtol=0.02)
    np.testing.assert_allclose(found.mean(), expected.mean(), atol=0.02 * expected.sd().max())


def test_draws_want_the_positions_of_all_rows_in_order() -> None:
    mixture = make_mixture(4, (IDENTITY,))
    for rows in (np.arange(3), np.arange(4)[::-1], np.zeros(4, dtype=int)):
        with pytest.raises(ValueError, match="rows: expected 4 ascending positions"):
            mixture.sample(2, rows=rows)
    np.testing.assert_array_equal(mixture.sample(2, rows=[0, 1, 2, 3]), mixture.sample(2))
