"""Tables whose conditional density is known exactly: what a model learns from them can be compared with the truth.

Every number is of order one, the inputs are uniform, and all functions of them are smooth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

import numpy as np
from scipy.special import expit, gammainc, gammaln, ndtr, stdtr

from cde_app.arrays import Array

DECIMALS = 6
"""Decimals of a drawn number; all of them are in the written table, so that its densities are those of its numbers."""


class Simulator(ABC):
    """One kind of table, with its truth."""

    kind: ClassVar[str]
    summary: ClassVar[str]
    """What is special about it, in a few words."""
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    targets: ClassVar[tuple[str, ...]] = ("y",)
    has_density: ClassVar[bool] = True
    """Whether the targets have a density; if not, a single value has a probability of its own."""

    @final
    def draw(self, num_rows: int, seed: int) -> tuple[Array, Array]:
        """Draw rows, rounded to `DECIMALS`.

        Args:
            num_rows: N.
            seed: of the draw.

        Returns:
            inputs, [N, D]; targets, [N, P].
        """
        random = np.random.default_rng(seed)
        exact = self._draw_inputs(random, num_rows)
        return exact.round(DECIMALS), self._draw_targets(random, exact).round(DECIMALS)

    def _draw_inputs(self, random: np.random.Generator, num_rows: int) -> Array:
        """Draw inputs, [N, D]: uniform between -2 and 2."""
        return np.asarray(random.uniform(-2.0, 2.0, (num_rows, len(self.inputs))))

    @abstractmethod
    def _draw_targets(self, random: np.random.Generator, inputs: Array) -> Array:
        """Draw targets, [N, P], given inputs, [N, D]."""

    @abstractmethod
    def log_density(self, inputs: Array, targets: Array) -> Array:
        """Return log p(y | x) of rows, [N, D] and [N, P] to [N], exact [nats].

        At a value that has a probability of its own this is the log of that probability.
        """

    @abstractmethod
    def uniforms(self, inputs: Array, targets: Array) -> Array:
        """Return P independent numbers per row that are uniform on [0, 1] if the targets are draws; [N, P].

        They are the distribution function of one target, and those of polar coordinates of the ring. At a value that
        has a probability of its own they are the probability of values up to it.
        """


@final
class Bimodal(Simulator):
    """(1 - a) N(m - d, s²) + a N(m + d, s²), all functions of x: one branch on the left, two on the right."""

    kind, summary = "bimodal", "one mode on the left, two on the right"

    def _draw_targets(self, random: np.random.Generator, inputs: Array) -> Array:
        x = inputs[:, 0]
        is_upper = random.uniform(size=len(x)) < self.upper_weight(x)
        centre = self.middle(x) + np.where(is_upper, 1.0, -1.0) * self.half_distance(x)
        noise: Array = random.standard_normal(len(x))
        return np.asarray(centre + self.noise_sd(x) * noise)[:, None]

    def log_density(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        x, y = inputs[:, 0], targets[:, 0]
        weight, distance, sd = self.upper_weight(x), self.half_distance(x), self.noise_sd(x)
        lower = np.log1p(-weight) + _log_normal((y - self.middle(x) + distance) / sd)
        upper = np.log(weight) + _log_normal((y - self.middle(x) - distance) / sd)
        return np.asarray(np.logaddexp(lower, upper) - np.log(sd))

    def uniforms(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        x, y = inputs[:, 0], targets[:, 0]
        weight, distance, sd = self.upper_weight(x), self.half_distance(x), self.noise_sd(x)
        lower, upper = ndtr((y - self.middle(x) + distance) / sd), ndtr((y - self.middle(x) - distance) / sd)
        return np.asarray((1 - weight) * lower + weight * upper)[:, None]

    def middle(self, x: Array) -> Array:
        """Return m(x), halfway between the branches."""
        return np.asarray(0.8 * np.sin(1.5 * x))

    def half_distance(self, x: Array) -> Array:
        """Return d(x), half the distance of the branches."""
        return np.asarray(1.4 * expit(4.0 * x))

    def upper_weight(self, x: Array) -> Array:
        """Return a(x), the probability of the upper branch."""
        return np.asarray(0.3 + 0.4 * expit(2.0 * x))

    def noise_sd(self, x: Array) -> Array:
        """Return s(x), the standard deviation around either branch."""
        return np.asarray(0.25 + 0.05 * x)


class _Located(Simulator):
    """Targets m(x) + s(x) z, where z has one distribution for all rows."""

    @abstractmethod
    def centre(self, inputs: Array) -> Array:
        """Return m(x), [N]."""

    @abstractmethod
    def scale(self, inputs: Array) -> Array:
        """Return s(x), [N]."""

    @abstractmethod
    def _draw_noise(self, random: np.random.Generator, num_rows: int) -> Array:
        """Draw z, [N]."""

    @abstractmethod
    def _log_noise(self, z: Array) -> Array:
        """Return the log density of z, [N]."""

    @abstractmethod
    def _noise_cdf(self, z: Array) -> Array:
        """Return the distribution function of z, [N]."""

    def _draw_targets(self, random: np.random.Generator, inputs: Array) -> Array:
        noise = self._draw_noise(random, len(inputs))
        return np.asarray(self.centre(inputs) + self.scale(inputs) * noise)[:, None]

    def _noise_of(self, inputs: Array, targets: Array) -> Array:
        return np.asarray((targets[:, 0] - self.centre(inputs)) / self.scale(inputs))

    @final
    def log_density(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        return self._log_noise(self._noise_of(inputs, targets)) - np.log(self.scale(inputs))

    @final
    def uniforms(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        return self._noise_cdf(self._noise_of(inputs, targets))[:, None]


class _Normal(_Located):
    """Normal noise."""

    def _draw_noise(self, random: np.random.Generator, num_rows: int) -> Array:
        return random.standard_normal(num_rows)

    def _log_noise(self, z: Array) -> Array:
        return _log_normal(z)

    def _noise_cdf(self, z: Array) -> Array:
        return np.asarray(ndtr(z))


@final
class Heteroscedastic(_Normal):
    """N(sin(2x), s(x)²): the noise is five times as large on the right as on the left."""

    kind, summary = "heteroscedastic", "normal noise that grows with x"

    def centre(self, inputs: Array) -> Array:
        """See `_Located`."""
        return np.asarray(np.sin(2.0 * inputs[:, 0]))

    def scale(self, inputs: Array) -> Array:
        """See `_Located`."""
        return np.asarray(0.1 + 0.4 * expit(3.0 * inputs[:, 0]))


@final
class Irrelevant(_Normal):
    """N(x1 x2, s(x1)²), and eighteen columns that say nothing."""

    kind, summary = "irrelevant", "two columns that matter among twenty"
    inputs = tuple(f"x{number}" for number in range(1, 21))

    def centre(self, inputs: Array) -> Array:
        """See `_Located`."""
        return np.asarray(inputs[:, 0] * inputs[:, 1])

    def scale(self, inputs: Array) -> Array:
        """See `_Located`."""
        return np.asarray(0.3 + 0.3 * expit(2.0 * inputs[:, 0]))


@final
class HeavyTailed(_Located):
    """sin(2x) + 0.3 t, where t has Student's distribution with three degrees of freedom."""

    kind, summary = "heavy_tailed", "noise with heavy tails (Student's t)"
    degrees = 3.0

    def centre(self, inputs: Array) -> Array:
        """See `_Located`."""
        return np.asarray(np.sin(2.0 * inputs[:, 0]))

    def scale(self, inputs: Array) -> Array:
        """See `_Located`."""
        return np.full(len(inputs), 0.3)

    def _draw_noise(self, random: np.random.Generator, num_rows: int) -> Array:
        return random.standard_t(self.degrees, num_rows)

    def _log_noise(self, z: Array) -> Array:
        half = 0.5 * (self.degrees + 1)
        constant = gammaln(half) - gammaln(0.5 * self.degrees) - 0.5 * np.log(np.pi * self.degrees)
        return np.asarray(constant - half * np.log1p(z**2 / self.degrees))

    def _noise_cdf(self, z: Array) -> Array:
        return np.asarray(stdtr(self.degrees, z))


@final
class Skewed(Simulator):
    """sin(2x) plus a gamma variable with shape 2 and a scale that grows with x."""

    kind, summary = "skewed", "a steep lower side and a long upper one (gamma)"
    shape = 2.0

    def scale(self, x: Array) -> Array:
        """Return the scale of the gamma variable."""
        return np.asarray(0.1 + 0.4 * expit(2.0 * x))

    def _draw_targets(self, random: np.random.Generator, inputs: Array) -> Array:
        x = inputs[:, 0]
        return (np.sin(2.0 * x) + self.scale(x) * random.standard_gamma(self.shape, len(x)))[:, None]

    def log_density(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        x = inputs[:, 0]
        z = (targets[:, 0] - np.sin(2.0 * x)) / self.scale(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = (self.shape - 1) * np.log(z) - z - gammaln(self.shape)
        return np.asarray(np.where(z > 0, inside, -np.inf) - np.log(self.scale(x)))

    def uniforms(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        x = inputs[:, 0]
        z = (targets[:, 0] - np.sin(2.0 * x)) / self.scale(x)
        return np.asarray(gammainc(self.shape, np.maximum(z, 0.0)))[:, None]


@final
class Ring(Simulator):
    """A ring around the origin: any angle, and log-normal radii with the median R(x)."""

    kind, summary = "ring", "two targets on a ring whose radius grows with x"
    targets = ("y1", "y2")
    spread = 0.15
    """Standard deviation of the log of the radius."""

    def radius(self, x: Array) -> Array:
        """Return R(x)."""
        return np.asarray(1.0 + 0.5 * expit(2.0 * x))

    def _draw_targets(self, random: np.random.Generator, inputs: Array) -> Array:
        angle = random.uniform(-np.pi, np.pi, len(inputs))
        radius = self.radius(inputs[:, 0]) * np.exp(self.spread * random.standard_normal(len(inputs)))
        return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def _log_radius(self, inputs: Array, targets: Array) -> tuple[Array, Array]:
        """Return the log of the radius, [N], and the same standardised."""
        with np.errstate(divide="ignore"):
            log_radius = np.log(np.hypot(targets[:, 0], targets[:, 1]))
        return log_radius, (log_radius - np.log(self.radius(inputs[:, 0]))) / self.spread

    def log_density(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`; p(r) / (2 π r), and p(r) = p(log r) / r."""
        log_radius, z = self._log_radius(inputs, targets)
        at_origin = np.isneginf(log_radius)
        finite = np.where(at_origin, 0.0, log_radius)
        density = _log_normal(np.where(at_origin, 0.0, z)) - np.log(self.spread) - 2.0 * finite - np.log(2 * np.pi)
        return np.where(at_origin, -np.inf, density)

    def uniforms(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        _, z = self._log_radius(inputs, targets)
        angle = np.arctan2(targets[:, 1], targets[:, 0])
        return np.stack([ndtr(z), 0.5 + angle / (2 * np.pi)], axis=1)


@final
class Independent(Simulator):
    """0.4 N(-1, 0.3²) + 0.6 N(1, 0.5²), whatever the inputs are."""

    kind, summary = "independent", "inputs that say nothing about the target"
    inputs = ("x1", "x2", "x3")
    weights, means, sds = np.array([0.4, 0.6]), np.array([-1.0, 1.0]), np.array([0.3, 0.5])

    def _draw_targets(self, random: np.random.Generator, inputs: Array) -> Array:
        part = (random.uniform(size=len(inputs)) > self.weights[0]).astype(int)
        return (self.means[part] + self.sds[part] * random.standard_normal(len(inputs)))[:, None]

    def log_density(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        parts = np.log(self.weights / self.sds) + _log_normal((targets - self.means) / self.sds)
        return np.asarray(np.logaddexp.reduce(parts, axis=1))

    def uniforms(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        return (ndtr((targets - self.means) / self.sds) @ self.weights)[:, None]


@final
class Censored(Simulator):
    """max(0, z), z from N(x, 1): half of the targets are exactly 0, the limit of the instrument."""

    kind, summary = "censored", "values below 0 are recorded as 0; there log_density is a log probability"
    has_density = False

    def _draw_targets(self, random: np.random.Generator, inputs: Array) -> Array:
        return np.maximum(inputs + random.standard_normal(inputs.shape), 0.0)

    def log_density(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        x, y = inputs[:, 0], targets[:, 0]
        with np.errstate(divide="ignore"):
            return np.where(y > 0, _log_normal(y - x), np.where(y == 0, np.log(ndtr(-x)), -np.inf))

    def uniforms(self, inputs: Array, targets: Array) -> Array:
        """See `Simulator`."""
        return np.asarray(np.where(targets < 0, 0.0, ndtr(targets - inputs)))


SIMULATORS: dict[str, Simulator] = {
    simulator.kind: simulator
    for simulator in (
        Bimodal(),
        Heteroscedastic(),
        Skewed(),
        HeavyTailed(),
        Ring(),
        Irrelevant(),
        Independent(),
        Censored(),
    )
}


def table_text(simulator: Simulator, inputs: Array, targets: Array) -> str:
    """Return drawn rows as the text of a CSV."""
    lines = [",".join((*simulator.inputs, *simulator.targets))]
    lines += [",".join(f"{value:.{DECIMALS}f}" for value in row) for row in np.hstack([inputs, targets])]
    return "\n".join(lines) + "\n"


def truth_text(log_density: Array) -> str:
    """Return log densities, [N], as the text of a CSV, with the number of each row in its table, from 1."""
    lines = [f"{row},{float(value)!r}" for row, value in enumerate(log_density, start=1)]
    return "\n".join(["row,log_density", *lines]) + "\n"


def _log_normal(z: Array) -> Array:
    """Return the log density of a standard normal variable."""
    return np.asarray(-0.5 * z**2 - 0.5 * np.log(2 * np.pi))
