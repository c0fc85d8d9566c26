from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import norm

from cde_app.predictive.mixture import Mixture
from cde_app.report.densities import axis_ends, hpd_thresholds
from cde_app.report.gallery import calibration_pictures
from cde_app.report.plots import (
    figure_bytes,
    plot_coverage,
    plot_density_heatmap,
    plot_ecdf,
    plot_history,
    plot_joint_rows,
    plot_latent,
    plot_pit,
    plot_ridges,
    save_figure,
    spread_rows,
)
from cde_app.targets import Identity


def make_mixture(num_rows: int, num_targets: int, *, dependent: bool = False) -> Mixture:
    random = np.random.default_rng(0)
    means = random.normal(size=(num_rows, 4, num_targets))
    variances = np.full(means.shape, 0.2)
    transforms = tuple(Identity(10.0, 2.0) for _ in range(num_targets))
    covariances = None
    if dependent:
        covariances = np.broadcast_to(
            0.1 * np.ones((num_targets, num_targets)) + 0.1 * np.eye(num_targets), (1, 4, num_targets, num_targets)
        )
    return Mixture(np.full(4, 0.25), means, variances, transforms, covariances)


def make_history(*, validated: bool, steps: int = 100) -> list[dict[str, float | None]]:
    return [
        {
            "training": 0,
            "step": n,
            "bound": -1 / (n + 1),
            "validation_score": -abs(n - 60.0) if validated and n % 20 == 0 else None,
        }
        for n in range(steps)
    ]


def make_heatmap(*, name: str = "x") -> Figure:
    random = np.random.default_rng(1)
    return plot_density_heatmap(
        make_mixture(20, 1),
        np.linspace(0, 1, 20),
        random.random(50),
        10 + random.normal(size=50),
        input_name=name,
        target_name="y",
        target_unit="m",
    )


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_every_picture_renders_as_png():
    pit = np.random.default_rng(2).random((60, 2))
    for figure in (
        make_heatmap(),
        plot_history(make_history(validated=True)),
        plot_ridges(make_mixture(3, 1), np.full(3, 10.0), labels=["a", "b", "c"], target_name="y"),
        plot_latent(pit[:, 0], pit[:, 1], pit[:, 0], [-1, 1], input_name="x"),
        plot_pit(pit, target_names=["y", "z"]),
        plot_ecdf(pit, names=["y", "z"]),
        plot_coverage(pit, target_names=["y", "z"]),
    ):
        assert figure_bytes(figure, "png").startswith(b"\x89PNG")


def test_a_picture_has_the_same_bytes_every_time_whatever_was_rendered_before():
    pit = np.random.default_rng(2).random((60, 1))
    first, second = plot_coverage(pit, target_names=["y"]), plot_coverage(pit, target_names=["y"])
    png = figure_bytes(first, "png")
    svg = figure_bytes(first, "svg")
    assert b"<svg" in svg
    assert figure_bytes(second, "svg") == svg
    assert figure_bytes(second, "png") == png


def test_a_png_has_150_dots_per_inch():
    png = figure_bytes(plot_history(make_history(validated=False)), "png")
    dots_per_metre = int.from_bytes(png[png.index(b"pHYs") + 4 :][:4], "big")
    assert dots_per_metre == round(150 / 0.0254)


def test_saving_leaves_one_whole_file_and_refuses_other_formats(tmp_path: Path):
    figure = plot_history(make_history(validated=False))
    save_figure(figure, tmp_path / "history.png")
    save_figure(figure, tmp_path / "history.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.png", "history.svg"]
    assert (tmp_path / "history.png").read_bytes() == figure_bytes(figure, "png")
    with pytest.raises(ValueError, match=r"ending in .png or .svg; got 'history.gif'"):
        save_figure(figure, tmp_path / "history.gif")


def test_the_history_of_several_trainings_says_that_it_is_of_the_first():
    history = make_history(validated=False)
    several = [*history, *({**entry, "training": 1} for entry in history)]
    assert any(text.startswith("The first of 2 trainings: ") for text in texts(plot_history(several)))


def test_one_forecast_far_off_does_not_hide_the_others():
    lower, upper = np.arange(12.0), np.arange(12.0) + 1.0
    np.testing.assert_array_equal(axis_ends(lower, upper), [0.0, 12.0])
    upper[-1] = 1e6
    low, high = axis_ends(lower, upper)
    assert low == 0.0
    assert 12.0 < high < 24.0
    np.testing.assert_array_equal(axis_ends(lower[-3:], upper[-3:]), [9.0, 1e6])


def test_the_history_names_and_marks_the_best_validated_step():
    figure = plot_history(make_history(validated=True))
    assert "Training kept the state of step 60" in texts(figure)
    assert len(figure.axes) == 2


@pytest.mark.parametrize("validated", [False, True])
def test_the_history_shows_the_kl_of_the_latent_layer_under_its_name(validated: bool):
    history = [{**entry, "causes_local_kl": 0.1 * entry["step"]} for entry in make_history(validated=validated)]
    panels = plot_history(history).axes
    assert len(panels) == 2 + validated
    assert panels[1].get_ylabel() == "causes_local_kl\n[nats per row]"
    np.testing.assert_allclose(panels[1].lines[0].get_ydata(), 0.1 * np.arange(100))


def test_a_history_without_validation_or_with_gaps_is_drawn():
    assert len(plot_history(make_history(validated=False)).axes) == 1
    gaps = [
        {"training": 0, "step": 0, "bound": float("nan"), "validation_score": None},
        {"training": 0, "step": 1, "bound": -1.0},
    ]
    figure_bytes(plot_history(gaps), "png")
    plot_history([])


def test_the_heat_map_draws_the_density_and_its_quantiles():
    figure = make_heatmap()
    ax = figure.axes[0]
    mixture = make_mixture(20, 1)
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.lines}
    np.testing.assert_allclose(drawn["median"], mixture.quantile([0.5])[0, :, 0])
    np.testing.assert_allclose(drawn["5% and 95% quantile"], mixture.quantile([0.05])[0, :, 0])
    mesh = ax.collections[0]
    coordinates = mesh.get_coordinates()  # type: ignore[attr-defined]
    density = np.asarray(mesh.get_array()).reshape(coordinates.shape[:2])
    # Each column is a density: over the drawn range, nearly all of its mass.
    step = coordinates[1, 0, 1] - coordinates[0, 0, 1]
    assert np.all(density.sum(axis=0) * step > 0.95)
    assert np.all(density.sum(axis=0) * step < 1.001)
    assert ax.get_xlabel() == "x"
    assert ax.get_ylabel() == "y [m]"


def test_the_heat_map_of_rows_without_targets_promises_no_dots():
    grid = np.linspace(0, 1, 20)
    figure = plot_density_heatmap(make_mixture(20, 1), grid, [], [], input_name="x", target_name="y")
    assert not any("dots" in text for text in texts(figure))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["median", "5% and 95% quantile"]


def test_dollar_signs_and_underscores_in_names_are_drawn_as_they_are():
    figure_bytes(make_heatmap(name="price_in_$ and $\\undefined$"), "png")
    figure = plot_ridges(make_mixture(1, 1), None, labels=["$\\broken"], target_name="$x_{")
    figure_bytes(figure, "png")


def test_ridges_have_one_labelled_line_for_each_row_and_a_tick_for_each_truth():
    mixture = make_mixture(3, 1)
    figure = plot_ridges(mixture, np.array([9.0, 10.0, 11.0]), labels=["first", "second", "third"], target_name="y")
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second", "third"]
    ticks = [line for line in ax.lines if len(np.asarray(line.get_xdata())) == 2]
    assert [float(np.asarray(line.get_xdata())[0]) for line in ticks] == [9.0, 10.0, 11.0]
    without = plot_ridges(mixture, None, labels=["first", "second", "third"], target_name="y")
    assert len(without.axes[0].lines) == 3


@pytest.mark.parametrize("dependent", [False, True])
def test_the_joint_picture_has_common_axes_and_a_panel_for_each_of_at_most_six_rows(dependent: bool):
    mixture = make_mixture(8, 3, dependent=dependent)
    targets = np.full((8, 3), 10.0)
    figure = plot_joint_rows(mixture, targets, labels=[f"row {n}" for n in range(8)], target_names=["a", "b", "c"])
    assert len(figure.axes) == 6
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    assert "How a and b vary together" in texts(figure)
    figure_bytes(figure, "png")


def test_highest_density_thresholds_of_a_normal_are_those_of_its_radius():
    axis = np.linspace(-6, 6, 601)
    density = norm.pdf(axis)[:, None] * norm.pdf(axis)[None, :]
    thresholds = hpd_thresholds(density, [0.9, 0.5])
    # The region of mass p is the disc where exp(-r^2 / 2) >= 1 - p.
    np.testing.assert_allclose(thresholds, np.array([0.1, 0.5]) / (2 * np.pi), rtol=0.01)


def test_the_pit_picture_marks_the_bars_outside_the_band():
    figure = plot_pit(np.concatenate([np.full(100, 0.01), np.linspace(0, 1, 900)])[:, None], target_names=["y"])
    colours = [bar.get_facecolor() for bar in figure.axes[0].patches if hasattr(bar, "get_height")]
    outlying = [colour for colour in colours if colour != colours[-1]]
    assert colours[-20] in outlying
    assert len(outlying) < 5


def test_pictures_of_many_targets_stop_at_six_panels():
    pit = np.random.default_rng(3).random((40, 9))
    names = [f"y{p}" for p in range(9)]
    assert len(plot_pit(pit, target_names=names).axes) == 6
    assert len(plot_coverage(pit, target_names=names).axes) == 6


def test_spread_rows_go_from_the_lowest_to_the_highest_value():
    values = np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    assert spread_rows(values, 5).tolist() == [1, 3, 2, 4, 0]
    assert spread_rows(values, 9).tolist() == [1, 3, 2, 4, 0]
    assert spread_rows(np.arange(100.0), 2).tolist() == [25, 75]
    assert spread_rows([], 3).tolist() == []


def test_drawing_leaves_no_trace_in_matplotlibs_global_state():
    program = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy(); from cde_app.report.plots import *; "
        "figure_bytes(plot_history([{'training': 0, 'step': 0, 'bound': 1.0}]), 'png'); "
        "print(matplotlib.rcParams.copy() == before, 'matplotlib.pyplot' in sys.modules, 'tensorflow' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert result.stdout.split() == ["True", "False", "False"]


def test_a_forecast_draws_itself_as_a_figure_that_a_notebook_shows() -> None:
    mixture = make_mixture(40, 2)
    figure = mixture.plot(target=1, y=np.zeros((40, 2)))
    assert isinstance(figure, Figure)
    assert len(figure.axes[0].get_yticklabels()) == 12
    assert figure._repr_png_().startswith(b"\x89PNG")
    labelled = mixture[:2].plot(target=0, labels=["one", "two"]).axes[0].get_yticklabels()
    assert {label.get_text() for label in labelled} == {"one", "two"}
    with pytest.raises(ValueError, match="labels: expected 40 names, one per row; got 1"):
        mixture.plot(target=0, labels=["one"])
    with pytest.raises(ValueError, match="plot: expected a forecast with rows; got none"):
        mixture[:0].plot()
    with pytest.raises(ValueError, match="expected one of the targets 'y1', 'y2'; got 'b'"):
        mixture.plot(target="b")


def test_the_points_of_a_curve_outside_its_band_are_marked():
    values = np.column_stack([np.linspace(0, 1, 500), np.linspace(0, 1, 500) ** 2])
    figure = plot_ecdf(values, names=["right", "wrong"])
    labels = [[line.get_label() for line in ax.lines] for ax in figure.axes]
    assert "outside" not in labels[0]
    assert "outside" in labels[1]
    assert "outside" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(plot_ecdf(np.random.default_rng(0).random((30, 8)), names=list("abcdefgh")).axes) == 6


def test_several_targets_have_a_panel_for_what_they_are_jointly():
    random = np.random.default_rng(1)
    pit, rank = random.random((200, 2)), random.random(200)
    pictures = calibration_pictures(pit, ["a", "b"], "svg", rank)
    assert list(pictures) == ["pit", "ecdf", "coverage"]
    assert b"all targets jointly" in pictures["ecdf"]()
    assert b"all targets jointly" not in pictures["coverage"]()
    assert b"all targets jointly" not in calibration_pictures(pit[:, :1], ["a"], "svg", rank)["ecdf"]()
