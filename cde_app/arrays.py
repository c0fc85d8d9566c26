"""The types of arrays, by what their entries are; a docstring says the shape."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""Numbers, in double precision as all of `cde`."""
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]
"""Places in another array."""
IntArray = NDArray[np.int64]
"""Whole numbers, among them days, seconds and counts."""
AnyArray = NDArray[Any]
