"""What the manifest of a run holds; a run may come from anyone, so it is checked before it is used."""

from __future__ import annotations

from typing import Any

FACTS: dict[str, type | tuple[type, ...]] = {
    "cde_version": str,
    "seed": int,
    "seconds": (int, float),
    "settings": dict,
    "inputs": dict,
    "rows": dict,
    "transforms": dict,
    "uses_neighbours": bool,
    "trainings": list,
    "calibration": list,
    "dropped_features": list,
    "warnings": list,
    "outputs": dict,
}
"""The facts that cde itself reads, and their types; there are more."""
WORDS = {str: "text", int: "a number", dict: "an object", bool: "true or false", list: "a list"}


def fault_of_manifest(manifest: dict[str, Any]) -> str | None:
    """Return what is wrong with the manifest of a run, first where; None if nothing is."""
    for name, kind in FACTS.items():
        if not isinstance(manifest.get(name), kind):
            expected = WORDS[kind[0] if isinstance(kind, tuple) else kind]
            return f"{name}: expected {expected}; got {str(manifest.get(name, 'nothing'))[:40]!r}"
    for name in ("dropped_features", "warnings"):
        if not all(isinstance(item, str) for item in manifest[name]):
            return f"{name}: expected texts; got something else"
    return None
