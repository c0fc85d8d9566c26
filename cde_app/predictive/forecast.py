"""What a forecast answers, whether one mixture has all targets or a chain of mixtures.

Letters: N rows, P targets, S draws, L quantile levels, G grid points.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cde_app.arrays import Array, IntArray

if TYPE_CHECKING:
    from cde_app.predictive.mixture import Mixture


@dataclass(frozen=True, repr=False)
class Forecast(ABC):
    """The predictive densities p(y | x) of N rows.

    Every method takes and returns the user's units, as arrays.

    Example:
        forecast = model.predict(frame)
        low, high = forecast.interval(0.9)
        forecast[:10].probability(above=100.0)
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

    @abstractmethod
    def __getitem__(self, rows: Any) -> Self:
        """Return the forecasts of some rows: a slice, a mask or an index array."""

    # --- densities ------------------------------------------------------------------------------------------------

    def log_prob(self, y: Any) -> Array:
        """Return the joint log density of one observation per row.

        Args:
            y: [N, P], or [N] of one target; or a frame with a column for each target.

        Returns:
            [N], nats per product of the targets' units; -inf outside the range of a transform.

        Raises:
            ValueError: y has another shape.
        """
        return self.log_density(self._observations(y))

    @abstractmethod
    def log_density(self, targets: Array) -> Array:
        """Return the joint log density of one observation per row; [N, P] to [N]."""

    @abstractmethod
    def log_density_at(self, points: Array) -> Array:
        """Return every row's joint log density at the same points; [G, P] to [N, G]."""

    # --- each target by itself ------------------------------------------------------------------------------------

    @abstractmethod
    def marginals(self) -> tuple[Forecast, ...]:
        """Return the forecast of each target by itself."""

    def marginal(self, target: str | int) -> Forecast:
        """Return the forecast of one target by itself, by its name or its index.

        Raises:
            ValueError: there is no such target.
        """
        if isinstance(target, str) and target not in self.names:
            raise ValueError(f"expected one of the targets {', '.join(map(repr, self.names))}; got {target!r}")
        return self.marginals()[self.names.index(target) if isinstance(target, str) else target]

    @abstractmethod
    def cdf(self, targets: Array) -> Array:
        """Return P(y_p <= target) per row and target; [N, P] to [N, P]."""

    @abstractmethod
    def quantile(self, levels: Sequence[float] | Array) -> Array:
        """Return marginal quantiles; levels in (0, 1), [L], to [L, N, P]."""

    def interval(self, mass: float = 0.9) -> tuple[Array, Array]:
        """Return the ends of each target's central interval, two [N, P].

        Args:
            mass: its probability, in (0, 1); the same probability lies below it and above it.

        Raises:
            ValueError: the mass is not between 0 and 1.
        """
        if not 0 < mass < 1:
            raise ValueError(f"mass: expected a number between 0 and 1; got {mass}")
        low, high = self.quantile([0.5 * (1 - mass), 0.5 * (1 + mass)])
        return low, high

    def probability(
        self, *, above: float | Array = -np.inf, below: float | Array = np.inf, target: str | int = 0
    ) -> Array:
        """Return P(above < y < below) of one target per row, [N].

        Args:
            above: one limit for all rows, or [N].
            below: the same.
            target: its name or index; the first by default.

        Raises:
            ValueError: there is no such target.
        """
        one = self.marginal(target)
        upper, lower = (one.cdf(np.broadcast_to(end, self.num_rows)[:, None])[:, 0] for end in (below, above))
        return np.maximum(upper - lower, 0.0)

    @abstractmethod
    def marginal_log_density(self, targets: Array) -> Array:
        """Return the marginal log density of each target; [N, P] to [N, P], nats per unit of the target."""

    @abstractmethod
    def marginal_log_density_at(self, grid: Array, target: int) -> Array:
        """Return every row's log density of one target on a grid; [G] to [N, G]."""

    # --- pairs and components -------------------------------------------------------------------------------------

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
    def hpd_level(self, targets: Array, *, num_samples: int, seed: int) -> Array:
        """Estimate the mass of the highest-density region that ends at the observation; [N, P] to [N]."""

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

    @abstractmethod
    def crps(self, targets: Array) -> Array:
        """Return the continuous ranked probability score of each target; [N, P] to [N, P], the target's units."""

    @abstractmethod
    def sample(self, num_samples: int, *, seed: int = 0, rows: IntArray | None = None) -> Array:
        """Draw from the joint density; [S, N, P].

        The draws of a row depend only on `seed` and on its position in the table.

        Args:
            num_samples: S.
            seed: non-negative integer.
            rows: [N], positions of the rows in the table, ascending; None uses 0, 1, ...
        """

    def _observations(self, y: Any) -> Array:
        """Return observations as [N, P]."""
        if hasattr(y, "columns"):
            y = y[list(self.names)]
        values = np.asarray(y, float)
        if values.ndim == 1 and self.num_targets == 1:
            values = values[:, None]
        if values.shape != (self.num_rows, self.num_targets):
            raise ValueError(
                f"y: expected the shape {(self.num_rows, self.num_targets)}, rows and targets; got {values.shape}"
            )
        return values
