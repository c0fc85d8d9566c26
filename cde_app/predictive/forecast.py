"""What a forecast answers, whether one mixture has all targets or a chain of mixtures.

Letters: N rows, P targets, S draws, L quantile levels, G grid points.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from cde_app.arrays import Array, IntArray

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from cde_app.predictive.mixture import Mixture
    from cde_app.predictive.recalibrated import RecalibratedMarginal
    from cde_app.targets import TargetTransform

    Marginal: TypeAlias = Mixture | RecalibratedMarginal
    """A forecast of one target."""


FARTHEST = 1e6
"""What is given lies within so many standard deviations of the target."""
ROUGH = (
    "rest on few components, as what is given is rare there; their densities are rough, and an sd may be far too "
    "small. effective_components says how many count."
)


@dataclass(frozen=True, repr=False)
class Forecast(ABC):
    """The predictive densities p(y | x) of N rows.

    Every method takes and returns the user's units, as arrays. Where observations are expected, they are [N, P] values,
    [N] values if there is one target, or a frame or mapping with a column for each target.

    Example:
        forecast = model.predict(frame)
        low, high = forecast.interval(0.9)
        forecast[:10].probability(above=100.0, target="height")
    """

    names: tuple[str, ...] = field(default=(), kw_only=True)
    """[P], the targets; empty if they have no names."""

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """N."""

    @property
    @abstractmethod
    def num_targets(self) -> int:
        """P."""

    def __len__(self) -> int:
        """Return N."""
        return self.num_rows

    def __repr__(self) -> str:
        """Return what it is, such as `Mixture(120 rows, targets: height, weight)`."""
        targets = ", ".join(self.names) or str(self.num_targets)
        return f"{type(self).__name__}({self.num_rows} rows, targets: {targets})"

    def __getitem__(self, rows: Any) -> Self:
        """Return the forecasts of some rows: an index, a slice, a mask or an index array."""
        return self._of_rows([rows] if isinstance(rows, int | np.integer) else rows)

    # --- densities ------------------------------------------------------------------------------------------------

    def log_prob(self, y: Any) -> Array:
        """Return the joint log density of one observation per row.

        Returns:
            [N], nats per product of the targets' units; -inf outside the range of a transform.

        Raises:
            ValueError: y has another shape or lacks a target.
        """
        return self._log_prob(self._observations(y))

    def log_prob_at(self, points: Any) -> Array:
        """Return every row's joint log density at the same points; [G, P], or [G] for one target, to [N, G].

        Raises:
            ValueError: the points have another shape.
        """
        values = np.asarray(points, float)
        if values.ndim == 1 and self.num_targets == 1:
            values = values[:, None]
        if values.ndim != 2 or values.shape[1] != self.num_targets:
            raise ValueError(f"points: expected [G, {self.num_targets}], a column per target; got {np.shape(points)}")
        return self._log_prob_at(values)

    # --- each target by itself ------------------------------------------------------------------------------------

    @abstractmethod
    def marginals(self) -> tuple[Marginal, ...]:
        """Return the forecast of each target by itself."""

    def marginal(self, target: str | int) -> Marginal:
        """Return the forecast of one target by itself, by its name or its index.

        Raises:
            ValueError: there is no such target.
        """
        return self.marginals()[self._index(target)]

    def cdf(self, y: Any) -> Array:
        """Return P(y_p <= y) per row and target, the probability integral transform, [N, P].

        Raises:
            ValueError: y has another shape or lacks a target.
        """
        return self._cdf(self._observations(y))

    def quantile(self, q: float | Sequence[float] | Array) -> Array:
        """Return marginal quantiles, to the last digits even far in the tails and between modes.

        Args:
            q: a level in (0, 1), or [L].

        Returns:
            [N, P] for one level, else [L, N, P].

        Raises:
            ValueError: a level is not between 0 and 1.
        """
        levels = np.atleast_1d(np.asarray(q, float))
        if levels.ndim > 1 or not np.all((levels > 0) & (levels < 1)):
            raise ValueError(f"q: expected numbers between 0 and 1; got {q}")
        quantiles = self._quantile(levels) if len(levels) else np.empty((0, self.num_rows, self.num_targets))
        return quantiles[0] if np.ndim(q) == 0 else quantiles

    def interval(self, mass: float = 0.9) -> tuple[Array, Array]:
        """Return the ends of each target's central interval, two [N, P].

        Args:
            mass: its probability, in (0, 1); the same probability lies below it and above it.

        Raises:
            ValueError: the mass is not between 0 and 1.
        """
        low, high = self.quantile([0.5 * (1 - _checked_mass(mass)), 0.5 * (1 + mass)])
        return low, high

    def hdi(self, mass: float = 0.9, *, target: str | int | None = None) -> list[Array]:
        """Return the highest-density region of one target, the smallest that has a probability; see `shape.hdi`.

        Args:
            mass: its probability, in (0, 1).
            target: its name or index; needed if there are several.

        Returns:
            For each row the lower and upper ends of its intervals, [K, 2], in ascending order: one interval, or several
            if the density has several modes.

        Raises:
            ValueError: the mass is not between 0 and 1, or there is no such target.
        """
        from cde_app.predictive.shape import hdi

        return hdi(self._one(target), _checked_mass(mass))

    def modes(self, *, target: str | int | None = None) -> list[Array]:
        """Return the modes of one target's density, with what each of them weighs; see `shape.modes`.

        Args:
            target: its name or index; needed if there are several.

        Returns:
            For each row the places of its modes and their probabilities, which sum to one, [K, 2], in ascending order
            of the place.

        Raises:
            ValueError: there is no such target.
        """
        from cde_app.predictive.shape import modes

        return modes(self._one(target))

    def probability(self, *, above: Any = -np.inf, below: Any = np.inf, target: str | int | None = None) -> Array:
        """Return P(above < y < below) of one target per row, [N], which keeps its digits far in the tails.

        Args:
            above: one limit for all rows, or [N].
            below: the same.
            target: its name or index; needed if there are several.

        Raises:
            ValueError: there is no such target, or a limit is NaN or has another shape.
        """
        limits = []
        for name, limit in (("above", above), ("below", below)):
            values = np.asarray(limit, float)
            if values.shape not in ((), (self.num_rows,)) or np.isnan(values).any():
                raise ValueError(f"{name}: expected a number, or one for each of the {self.num_rows} rows; got {limit}")
            limits.append(np.broadcast_to(values, self.num_rows))
        return self._one(target).mass_between(*limits)

    # --- several targets ------------------------------------------------------------------------------------------

    def given(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> Forecast:
        """Return the forecast of the other targets, given what some of the targets are: p(y_b | x, y_a).

        Exact for a mixture, and for a chain whose first targets are given. Otherwise the mixture is one of 4096 nodes
        with weights, 32 kB (1 + F + F^2) per row with F free targets: ask for many rows in slices. In both cases
        `Mixture.effective_components` says how many components count; a warning counts the rows with few.

        Args:
            values: target -> one value for all rows, or [N]; a name that is no Python identifier can only stand here.
            more: the same.

        Raises:
            ValueError: a target does not exist, none or all are given, or a value is no number in a target's range.

        Example:
            forecast.given(height=180.0).quantile([0.1, 0.9])
        """
        if twice := sorted(set(values or {}) & set(more)):
            raise ValueError(f"given: expected each target once; got {twice[0]!r} again")
        known = {**(values or {}), **more}
        indices = [self._index(name) for name in known]
        if len(set(indices)) < len(indices):
            raise ValueError(f"given: expected each target once; got {list(known)}")
        if not 0 < len(indices) < self.num_targets:
            raise ValueError(f"given: expected some of the targets {self._listed}, not all; got {list(known)}")
        columns = []
        for name, index in zip(known, indices, strict=True):
            value = np.asarray(known[name], float)
            if value.shape not in ((), (self.num_rows,)):
                raise ValueError(
                    f"given {name!r}: expected one value, or one for each of the {self.num_rows} rows; "
                    f"got an array {value.shape}"
                )
            with np.errstate(divide="ignore", invalid="ignore"):
                z = self.transforms[index].forward(np.broadcast_to(value, self.num_rows))
            if not np.all(np.abs(z) < FARTHEST):
                first = int(np.argmin(np.abs(z) < FARTHEST))
                got = float(np.broadcast_to(value, self.num_rows)[first])
                raise ValueError(
                    f"given {name!r}: expected numbers in the range of the target; got {got:.10g} in row {first + 1}"
                )
            columns.append(z)
        conditional = self._given(indices, np.stack(columns, axis=1))
        if rough := conditional.num_rough:
            warnings.warn(f"{rough} of {self.num_rows} rows {ROUGH}", stacklevel=2)
        return conditional

    @property
    def num_rough(self) -> int:
        """The number of rows in which what is given leaves few components, so that the density is rough."""
        return 0

    if TYPE_CHECKING:  # a field of one kind, a property of the other

        @property
        def transforms(self) -> tuple[TargetTransform, ...]:
            """[P]: user's units to standardised and back."""

    @property
    @abstractmethod
    def closest_pair(self) -> tuple[int, int]:
        """The two targets of `pair`, whose joint density costs least."""

    @abstractmethod
    def pair(self) -> Forecast:
        """Return the joint forecast of two targets, `closest_pair`."""

    @abstractmethod
    def components(self) -> Mixture:
        """Return one mixture that is correct for each target by itself."""

    @abstractmethod
    def joint_components(self) -> Mixture:
        """Return one mixture that is correct for two targets jointly; for a chain up to the spacing of its nodes."""

    # --- highest-density regions of all targets -------------------------------------------------------------------

    def hpd_level(self, targets: Array, *, num_samples: int, seed: int) -> Array:
        """Return the probability of the highest-density region that ends at the observation, from draws.

        Uniform on [0, 1] over the rows if the densities are calibrated (Hyndman 1996). The error of a level q is
        sqrt(q (1 - q) / num_samples).

        Args:
            targets: [N, P].
            num_samples: draws per row.
            seed: of the draws.

        Returns:
            [N], in [0, 1].
        """
        ranking = self.ranking
        drawn = ranking._log_prob_of(ranking.sample(num_samples, seed=seed))
        return self.region_probability(np.mean(drawn > ranking.log_prob(targets), axis=0))

    @property
    def ranking(self) -> Forecast:
        """The forecast whose density says which outcomes are in which region: this one."""
        return self

    def region_probability(self, masses: Array) -> Array:
        """Return the probability of the regions that have a mass by `ranking`: that mass; [N] to [N], in [0, 1]."""
        return masses

    def _log_prob_of(self, draws: Array) -> Array:
        """Return the joint log densities of several observations per row; [S, N, P] to [S, N]."""
        return np.stack([self.log_prob(draw) for draw in draws])

    # --- moments, scores and draws --------------------------------------------------------------------------------

    @abstractmethod
    def mean(self) -> Array:
        """Return the predictive mean, [N, P]."""

    @abstractmethod
    def sd(self) -> Array:
        """Return the predictive standard deviation, [N, P]."""

    @abstractmethod
    def covariance(self) -> Array:
        """Return the predictive covariance of the targets, [N, P, P]."""

    def crps(self, y: Any) -> Array:
        """Return the continuous ranked probability score of each target, [N, P], the target's units.

        Raises:
            ValueError: y has another shape or lacks a target.
        """
        return self._crps(self._observations(y))

    @abstractmethod
    def sample(self, num_samples: int, *, seed: int = 0, rows: IntArray | None = None) -> Array:
        """Draw from the joint density; [S, N, P].

        The draws of a row depend only on `seed` and on its position in the table.

        Args:
            num_samples: S.
            seed: non-negative integer.
            rows: [N], positions of the rows in the table, ascending; None uses 0, 1, ...

        Raises:
            ValueError: the positions are not N ascending ones.
        """

    # --- tables and pictures --------------------------------------------------------------------------------------

    def to_frame(self, quantiles: Sequence[float] | None = None) -> pd.DataFrame:
        """Return a pandas frame of N rows, counted from 0, with the mean, the sd and quantiles of each target.

        The columns have the names of `summary.csv`.

        Args:
            quantiles: levels in (0, 1); None takes the default of `predict.quantiles`.

        Raises:
            ValueError: a level is not between 0 and 1.
        """
        import pandas as pd

        from cde_app.config import Predict
        from cde_app.predictive.columns import summary_columns

        return pd.DataFrame(summary_columns(self, Predict().quantiles if quantiles is None else quantiles))

    def plot(self, *, target: str | int | None = None, y: Any = None, labels: Sequence[object] | None = None) -> Figure:
        """Return a Matplotlib figure with the densities of one target in up to twelve rows, spread over their means.

        Args:
            target: its name or index; needed if there are several.
            y: observations to mark.
            labels: [N], names of the rows; None counts them from 1.

        Raises:
            ValueError: there are no rows, there is no such target, or there are not as many labels as rows.
        """
        from cde_app.report.densities import plot_forecast

        if not self.num_rows:
            raise ValueError("plot: expected a forecast with rows; got none")
        named = [f"row {row + 1}" for row in range(self.num_rows)] if labels is None else list(map(str, labels))
        if len(named) != self.num_rows:
            raise ValueError(f"labels: expected {self.num_rows} names, one per row; got {len(named)}")
        one = self._one(target)
        index = 0 if target is None else self._index(target)
        observed = None if y is None else self._observations(y)[:, index]
        return plot_forecast(one, self.target_names[index], observed, named)

    # --- what a kind of forecast computes: arrays [N, P] in, arrays out --------------------------------------------

    @abstractmethod
    def _of_rows(self, rows: Any) -> Self:
        """Return the forecasts of some rows: a slice, a mask or an index array."""

    @abstractmethod
    def _log_prob(self, targets: Array) -> Array:
        """Return the joint log density of one observation per row; [N, P] to [N]."""

    @abstractmethod
    def _log_prob_at(self, points: Array) -> Array:
        """Return every row's joint log density at the same points; [G, P] to [N, G]."""

    @abstractmethod
    def _cdf(self, targets: Array) -> Array:
        """Return the distribution functions; [N, P] to [N, P]."""

    @abstractmethod
    def _quantile(self, levels: Array) -> Array:
        """Return marginal quantiles; [L] to [L, N, P]."""

    @abstractmethod
    def _crps(self, targets: Array) -> Array:
        """Return the scores; [N, P] to [N, P]."""

    @abstractmethod
    def _given(self, indices: Sequence[int], z: Array) -> Forecast:
        """Return the forecast of the other targets; z [N, len(indices)], standardised."""

    # --- what the questions share ---------------------------------------------------------------------------------

    @property
    def target_names(self) -> tuple[str, ...]:
        """[P], the names, or y1, y2 ... where there are none."""
        return self.names or tuple(f"y{p + 1}" for p in range(self.num_targets))

    @property
    def _listed(self) -> str:
        return ", ".join(map(repr, self.target_names))

    def _positions(self, rows: IntArray | None) -> IntArray:
        """Return the positions of the rows in the table, [N].

        Raises:
            ValueError: they are not as many as the rows, or not ascending.
        """
        positions = np.arange(self.num_rows) if rows is None else np.asarray(rows)
        if positions.shape != (self.num_rows,) or np.any(np.diff(positions) <= 0):
            raise ValueError(f"rows: expected {self.num_rows} ascending positions; got an array {positions.shape}")
        return positions

    def _one(self, target: str | int | None) -> Marginal:
        """Return the forecast of a target, which must be named if there are several.

        Raises:
            ValueError: there is no such target, or none is named.
        """
        if target is None and self.num_targets > 1:
            raise ValueError(f"target: expected one of the targets {self._listed}; got none. Name one: target=...")
        return self.marginal(0 if target is None else target)

    def _index(self, target: str | int) -> int:
        """Return the index of a target.

        Raises:
            ValueError: there is no such target.
        """
        if isinstance(target, str):
            if target in self.target_names:
                return self.target_names.index(target)
        elif isinstance(target, int | np.integer) and not isinstance(target, bool) and 0 <= target < self.num_targets:
            return int(target)
        raise ValueError(f"expected one of the targets {self._listed}; got {target!r}")

    def _observations(self, y: Any) -> Array:
        """Return observations as [N, P]."""
        if hasattr(y, "columns") or isinstance(y, Mapping):
            if absent := [name for name in self.target_names if name not in y]:
                raise ValueError(f"y: expected the columns {self._listed}; got none called {absent[0]!r}")
            y = np.stack([np.asarray(y[name], float) for name in self.target_names], axis=-1)
        values = np.asarray(y, float)
        if values.ndim == 1 and self.num_targets == 1:
            values = values[:, None]
        if values.shape != (self.num_rows, self.num_targets):
            raise ValueError(
                f"y: expected the shape {(self.num_rows, self.num_targets)}, rows and targets; got {values.shape}"
            )
        return values


def _checked_mass(mass: float) -> float:
    """Return a probability.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not (mass > 0 and 0.5 * (1 + mass) < 1):
        raise ValueError(f"mass: expected a number between 0 and 1; got {mass}")
    return mass
