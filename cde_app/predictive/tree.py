"""Trees of plain values and arrays, as models are stored: JSON and, beside it, the arrays by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from cde_app.arrays import Array


def pack(tree: Any) -> tuple[Any, dict[str, Array]]:
    """Split a tree into JSON, where an array is `{"array": path}`, and the arrays by path."""
    arrays: dict[str, Array] = {}

    def walk(node: Any, path: str) -> Any:
        if isinstance(node, np.ndarray):
            arrays[path] = node
            return {"array": path}
        if isinstance(node, dict):
            return {key: walk(value, f"{path}.{key}" if path else key) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, f"{path}.{index}") for index, value in enumerate(node)]
        return node

    return walk(tree, ""), arrays


def unpack(spec: Any, arrays: dict[str, Array]) -> Any:
    """Undo `pack`."""
    if isinstance(spec, dict):
        if spec.keys() == {"array"}:
            return arrays[spec["array"]]
        return {key: unpack(value, arrays) for key, value in spec.items()}
    if isinstance(spec, list):
        return [unpack(value, arrays) for value in spec]
    return spec
