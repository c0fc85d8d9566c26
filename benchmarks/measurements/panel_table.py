"""A table of the panel, split by its rules, and a clock that can be stopped."""

from __future__ import annotations

import json
import time
from typing import Any

import pandas as pd
from density import load_split

from measurements.processes import Options

SPLIT = 0


class Clock:
    """Seconds of work; what is done between `stop` and `start` does not count."""

    def __init__(self) -> None:
        self.elapsed, self._since = 0.0, time.perf_counter()

    def stop(self) -> None:
        """Stop."""
        self.elapsed += time.perf_counter() - self._since

    def start(self) -> None:
        """Go on."""
        self._since = time.perf_counter()


def load(options: Options, table: str) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Return the training and the test rows, and what the panel says of the table.

    Raises:
        ValueError: the command line names no panel.
    """
    if options.data is None or options.panel is None:
        raise ValueError("expected --data and --panel; got neither. Name the folder of the tables and the panel.")
    settings = json.loads(options.panel.read_text())["datasets"][table]
    return *load_split(options.data, settings, SPLIT), settings
