"""Rows in blocks and threads: every row once, the same bits on any number of threads, and little memory."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest

from cde_app.gp.compositor import Concatenation
from cde_app.gp.kernels import Matern32
from cde_app.gp.likelihood import NormalNoise
from cde_app.gp.mean_function import ZeroMeanFunction
from cde_app.gp.sparse_gp import SparseGP
from cde_app.machine import blocks as blocks_module
from cde_app.machine.blocks import cache_blocks, map_blocks, work_in_blocks
from cde_app.predictive.chain import Chain
from cde_app.predictive.ensemble import Ensemble
from cde_app.predictive.forecast import Forecast
from cde_app.predictive.mixture import DRAW_BLOCK, Mixture
from cde_app.predictive.nodes import gaussian_nodes, uniform_nodes
from cde_app.predictive.posterior import Posterior
from cde_app.targets import Identity, TargetTransform
from cde_app.targets.log import Log
from cde_app.targets.yeo_johnson import YeoJohnson

IDENTITY, LOG = Identity(5.0, 3.0), Log(0.4, 0.8, shift=0.0)
YEO_JOHNSON = YeoJohnson(0.1, 0.9, exponent=0.5, centre=0.0, spread=1.0)
NUM_ROWS = DRAW_BLOCK + 40


def make_posterior(num_features: int, *transforms: TargetTransform) -> Posterior:
    """h(x, w) of each target, at 16 nodes."""
    random = np.random.default_rng(num_features)
    kernel = Matern32(0.9, np.full(num_features + 1, 1.3))
    Z = random.normal(size=(10, num_features + 1))
    whitening = np.linalg.inv(np.linalg.cholesky(kernel.covariance(Z, Z) + 1e-6 * np.eye(10)))
    q_sqrt = np.tril(0.2 * random.normal(size=(len(transforms), 10, 10)))
    q_mu = random.normal(size=(10, len(transforms)))
    return Posterior(
        inner_layers=(),
        output_terms=(SparseGP(kernel, Z, whitening, q_mu, np.swapaxes(q_sqrt, 1, 2) @ whitening, sees_latent=True),),
        compositor=Concatenation(),
        noise=NormalNoise(np.full(len(transforms), 0.05)),
        latent_nodes=gaussian_nodes(16, 1, seed=1),
        inner_noise=np.zeros((16, 0)),
        node_weights=np.full(16, 1 / 16),
        defence=None,
        transforms=transforms,
        output_mean=ZeroMeanFunction(np.zeros((num_features, len(transforms)))),
    )


def make_mixture() -> Mixture:
    X = np.random.default_rng(1).normal(size=(NUM_ROWS, 2))
    return Ensemble((make_posterior(2, IDENTITY, LOG, YEO_JOHNSON),) * 2).predict(X)


def make_chain() -> Chain:
    factors = (Ensemble((make_posterior(2, IDENTITY),)), Ensemble((make_posterior(3, YEO_JOHNSON),)))
    X = np.random.default_rng(1).normal(size=(NUM_ROWS, 2))
    return Chain(factors, (0, 1), uniform_nodes(32, 4, seed=0), X)


def answers_of(forecast: Forecast) -> dict[str, np.ndarray]:
    samples = forecast.sample(5, seed=3, rows=np.arange(forecast.num_rows) + 7)
    return {
        "samples": samples,
        "log_prob": forecast.log_prob(samples[0]),
        "log_prob_at": forecast.log_prob_at(samples[0, :9]),
        "cdf": forecast.cdf(samples[0]),
        "quantile": forecast.quantile([0.01, 0.5, 0.9]),
        "mean": forecast.mean(),
        "sd": forecast.sd(),
        "covariance": forecast.covariance(),
        "crps": forecast.crps(samples[0]),
    }


@pytest.mark.parametrize(("num_rows", "floats_per_row"), [(0, 1), (1, 10**9), (1000, 7), (5, 65_536)])
def test_blocks_hold_every_row_once_and_fit_the_cache(num_rows: int, floats_per_row: int) -> None:
    found = list(cache_blocks(num_rows, floats_per_row))
    assert [row for rows in found for row in range(num_rows)[rows]] == list(range(num_rows))
    longest = max(1, blocks_module.FLOATS_IN_CACHE // floats_per_row)
    assert all(rows.stop - rows.start <= longest for rows in found)


@pytest.mark.parametrize("make", [make_mixture, make_chain])
def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch, make: type[Forecast]) -> None:
    monkeypatch.setattr(blocks_module, "FLOATS_IN_CACHE", 4096)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = answers_of(make())
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for name, together in answers_of(make()).items():
        np.testing.assert_array_equal(together, alone[name], err_msg=name)
    monkeypatch.setattr(blocks_module, "FLOATS_IN_CACHE", 1000)
    others = answers_of(make())
    assert any(np.any(others[name] != alone[name]) for name in alone), "the control: other blocks round differently"


def test_the_work_is_shared_by_as_many_threads_as_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 3):
        monkeypatch.setenv("OMP_NUM_THREADS", str(number))
        meeting, names = threading.Barrier(number, timeout=60), set()

        def work(rows: slice, meeting: threading.Barrier = meeting, names: set[str] = names) -> None:
            meeting.wait()  # passes only when all threads are at work
            names.add(threading.current_thread().name)

        work_in_blocks(work, number, blocks_module.FLOATS_IN_CACHE)
        assert len(names) == number


def test_work_within_work_stays_on_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    inner, whole = [], blocks_module.FLOATS_IN_CACHE

    def work(rows: slice) -> None:
        name = threading.current_thread().name
        work_in_blocks(lambda _: inner.append(threading.current_thread().name == name), 4, whole)

    work_in_blocks(work, 4, whole)
    assert inner == [True] * 16


def test_what_goes_wrong_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    def work(rows: slice) -> None:
        if rows.start == 3:
            raise ArithmeticError("row 3")

    with pytest.raises(ArithmeticError, match="row 3"):
        work_in_blocks(work, 8, blocks_module.FLOATS_IN_CACHE)


def test_no_answer_holds_another_array_as_large_as_the_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    random = np.random.default_rng(0)
    means, variances = random.normal(size=(20_000, 64, 1)), random.uniform(0.1, 1.0, (20_000, 64, 1))
    mixture = Mixture(np.full(64, 1 / 64), means, variances, (IDENTITY,))
    y = random.normal(5.0, 3.0, size=(20_000, 1))

    def peak(answer: str, *arguments: object) -> int:
        tracemalloc.start()
        getattr(mixture, answer)(*arguments)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small = 0.5 * means.nbytes
    for answer, arguments in {"log_prob": (y,), "cdf": (y,), "mean": (), "quantile": ([0.1, 0.9],)}.items():
        assert peak(answer, *arguments) < small, answer
    monkeypatch.setattr(blocks_module, "FLOATS_IN_CACHE", 10**9)
    assert peak("log_prob", y) > small, "the control: one block of all rows"


@pytest.mark.parametrize("num_threads", ["1", "2"])
def test_what_blocks_give_comes_in_their_order(num_threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", num_threads)
    starts = [rows.start for rows in cache_blocks(1000, 1000)]
    found = map_blocks(lambda rows: rows.stop, 1000, 1000)
    assert len(starts) > 2
    assert list(found) == starts
    assert list(found.values()) == [*starts[1:], 1000]
