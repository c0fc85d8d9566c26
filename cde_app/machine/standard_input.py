"""Standard input, which may be closed."""

from __future__ import annotations

import sys
from typing import IO

from cde_app.errors import UsageError


def standard_input() -> IO[bytes]:
    """Return standard input.

    Raises:
        UsageError: it is closed.
    """
    if sys.stdin is None:
        raise UsageError("-: expected standard input; got none, as it is closed. Name a file.")
    return sys.stdin.buffer
