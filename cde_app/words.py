"""Wording of messages: suggestions for misspelled words, and nested values by dotted keys."""

from __future__ import annotations

import difflib
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


def _plain(name: str) -> str:
    return str(name).strip().casefold().replace("-", "_").replace(" ", "_")
