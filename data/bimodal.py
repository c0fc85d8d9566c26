"""A table whose conditional density is known exactly: one mode on the left, two on the right.

Run `python data/bimodal.py` to write `bimodal.csv` anew. For x ~ U(-2, 2),

    p(y | x) = (1 - a(x)) N(y; m(x) - d(x), s(x)^2) + a(x) N(y; m(x) + d(x), s(x)^2),

where every function of x is smooth: the middle m waves, the half-distance d opens from 0 to 1.4, the weight a of the
upper branch rises from 0.3 to 0.7, and the noise s grows from 0.15 to 0.35.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]

NUM_ROWS = 2000
SEED = 0
X_MIN, X_MAX = -2.0, 2.0


def draw(num_rows: int, seed: int) -> tuple[Array, Array]:
    """Draw rows of the table.

    Args:
        num_rows: N.
        seed: of the draw.

    Returns:
        x: [N], uniform between -2 and 2.
        y: [N].
    """
    generator = np.random.default_rng(seed)
    x = generator.uniform(X_MIN, X_MAX, num_rows)
    is_upper = generator.uniform(size=num_rows) < upper_weight(x)
    centre = middle(x) + np.where(is_upper, 1.0, -1.0) * half_distance(x)
    return x, np.asarray(centre + noise_sd(x) * generator.standard_normal(num_rows))


def log_density(x: Array, y: Array) -> Array:
    """Return log p(y | x), exact.

    Args:
        x: [N], or any shape that broadcasts with y.
        y: [N].

    Returns:
        [N], nats per unit of y.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    weight = upper_weight(x)
    lower = np.log1p(-weight) - 0.5 * ((y - middle(x) + half_distance(x)) / noise_sd(x)) ** 2
    upper = np.log(weight) - 0.5 * ((y - middle(x) - half_distance(x)) / noise_sd(x)) ** 2
    return np.asarray(np.logaddexp(lower, upper) - np.log(noise_sd(x)) - 0.5 * np.log(2 * np.pi))


def middle(x: Array) -> Array:
    """Return m(x), halfway between the branches."""
    return np.asarray(0.8 * np.sin(1.5 * x))


def half_distance(x: Array) -> Array:
    """Return d(x), half the distance of the branches."""
    return np.asarray(1.4 * expit(4.0 * x))


def upper_weight(x: Array) -> Array:
    """Return a(x), the probability of the upper branch."""
    return np.asarray(0.3 + 0.4 * expit(2.0 * x))


def noise_sd(x: Array) -> Array:
    """Return s(x), the standard deviation around either branch."""
    return np.asarray(0.25 + 0.05 * x)


def table_text() -> str:
    """Return the content of `bimodal.csv`."""
    rows = zip(*draw(NUM_ROWS, SEED), strict=True)
    return "x,y\n" + "".join(f"{x:.6f},{y:.6f}\n" for x, y in rows)


if __name__ == "__main__":
    Path(__file__).with_suffix(".csv").write_text(table_text(), encoding="utf-8", newline="\n")
