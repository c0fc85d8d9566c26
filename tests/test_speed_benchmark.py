"""What the benchmark of speed asserts about its own figures: equal gradients, counted operations, filled-in tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.syspath_prepend(str(project / "benchmarks"))


def test_the_gradients_of_our_bound_and_of_the_elbo_of_gpflux_are_equal_on_the_same_draws() -> None:
    from measurements.models import Sizes, synthetic_rows
    from measurements.training_step import gradient_difference

    sizes = Sizes(num_rows=60, num_features=2, num_inducing=8, batch_size=30)
    X, Y = synthetic_rows(sizes.num_rows, sizes.num_features, seed=1)
    assert gradient_difference(X, Y, sizes, draws=(0, 0)) < 1e-6
    assert gradient_difference(X, Y, sizes, draws=(0, 1)) > 1e-2, "the control, other draws, must fail"


def test_the_operations_of_a_graph_are_counted_by_the_shapes_and_the_precision_of_its_products() -> None:
    from measurements.limit import SINGLE, matrix_flops

    from cde_app.model.moments import quadratic_forms

    M, rows, stack = 32, 64, 3

    @tf.function
    def step(A: tf.Tensor, K: tf.Tensor, S: tf.Tensor) -> list[tf.Tensor]:
        factor = tf.linalg.cholesky(A)
        solved = tf.linalg.triangular_solve(factor, K)
        with tf.GradientTape() as tape:
            tape.watch([K, S])
            single = quadratic_forms(tf.cast(S, tf.float32), tf.cast(K, tf.float32))
            forms = quadratic_forms(S, K) + tf.cast(single, K.dtype)
        return [tf.matmul(A, solved, transpose_a=True), tf.exp(S @ S), *tape.gradient(forms, [K, S])]

    shapes = [[M, M], [M, rows], [stack, M, M]]
    graph = step.get_concrete_function(*(tf.TensorSpec(shape, tf.float64) for shape in shapes)).graph
    assert matrix_flops(graph, rows) == {
        "Cholesky factors and triangular solves": pytest.approx(M**3 / 3 + M**2 * rows),
        "quadratic forms, M x M x rows": 4 * stack * M**2 * rows,
        "quadratic forms, M x M x rows" + SINGLE: 4 * stack * M**2 * rows,
        "whitening, M x M x rows": 2 * M**2 * rows,
        "M x M x M per GP": 2 * stack * M**3,
    }


def test_of_a_step_every_product_over_rows_is_counted_as_such() -> None:
    """Whitening takes 2 M^2 per point forward and 4 backward; here by the inner layer and the output layer."""
    from measurements.limit import matrix_flops, traced_step
    from measurements.models import Sizes, our_trainer, synthetic_rows

    sizes = Sizes(num_rows=1024, num_features=2, num_inducing=32, batch_size=512)
    flops = matrix_flops(traced_step(our_trainer(*synthetic_rows(sizes.num_rows, 2, seed=1), sizes)), sizes.batch_size)
    assert flops["whitening, M x M x rows"] == 2 * 6 * sizes.num_inducing**2 * sizes.batch_size


def test_the_slope_is_the_power_of_the_upper_half_and_a_size_of_zero_has_none() -> None:
    from measurements.record import Curve

    sizes = (1, 2, 4, 8, 16)
    cubic = Curve("a", "", "figure", "size", sizes, "seconds", [max(10.0, float(size) ** 3) for size in sizes])
    assert cubic.to_line()["slope"] == pytest.approx(3.0)
    assert Curve("a", "", "figure", "size", (0, 1, 2), "seconds", [1.0, 2.0, 3.0]).to_line()["slope"] is None


def test_the_median_is_held_against_the_bar() -> None:
    from measurements.record import Bar, Comparison

    values = [1.0, 2.0, 9.0]
    held = {
        str(bar): Comparison("a", "", values, bar=bar).to_line()["holds"]
        for bar in (Bar("at least", 2.5), Bar("at most", 2), Bar("below", 2))
    }
    assert held == {"at least 2.5": False, "at most 2": True, "below 2": False}


def test_a_page_is_filled_between_its_markers_and_filling_it_again_changes_nothing(tmp_path: Path) -> None:
    from measurements.page import fill
    from measurements.record import Bar, Comparison

    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- measured: bars -->\nstale\n<!-- end -->\n<!-- measured: curves -->\nkept\n<!-- end -->\nafter\n"
    )
    lines = [Comparison("step", "A / B", [3.0], bar=Bar("at least", 2.5)).to_line()]
    fill(lines, page)
    filled = page.read_text()
    assert "| `step` | 3 times | 3 to 3 | at least 2.5 | yes |" in filled
    assert "stale" not in filled
    assert filled.startswith("before\n")
    assert "\nkept\n" in filled, "of a place nothing was measured for"
    fill(lines, page)
    assert page.read_text() == filled


def test_every_place_of_the_performance_page_is_one_that_the_benchmark_fills(project: Path) -> None:
    from measurements.page import PLACE

    text = (project / "docs/performance.md").read_text(encoding="utf-8")
    names = [found["name"] for found in PLACE.finditer(text)]
    profiles = [f"step_{model}_{part}" for model in ("of_limit", "default") for part in ("flops", "time")]
    assert names == ["machine", "bars", *profiles, "curves"]
    assert text.count("<!-- measured:") == len(names)
