"""Wording of messages: suggestions for misspelled words, nested values by dotted keys, texts for a terminal."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` most likely means, None if none is similar."""
    plain: dict[str, str] = {}
    for name in known:
        plain.setdefault(_plain(name), name)
    found = difflib.get_close_matches(_plain(word), plain, n=1)
    return plain[found[0]] if found else None


def listed(words: Iterable[str]) -> str:
    """Write words as `'a', 'b'`."""
    return ", ".join(map(repr, words))


def list_names(names: Sequence[object]) -> str:
    """Write names as `listed` does, abbreviated above eight."""
    shown = [repr(name) for name in names]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:6], "...", shown[-1]])


LAST_DAY = 1e12
"""Dates that are farther away are written as numbers; NumPy's calendar goes on, but not for ever."""


def written_date(days: float) -> str:
    """Write days since 1970-01-01 UTC as a date and time in ISO form, to the second."""
    import numpy as np  # most commands write no dates

    if not abs(days) < LAST_DAY:
        return f"{days:.6g} days after 1970-01-01"
    return str(np.datetime64(round(days * 86400), "s"))


def percent(share: float) -> str:
    """Write a share as a percentage, with more digits if it is small."""
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2g} %"


def points(difference: float, *, digits: int) -> str:
    """Write a difference of probabilities in words."""
    return f"{100 * difference:.{digits}f} percentage points"


def flatten(
    tree: Any, *, is_leaf: Callable[[Any], bool] = lambda _: False, into_lists: bool = False, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings by dotted key.

    Args:
        tree: mappings of mappings.
        is_leaf: whether a mapping is yielded as a whole.
        into_lists: whether the entries of lists are leaves too, with their index as key.
        prefix: prefix of the keys.
    """
    items: Iterable[tuple[Any, Any]]
    if isinstance(tree, Mapping) and not is_leaf(tree):
        items = tree.items()
    elif into_lists and isinstance(tree, list):
        items = enumerate(tree)
    else:
        yield prefix, tree
        return
    for key, value in items:
        name = f"{prefix}.{key}" if prefix else str(key)
        yield from flatten(value, is_leaf=is_leaf, into_lists=into_lists, prefix=name)


def printable(text: str, *, keeps: str = "") -> str:
    r"""Replace what a terminal obeys instead of showing it by its escape, such as `\u001b`, which is valid in JSON too.

    These are control characters (escape sequences begin with one, and a newline forges a line), marks that turn the
    direction of writing, and halves of surrogate pairs, as they stand for the bytes of a path that is not UTF-8.

    Args:
        text: may hold names of columns, cells and paths, which anyone may have written.
        keeps: characters that stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if _is_obeyed(c) and c not in keeps else c for c in text)


_OBEYED = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, surrogates, separators of lines and paragraphs."""
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in _OBEYED or character in _TURNING


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}"


def _plain(name: str) -> str:
    return str(name).strip().casefold().replace("-", "_").replace(" ", "_")
