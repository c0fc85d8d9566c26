"""Means over a standard normal: E f(z) is the sum of f at the nodes times the weights (Gauss and Hermite)."""

from __future__ import annotations

import numpy as np

HERMITE_NODES, HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
HERMITE_WEIGHTS /= HERMITE_WEIGHTS.sum()
