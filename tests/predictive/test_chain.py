"""A chain of mixtures: the joint density is the product of its factors, and every other answer follows from it."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import simpson
from scipy.special import ndtri
from scipy.stats import norm

from cde_app.evaluation.verdict import ks_critical_value, ks_distance
from cde_app.gp.compositor import Concatenation
from cde_app.gp.kernels import Linear, SquaredExponential
from cde_app.gp.likelihood import NormalNoise
from cde_app.gp.mean_function import PCAMeanFunction, ZeroMeanFunction
from cde_app.gp.sparse_gp import SparseGP
from cde_app.predictive.chain import Chain
from cde_app.predictive.defence import Defence
from cde_app.predictive.ensemble import Ensemble, extend
from cde_app.predictive.kernel_density import KernelDensity
from cde_app.predictive.mixture import DRAW_BLOCK, Mixture
from cde_app.predictive.nodes import gaussian_nodes, in_boxes, uniform_nodes
from cde_app.predictive.posterior import Posterior
from cde_app.predictive.predictor import Predictor, assemble_predictor
from cde_app.targets import Identity, TargetTransform
from cde_app.targets.log import Log
from cde_app.targets.yeo_johnson import YeoJohnson
from tests.storing import stored_and_read

IDENTITY, LOG = Identity(5.0, 3.0), Log(0.4, 0.8, shift=0.0)
YEO_JOHNSON = YeoJohnson(0.1, 0.9, exponent=0.5, centre=0.0, spread=1.0)
STANDARD_ERRORS = 4.0


def make_gp(dim: int, *, sees_latent: bool, seed: int) -> SparseGP:
    random = np.random.default_rng(seed)
    kernel = SquaredExponential(0.9, np.full(dim, 1.3))
    Z = random.normal(size=(10, dim))
    whitening = np.linalg.inv(np.linalg.cholesky(kernel.covariance(Z, Z) + 1e-6 * np.eye(10)))
    q_sqrt = np.tril(0.2 * random.normal(size=(1, 10, 10)))
    return SparseGP(
        kernel, Z, whitening, random.normal(size=(10, 1)), np.swapaxes(q_sqrt, 1, 2) @ whitening, sees_latent
    )


def make_member(num_inputs: int, transform: TargetTransform, *, seed: int, num_nodes: int = 16) -> Posterior:
    """g(x) + h(x, w) of one target, with four defensive components."""
    return Posterior(
        inner_layers=(),
        output_terms=(
            make_gp(num_inputs, sees_latent=False, seed=seed),
            make_gp(num_inputs + 1, sees_latent=True, seed=seed + 1),
        ),
        compositor=Concatenation(),
        noise=NormalNoise(np.array([0.05])),
        latent_nodes=gaussian_nodes(num_nodes, 1, seed=seed),
        inner_noise=np.zeros((num_nodes, 0)),
        node_weights=np.full(num_nodes, 1 / num_nodes),
        defence=Defence(
            gp=make_gp(num_inputs, sees_latent=False, seed=seed + 2),
            mean=ZeroMeanFunction(np.zeros((num_inputs, 1))),
            noise=np.array([0.3]),
            log_scale=np.zeros((10, 1)),
            log_scale_range=np.zeros((2, 1)),
            inflation=np.array([2.0, 4.0]),
            widest=np.array([3.0]),
            tail_weights=0.06 * np.array([0.7, 0.3]),
            climatology=KernelDensity(np.array([0.4, 0.6]), np.array([[-1.0], [0.5]]), np.array([[0.5], [0.2]])),
            narrowest=np.zeros(1),
            climatology_share=0.04,
        ),
        transforms=(transform,),
        output_mean=ZeroMeanFunction(np.zeros((num_inputs, 1))),
    )


def make_chain(
    num_rows: int = 3, *, num_nodes: int = 512, order: tuple[int, ...] = (1, 0), defence: bool = True
) -> Chain:
    """Two features; the table's targets are identity and log; each factor is an ensemble of two."""
    transforms = (IDENTITY, LOG)
    factors = tuple(
        Ensemble(tuple(make_member(2 + k, transforms[place], seed=10 * k + 5 * e) for e in range(2)))
        for k, place in enumerate(order)
    )
    if not defence:
        factors = tuple(Ensemble(tuple(replace(m, defence=None) for m in factor.members)) for factor in factors)
    X = np.random.default_rng(1).normal(size=(num_rows, 2))
    return Chain(factors, order, uniform_nodes(num_nodes, 4, seed=0), X)


def grid_of(chain: Chain, num_points: int = 161) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of both targets, even in the standardised scale [points^2, 2], that scale, and dy/dz at each point."""
    z = np.linspace(-6, 6, num_points)
    columns = [t.inverse(z) for t in chain.transforms]
    slopes = [np.exp(-t.log_jacobian(y)) for t, y in zip(chain.transforms, columns, strict=True)]
    points = np.stack(np.meshgrid(*columns, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, z, np.outer(*slopes)


def test_a_chain_answers_everything_that_a_mixture_answers() -> None:
    def questions(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(m).parameters) for name, m in methods if not name.startswith("_")}

    of_one_target = {"cdf_along", "log_prob_along", "mass_between"}
    assert questions(Chain) == {name: of for name, of in questions(Mixture).items() if name not in of_one_target}
    properties = {"num_rows", "num_targets", "transforms", "closest_pair"}
    assert properties <= set(dir(Chain)) | set(Chain.__dataclass_fields__)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_joint_density_integrates_to_one_and_its_margins_are_the_marginals(order: tuple[int, ...]) -> None:
    chain = make_chain(2, num_nodes=4096, order=order)
    points, z, slope = grid_of(chain)
    mass = np.exp(chain.log_prob_at(points)).reshape(2, len(z), len(z)) * slope
    np.testing.assert_allclose(simpson(simpson(mass, x=z), x=z), 1.0, atol=2e-4)
    for place, axis in ((0, 2), (1, 1)):
        margin = simpson(mass, x=z, axis=axis)
        grid = chain.transforms[place].inverse(z)
        found = np.exp(chain.marginal(place).log_prob_at(grid)) * np.exp(-chain.transforms[place].log_jacobian(grid))
        first = place == order[0]
        np.testing.assert_allclose(found, margin, atol=2e-4 if first else 0.02 * margin.max())
        assert np.abs(found - np.roll(margin, 8, axis=1)).max() > 0.05 * margin.max(), "the control must fail"


def test_the_log_density_is_the_sum_of_the_factors_given_what_comes_before() -> None:
    chain = make_chain()
    targets = np.random.default_rng(2).normal([5.0, 1.5], [1.0, 0.1], size=(3, 2))
    first = chain.factors[0].predict(chain.X)
    second = chain.factors[1].predict(extend(chain.X, LOG.forward(targets[:, 1])))
    expected = first.log_prob(targets[:, [1]]) + second.log_prob(targets[:, [0]])
    np.testing.assert_allclose(chain.log_prob(targets), expected, rtol=1e-13)
    np.testing.assert_allclose(np.diag(chain.log_prob_at(targets)), expected, rtol=1e-10)


def test_draws_have_the_means_and_the_dependence_of_the_density_and_each_ones_distribution() -> None:
    chain, num_samples = make_chain(num_nodes=8192, defence=False), 20_000
    draws = chain.sample(num_samples, seed=3)
    error = chain.sd() / np.sqrt(num_samples)
    assert np.all(np.abs(draws.mean(0) - chain.mean()) < STANDARD_ERRORS * error + 2e-3 * chain.sd())
    for row in range(3):
        sd = draws[:, row].std(0)
        correlation = np.corrcoef(draws[:, row].T)[0, 1]
        stated = chain.covariance()[row]
        assert abs(correlation - stated[0, 1] / np.sqrt(stated[0, 0] * stated[1, 1])) < 5 / np.sqrt(num_samples)
        for target in range(2):
            point = draws[:, row, target].mean() + 0.3 * sd[target]
            share = np.mean(draws[:, row, target] <= point)
            stated_share = chain[row : row + 1].cdf(np.full((1, 2), point))[0, target]
            assert abs(share - stated_share) < STANDARD_ERRORS * 0.5 / np.sqrt(num_samples) + 2e-3


def test_the_draws_and_answers_of_a_row_do_not_depend_on_the_rows_beside_it() -> None:
    chain = make_chain(DRAW_BLOCK + 40, num_nodes=64)
    whole = chain.sample(3, seed=1)
    tail = chain[DRAW_BLOCK - 5 :].sample(3, seed=1, rows=np.arange(DRAW_BLOCK - 5, chain.num_rows))
    np.testing.assert_allclose(tail, whole[:, DRAW_BLOCK - 5 :], rtol=1e-10)
    np.testing.assert_allclose(chain[7:9].mean(), chain.mean()[7:9], rtol=1e-10)
    np.testing.assert_allclose(chain[7:9].quantile([0.1])[0], chain.quantile([0.1])[0, 7:9], rtol=1e-9)


def test_independent_factors_have_no_covariance_and_their_own_crps() -> None:
    chain = make_chain(2, num_nodes=4096)
    blind = SquaredExponential(0.9, np.array([1.3, 1.3, 1e6]))
    factor = chain.factors[1]
    members = []
    for member in factor.members:
        wide = SquaredExponential(0.9, np.array([1.3, 1.3, 1e6, 1.3]))
        g, h = member.output_terms
        terms = (
            SparseGP(blind, g.inducing_inputs, g.whitening, g.q_mu, g.q_projection, sees_latent=False),
            SparseGP(wide, h.inducing_inputs, h.whitening, h.q_mu, h.q_projection, sees_latent=True),
        )
        fields = {**vars(member), "output_terms": terms, "defence": None}
        members.append(Posterior(**{name: fields[name] for name in Posterior.__dataclass_fields__}))
    independent = Chain((chain.factors[0], Ensemble(tuple(members))), chain.order, chain.nodes, chain.X)
    covariance, sd = independent.covariance(), independent.sd()
    # With G = 4096 nodes the correlation of independent draws is of order 1 / sqrt(G).
    assert np.all(np.abs(covariance[:, 0, 1]) < STANDARD_ERRORS / 64 * sd[:, 0] * sd[:, 1])
    alone = independent.factors[1].predict(extend(chain.X, np.zeros(2)))
    targets = np.array([[4.0, 1.0], [6.0, 2.0]])
    np.testing.assert_allclose(independent.crps(targets)[:, 0], alone.crps(targets[:, [0]])[:, 0], rtol=0.01)
    np.testing.assert_allclose(np.diagonal(covariance, axis1=1, axis2=2), sd**2, rtol=1e-10)


def make_linear_member(slope: np.ndarray, latent_slope: float, sd: float, *, num_nodes: int, seed: int) -> Posterior:
    """y = x a + c w + e of standardised y, w in two groups around -1 and 1."""
    axis, one = np.append(np.zeros(len(slope)), 1.0), np.eye(1)
    h = SparseGP(
        Linear(axis),
        axis[None],
        one,
        np.array([[latent_slope]]),
        0 * one[None],
        sees_latent=True,
    )
    scores = gaussian_nodes(num_nodes, 1, seed=seed)
    return Posterior(
        inner_layers=(),
        output_terms=(h,),
        compositor=Concatenation(),
        noise=NormalNoise(np.array([sd**2])),
        latent_nodes=np.sign(scores) + 0.3 * scores,
        node_weights=np.full(num_nodes, 1 / num_nodes),
        inner_noise=np.zeros((num_nodes, 0)),
        defence=None,
        transforms=(IDENTITY,),
        output_mean=PCAMeanFunction(slope[:, None]),
    )


def make_known_chain(transforms: tuple[TargetTransform, ...], *, num_components: int, num_rows: int = 4) -> Chain:
    """With the default number of nodes; each target rests on the feature, those before it and a w of its own."""
    factors = []
    for k, transform in enumerate(transforms):
        slope = np.append(0.5 - 0.2 * k, 0.9 * (-0.7) ** np.arange(k))
        member = make_linear_member(slope, 0.8 - 0.1 * k, 0.2 - 0.02 * k, num_nodes=num_components, seed=3 + k)
        factors.append(Ensemble((replace(member, transforms=(transform,)),)))
    order = tuple(range(len(factors)))
    nodes = assemble_predictor(None, tuple(factors), order, num_components=256, seed=-1).nodes
    return Chain(tuple(factors), order, nodes, np.random.default_rng(1).normal(size=(num_rows, 1)))


def joint_mixture(chain: Chain) -> Mixture:
    """The joint density of a known chain in closed form: a Gaussian for each choice of all w, C^P of them."""
    members = [factor.members[0] for factor in chain.factors]
    slopes = [member.output_mean.slope[:, 0] for member in members]
    latent_slopes = [member.output_terms[0].q_mu[0, 0] for member in members]
    before = np.stack([np.pad(slope[1:], (0, len(members) - k)) for k, slope in enumerate(slopes)])
    response = np.linalg.inv(np.eye(len(members)) - before)
    W = np.stack(np.meshgrid(*[member.latent_nodes[:, 0] for member in members], indexing="ij"), -1)
    W = W.reshape(-1, len(members))
    means = ((chain.X * [slope[0] for slope in slopes])[:, None] + W * latent_slopes) @ response.T
    covariance = response * [member.noise.variance[0] for member in members] @ response.T
    variances = np.broadcast_to(np.diagonal(covariance), means.shape)
    covariances = np.broadcast_to(covariance, (1, len(W), *covariance.shape))
    return Mixture(np.full(len(W), 1 / len(W)), means, variances, chain.transforms, covariances)


def by_shared_nodes(chain: Chain) -> Mixture:
    """The last target at 256 nodes of all rows alike, which choose the components as they are stored."""
    num_nodes, num_rows = 256, chain.num_rows
    nodes = uniform_nodes(num_nodes, 2 * chain.num_targets, seed=0)
    inputs = np.repeat(chain.X, num_nodes, axis=0)
    for k, factor in enumerate(chain.factors):
        component = (nodes[:, 2 * k] * len(factor.weights)).astype(int)
        mean, variance = factor.moments_at(inputs, np.tile(component, num_rows))
        z = mean[:, 0] + np.sqrt(variance[:, 0]) * np.tile(ndtri(nodes[:, 2 * k + 1]), num_rows)
        inputs = extend(inputs, z)
    weights, transforms = np.full(num_nodes, 1 / num_nodes), chain.factors[-1].members[0].transforms
    return Mixture(weights, mean.reshape(num_rows, -1, 1), variance.reshape(num_rows, -1, 1), transforms)


@pytest.mark.parametrize(
    ("transforms", "num_components"),
    [
        ((IDENTITY, IDENTITY), 64),
        ((LOG, YEO_JOHNSON), 64),
        ((IDENTITY, LOG, YEO_JOHNSON), 16),
        ((YEO_JOHNSON, IDENTITY, LOG), 16),
        ((IDENTITY,) * 6, 4),
    ],
)
def test_a_known_chain_s_margins_moments_and_quantiles_are_right(
    transforms: tuple[TargetTransform, ...], num_components: int
) -> None:
    """`docs/method.md` states these errors."""
    chain = make_known_chain(transforms, num_components=num_components)
    truth = joint_mixture(chain)
    levels, sd = np.linspace(0.025, 0.975, 20), truth.sd()
    points = truth.quantile(levels)
    errors = np.abs(np.stack([chain.cdf(point) for point in points]) - levels[:, None, None])
    allowed = np.array([1e-9, 0.002, 0.003, 0.015, 0.015, 0.015])[: len(transforms)]
    assert np.all(errors.mean((0, 1)) < allowed)
    assert np.all(errors < 2 * allowed)
    assert np.all(np.abs(chain.mean() - truth.mean()) < 0.003 * sd)
    assert np.all(np.abs(chain.sd() / sd - 1) < 0.01)
    assert np.all(np.abs(chain.covariance() - truth.covariance()) < 0.01 * sd[:, :, None] * sd[:, None, :])
    assert np.all(np.abs(truth.cdf(chain.quantile([0.3])[0]) - 0.3) < 2 * allowed)


def test_where_the_nodes_choose_the_components_as_they_are_stored_a_known_chain_is_missed() -> None:
    """The control of the tests beside it: a number and the w that it chose were as good as dependent."""
    chain = make_known_chain((IDENTITY, IDENTITY), num_components=256, num_rows=1)
    point = joint_mixture(chain).quantile([0.25])[0]
    assert np.abs(by_shared_nodes(chain).cdf(point[:, 1:]) - 0.25) > 0.02
    assert np.abs(chain.cdf(point)[:, 1] - 0.25) < 0.002


def test_the_observations_of_a_known_chain_are_uniform_to_its_margins() -> None:
    chain = make_known_chain((IDENTITY, IDENTITY), num_components=256, num_rows=3000)
    y = chain.sample(1, seed=5)[0]
    limit = ks_critical_value(len(y), level=0.99)
    assert ks_distance(chain.cdf(y)[:, 0]) < limit
    assert ks_distance(chain.cdf(y)[:, 1]) < limit
    assert ks_distance(by_shared_nodes(chain).cdf(y[:, 1:])) > limit


@pytest.mark.parametrize("num_targets", [2, 6])
def test_the_covariance_can_be_factorised_also_where_a_target_follows_from_another(num_targets: int) -> None:
    transforms = (IDENTITY, LOG, YEO_JOHNSON, IDENTITY, IDENTITY, IDENTITY)[:num_targets]
    chain = make_known_chain(transforms, num_components=4)
    members = [
        replace(f.members[0], noise=NormalNoise(np.array([1e-12])), latent_nodes=0 * f.members[0].latent_nodes)
        for f in chain.factors[1:]
    ]
    copies = replace(chain, factors=(chain.factors[0], *(Ensemble((member,)) for member in members)))
    for forecast in (chain, copies):
        sd = forecast.sd()
        correlation = forecast.covariance() / (sd[:, :, None] * sd[:, None, :])
        np.testing.assert_allclose(np.diagonal(correlation, axis1=1, axis2=2), 1.0, rtol=1e-12)
        assert np.all(np.linalg.eigvalsh(correlation) > -1e-12)
    assert np.all(np.abs(correlation[:, 0, 1]) > 0.9)


def test_a_chain_has_half_as_many_nodes_again_as_its_factors_have_components() -> None:
    factors = make_chain().factors
    assert assemble_predictor(None, factors, (0, 1), num_components=256, seed=0).nodes.shape == (384, 4)
    assert assemble_predictor(None, factors[:1], (0,), num_components=256, seed=0).nodes.size == 0


def test_close_numbers_choose_components_of_a_member_that_are_close_in_w() -> None:
    factor = make_chain(defence=False).factors[0]
    chosen = factor.component_at((np.arange(32) + 0.5) / 32)
    np.testing.assert_array_equal(np.sort(chosen), np.arange(32))
    for member, own in zip(factor.members, (chosen[:16], chosen[16:] - 16), strict=True):
        assert np.all(np.diff(member.latent_nodes[own, 0]) > 0)


def test_every_half_and_quarter_of_points_in_boxes_is_a_box() -> None:
    points = uniform_nodes(64, 2, seed=0)
    ordered = points[in_boxes(points)]
    for first, second, axis in ((ordered[:32], ordered[32:], 0), (ordered[:16], ordered[16:32], 1)):
        assert first[:, axis].max() < second[:, axis].min()
    assert sorted(in_boxes(points)) == list(range(64))
    np.testing.assert_array_equal(in_boxes(points[:, :1]), np.argsort(points[:, 0]))
    np.testing.assert_array_equal(in_boxes(points[:5, :0]), np.arange(5))


def test_one_component_per_row_is_that_component_of_the_mixture() -> None:
    factor = make_chain().factors[0]
    X = np.random.default_rng(4).normal(size=(40, 2))
    component = factor.component_at(np.random.default_rng(5).random(40))
    mixture = factor.predict(X)
    mean, variance = factor.moments_at(X, component)
    np.testing.assert_allclose(mean[:, 0], mixture.means[np.arange(40), component, 0], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(variance[:, 0], mixture.variances[np.arange(40), component, 0], rtol=1e-9)
    wide = [len(member.latent_nodes) for member in factor.members]
    assert np.any(component >= wide[0]), "a defensive component or the second member must be among them"


def test_components_are_chosen_in_proportion_to_their_weights() -> None:
    factor = make_chain().factors[0]
    shares = np.bincount(factor.component_at((np.arange(100_000) + 0.5) / 100_000)) / 100_000
    np.testing.assert_allclose(shares, factor.weights, atol=2e-5)


def test_an_ensemble_is_the_average_of_its_members_densities() -> None:
    ensemble = make_chain().factors[0]
    X, y = np.zeros((1, 2)), np.array([[1.7]])
    each = [np.exp(member.predict(X).log_prob(y)) for member in ensemble.members]
    np.testing.assert_allclose(np.exp(ensemble.predict(X).log_prob(y)), np.mean(each, axis=0), rtol=1e-12)


def test_a_predictor_survives_json_and_arrays() -> None:
    chain = make_chain()
    predictor = Predictor(None, chain.factors, chain.order, chain.nodes)
    twin = stored_and_read(predictor)
    targets = np.full((3, 2), 2.0)
    np.testing.assert_array_equal(twin.predict(chain.X).log_prob(targets), chain.log_prob(targets))
    single = Predictor(None, chain.factors[:1], (0,), np.zeros((0, 0)))
    assert isinstance(single.predict(chain.X), Mixture)


def test_a_target_far_outside_is_an_input_within_the_range() -> None:
    np.testing.assert_array_equal(extend(np.zeros((2, 1)), np.array([-np.inf, 50.0])), [[0.0, -6.0], [0.0, 6.0]])
    assert norm.cdf(-6.0) < 1e-8  # what the range leaves out
