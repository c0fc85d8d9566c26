"""Highest-density regions and modes, against closed forms and against the density itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import lognorm, norm

from cde_app.predictive.mixture import Mixture
from cde_app.targets import Identity, TargetTransform
from cde_app.targets.log import Log
from tests.transforms import EXAMPLES


def make(weights: list[float], means: list[float], sds: list[float], transform: TargetTransform) -> Mixture:
    shape = (1, len(weights), 1)
    return Mixture(np.array(weights), np.reshape(means, shape), np.square(sds).reshape(shape), (transform,))


def mass_inside(mixture: Mixture, pieces: np.ndarray) -> float:
    return float(sum(mixture.probability(above=low, below=high)[0] for low, high in pieces))


@pytest.mark.parametrize("mass", [0.01, 0.5, 0.9, 0.999])
def test_the_region_of_a_normal_is_its_central_interval(mass: float) -> None:
    (pieces,) = make([1.0], [0.3], [0.7], Identity(5.0, 3.0)).hdi(mass)
    expected = norm.interval(mass, 5.0 + 3.0 * 0.3, 3.0 * 0.7)
    np.testing.assert_allclose(pieces, [expected], atol=2e-4)


def test_the_region_of_a_lognormal_is_the_shortest_interval() -> None:
    truth = lognorm(s=0.56, scale=np.exp(0.4 + 0.8 * 0.3))
    (pieces,) = make([1.0], [0.3], [0.7], Log(0.4, 0.8, shift=0.0)).hdi(0.8)
    low = brentq(lambda x: truth.pdf(x) - truth.pdf(truth.ppf(truth.cdf(x) + 0.8)), 1e-3, truth.ppf(0.199))
    np.testing.assert_allclose(pieces, [[low, truth.ppf(truth.cdf(low) + 0.8)]], rtol=1e-4)


def test_two_modes_give_two_pieces_and_no_smaller_region_has_the_mass() -> None:
    mixture = make([0.4, 0.6], [-1.0, 1.0], [0.2, 0.3], Identity(0.0, 1.0))
    (pieces,) = mixture.hdi(0.9)
    assert pieces.shape == (2, 2)
    assert mass_inside(mixture, pieces) == pytest.approx(0.9, abs=1e-6)
    heights = mixture.log_prob_at(pieces.ravel())[0]
    np.testing.assert_allclose(heights, heights[0], atol=1e-6)
    central = np.squeeze(mixture.interval(0.9))
    assert np.diff(pieces, axis=1).sum() < 0.75 * (central[1] - central[0]), "the control: the central interval"


@pytest.mark.parametrize("mass", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("transform", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_every_region_has_its_mass_and_one_density_at_its_ends(transform: TargetTransform, mass: float) -> None:
    random = np.random.default_rng(3)
    shape = (5, 40, 1)
    mixture = Mixture(
        random.dirichlet(np.ones(40)), random.normal(size=shape), random.uniform(0.01, 0.1, size=shape), (transform,)
    )
    missed = []
    for row, pieces in enumerate(mixture.hdi(mass)):
        own = mixture[row : row + 1]
        missed.append(abs(mass_inside(own, pieces) - mass))
        heights = own.log_prob_at(pieces.ravel())[0]
        np.testing.assert_allclose(heights, heights[0], atol=1e-5)
        middle = own.log_prob_at(0.5 * (pieces[1:, 0] + pieces[:-1, 1]))
        assert np.all(middle < heights[0] + 1e-9), "between two pieces it is less dense"
    assert np.median(missed) < 1e-6
    assert np.max(missed) < 1e-3, "where a valley just touches the level"


@pytest.mark.parametrize("mass", [1e-9, 1e-6, 1 - 1e-6, 1 - 1e-9])
def test_extreme_masses_are_right_to_a_ten_thousandth(mass: float) -> None:
    mixture = make([0.4, 0.6], [-1.0, 1.0], [0.2, 0.3], Identity(0.0, 1.0))
    (pieces,) = mixture.hdi(mass)
    outside = mixture.probability(below=pieces[0, 0]) + mixture.probability(above=pieces[-1, 1])
    gaps = sum(mixture.probability(above=a, below=b) for a, b in zip(pieces[:-1, 1], pieces[1:, 0], strict=True))
    assert mass_inside(mixture, pieces) == pytest.approx(mass, abs=1e-4)
    assert (outside + gaps)[0] == pytest.approx(1 - mass, abs=1e-4)


def test_modes_are_where_the_density_peaks_and_weigh_what_lies_between_the_valleys() -> None:
    mixture = make([0.3, 0.5, 0.2], [-3.0, 0.0, 4.0], [0.3, 0.4, 0.2], Identity(10.0, 2.0))
    (modes,) = mixture.modes()
    np.testing.assert_allclose(modes, [[4.0, 0.3], [10.0, 0.5], [18.0, 0.2]], atol=2e-3)
    assert modes[:, 1].sum() == pytest.approx(1.0)


def test_shoulders_ripples_and_specks_are_no_modes() -> None:
    one = Identity(0.0, 1.0)
    (shoulder,) = make([0.5, 0.5], [-0.9, 0.9], [1.0, 1.0], one).modes()
    assert len(shoulder) == 1, "two normals less than two sds apart have one peak"
    (barely,) = make([0.5, 0.5], [-1.2, 1.2], [1.0, 1.0], one).modes()
    assert len(barely) == 1, "a dip of a tenth"
    (clearly,) = make([0.5, 0.5], [-2.0, 2.0], [1.0, 1.0], one).modes()
    assert len(clearly) == 2
    (speck,) = make([0.995, 0.005], [0.0, 9.0], [1.0, 0.1], one).modes()
    np.testing.assert_allclose(speck[:, 1], [1.0])


def test_a_tall_speck_does_not_hide_the_mode_beside_it() -> None:
    (modes,) = make([0.995, 0.005], [0.0, 3.0], [1.0, 0.002], Identity(0.0, 1.0)).modes()
    np.testing.assert_allclose(modes, [[0.0, 1.0]], atol=1e-2)


@pytest.mark.parametrize("transform", EXAMPLES.values(), ids=EXAMPLES.keys())
@pytest.mark.parametrize(("mean", "sd"), [(0.0, 7.0), (9.0, 1.0), (-9.0, 1.0)])
def test_a_region_does_not_vanish_where_the_transform_saturates(
    transform: TargetTransform, mean: float, sd: float
) -> None:
    mixture = make([0.9, 0.1], [0.0, mean], [0.3, sd], transform)
    (pieces,), (modes,) = mixture.hdi(0.85), mixture.modes()
    assert mass_inside(mixture, pieces) == pytest.approx(0.85, abs=0.02)
    assert np.isfinite(modes).all()
    assert modes[:, 1].sum() == pytest.approx(1.0)


def test_a_peak_behind_a_logarithm_is_that_of_the_density_in_the_users_units() -> None:
    (modes,) = make([1.0], [0.0], [1.0], Log(0.0, 1.0, shift=0.0)).modes()
    np.testing.assert_allclose(modes, [[np.exp(-1.0), 1.0]], rtol=1e-3)


def test_no_rows_have_no_regions_and_no_modes() -> None:
    none = make([1.0], [0.0], [1.0], Identity(0.0, 1.0))[:0]
    assert none.hdi(0.9) == []
    assert none.modes() == []
