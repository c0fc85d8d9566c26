"""GPflow parameters, and how they are stored during training."""

from __future__ import annotations

from typing import Any

import gpflow
from gpflow.utilities import positive, triangular


def positive_parameter(value: Any) -> gpflow.Parameter:
    """Return a positive parameter that is optimised on the log scale."""
    return gpflow.Parameter(value, transform=positive(base="exp"), dtype=gpflow.default_float())


def triangular_parameter(value: Any) -> gpflow.Parameter:
    """Return a parameter of lower triangular matrices, stored as vectors."""
    return gpflow.Parameter(value, transform=triangular(), dtype=gpflow.default_float())
