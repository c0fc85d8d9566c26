"""What a command prints on standard output: JSON, or plain aligned text."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cde_app.words import flatten

SCORES = ("nlpd", "crps", "energy_score", "rmse", "pit_ks")


def emit(text: str) -> None:
    """Write lines to standard output; a reader that has stopped reading, such as `head`, is not an error."""
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def emit_json(value: Any) -> None:
    """Write a value as JSON; numbers that are not finite become null."""
    from cde_app.machine.storage import to_jsonable

    emit(json.dumps(to_jsonable(value), indent=2, allow_nan=False, ensure_ascii=False))


def emit_values(values: Mapping[str, Any]) -> None:
    """Write a nested mapping as one `dotted.key  value` line per leaf."""
    emit(align([[key, format_value(value)] for key, value in flatten(values, is_leaf=is_score)]))


def emit_scores(metrics: Mapping[str, Any]) -> None:
    """Write the scores of the model and of the baselines side by side, each with its standard error over rows."""
    baselines: Mapping[str, Any] = metrics.get("baselines") or {}
    columns = [metrics, *baselines.values()]
    table = [["score", "model", *baselines]]
    shown = [name for name in SCORES if name in metrics]
    table += [[name, *(format_value(column.get(name)) for column in columns)] for name in shown]
    for level in metrics.get("coverage") or {}:
        cells = [format_value((column.get("coverage") or {}).get(level)) for column in columns]
        table.append([f"coverage {level}", *cells])
    drawn_from = f", drawn from {metrics['drawn_from']}" if "drawn_from" in metrics else ""
    emit(f"rows: {metrics.get('num_rows')}{drawn_from}")
    emit(align(table))
    if thresholds := metrics.get("thresholds"):
        header = ["threshold", "happened", "stated", "Brier score", *(f"skill, {name}" for name in baselines)]
        rows = [
            [
                name,
                *(format_value(scores[key]) for key in ("frequency", "mean_probability", "brier")),
                *(format_value(scores["skill"][baseline]["brier"]) for baseline in baselines),
            ]
            for name, scores in thresholds.items()
        ]
        emit(align([header, *rows]))
    if metrics.get("skill"):
        emit("skill (above 0: better than the baseline)")
        emit(align([["  " + key, format_value(value)] for key, value in flatten(metrics["skill"], is_leaf=is_score)]))


def emit_side_by_side(values: Mapping[str, Mapping[str, Any]]) -> None:
    """Write nested mappings as columns, one line per dotted key."""
    columns = [dict(flatten(value, is_leaf=is_score)) for value in values.values()]
    keys = dict.fromkeys(key for column in columns for key in column)
    table = [["", *values]] + [[key, *(format_value(column.get(key)) for column in columns)] for key in keys]
    emit(align(table))


def with_units(column: Mapping[str, Any]) -> dict[str, Any]:
    """Add the unit of each score of a run to its key, so that scores in different units are on different lines."""
    units: Mapping[str, str] = column["units"]
    labelled = {}
    for key, leaf in flatten({"metrics": column["metrics"]}, is_leaf=is_score):
        unit = None if key.startswith("metrics.skill.") else units.get(key.rpartition(".")[2])
        labelled[f"{key} [{unit}]" if unit else key] = leaf
    return {"settings": column["settings"], **labelled}


def is_score(value: Mapping[str, Any]) -> bool:
    """Return whether a mapping is a score and not the scores of several targets, one of which may be called `value`."""
    return "value" in value and not isinstance(value["value"], Mapping)


def format_value(value: Any) -> str:
    """Write a number with four digits, a score with its standard error, and the parts of a list or mapping likewise."""
    if isinstance(value, Mapping) and not is_score(value):
        return " ".join(f"{key} {format_value(item)}" for key, item in value.items())
    if isinstance(value, Mapping):
        if value.get("num_infinite"):
            return f"infinite in {value['num_infinite']} rows"
        error = value.get("se")
        return format_value(value.get("value")) + (f" ± {error:.2g}" if isinstance(error, float) else "")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item) for item in value)
    return "-" if value is None else str(value)


def align(table: Sequence[Sequence[str]]) -> str:
    """Align the cells of rows in columns, two spaces apart."""
    if not table:
        return ""
    num_columns = max(len(row) for row in table)
    widths = [max((len(row[i]) for row in table if i < len(row)), default=0) for i in range(num_columns)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in table)
    return "\n".join(line.rstrip() for line in lines)
