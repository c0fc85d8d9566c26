"""The rows of a table in blocks of fixed positions, however they were read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd


def aligned_blocks(chunks: Iterable[pd.DataFrame], num_rows: int) -> Iterator[pd.DataFrame]:
    """Yield the rows at positions k n to (k + 1) n - 1, for k = 0, 1, ...

    What is computed for such a block has the same bits for chunks of any size, because products of different shapes
    round differently.

    Args:
        chunks: consecutive rows, whose index is their position in the table.
        num_rows: n.

    Yields:
        Blocks of n rows, the last of them with the rest; chunks without rows as they are.
    """
    waiting: list[pd.DataFrame] = []
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            part = chunk.iloc[start : start + num_rows - chunk.index[start] % num_rows]
            start += len(part)
            waiting.append(part)
            if (part.index[-1] + 1) % num_rows == 0:
                yield _joined(waiting)
                waiting.clear()
        if chunk.empty:
            yield chunk
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return parts[0] if len(parts) == 1 else pd.concat(parts)
