"""The types of arrays, by what their entries are; the shapes are in the docstrings of the functions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""Numbers, in double precision like everything in `cde`."""
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.signedinteger[Any]]
"""Indices into another array, of eight bytes each, or of four where there is one for each row of a table."""
IntArray = NDArray[np.int64]
"""Integers, such as days, seconds and counts."""
AnyArray = NDArray[Any]
