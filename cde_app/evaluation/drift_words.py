"""What `evaluation/drift.py` has found, in sentences for somebody who knows the columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from cde_app.words import list_names, percent, points

SHOWN_LABELS = 3
LEAST_SHIFT = 0.03
"""A smaller difference of the mean rank or of its spread has no direction worth a sentence."""


def drift_sentences(found: Mapping[str, Any]) -> list[str]:
    """Describe what `cde drift --json` prints: first the inputs, then the outcomes, then what to do."""
    inputs, outcomes = found["drift"]["inputs"], found["drift"]["outcomes"]
    sentences = [*_about_inputs(found), *_about_outcomes(found)]
    if (inputs or outcomes) and found.get("depends_on"):
        sentences.append(
            f"Rows that share {found['depends_on']!r} or are close in it may be alike, but each of them counts here: a "
            "few unusual groups or days look like a change."
        )
    if outcomes:
        sentences.append(
            "What the inputs say about the targets has changed. Train again on recent rows."
            if not inputs
            else "Inputs and outcomes have both changed: the model may never have been right for such inputs, or the "
            "relation itself has changed. Train again with these rows."
        )
    elif inputs:
        sentences.append(
            "So far the model holds for the changed inputs."
            if outcomes is not None
            else "Whether the forecasts still hold can only be told from rows that have the targets too."
        )
    return sentences


def _about_inputs(found: Mapping[str, Any]) -> Iterator[str]:
    """Say which inputs have changed, the largest change first."""
    rows, compared = found["num_rows"], found["num_reference_rows"]
    changed = {name: list(_about_column(name, column, found)) for name, column in found["columns"].items()}
    changed = {name: lines for name, lines in changed.items() if lines}
    joint = found["joint"]
    tested = [name for name, column in found["columns"].items() if column["kind"] != "datetime"]
    if not changed and not joint["changed"]:
        yield (
            f"The inputs have not changed: in {len(tested)} {'column' if len(tested) == 1 else 'columns'} of {rows} "
            f"rows, nothing differs from the training rows by more than chance."
        )
    else:
        yield f"The inputs have changed ({rows} rows, compared with {compared} training rows)."
    order = sorted(changed, key=lambda name: -_distance(found["columns"][name]))
    for name in order:
        yield from changed[name]
    if joint["changed"]:
        alone = "No column by itself has changed, but their combinations have: " if not changed else "Taken together, "
        yield f"{alone}new rows can be told from training rows by {points(joint['distance'], digits=0)}."
    for name, column in found["columns"].items():
        if column["kind"] == "datetime" and column["outside"]["share"]:
            yield (
                f"{name!r} is outside the dates of the training in {percent(column['outside']['share'])} of the rows. "
                "Dates move on by themselves, so this is not counted as a change."
            )
    if found["left_out"]:
        yield f"{found['left_out']} rows with gaps were left out, as in training."


def _distance(column: Mapping[str, Any]) -> float:
    return max(test["distance"] for test in column.values() if isinstance(test, Mapping) and test.get("changed"))


def _about_column(name: str, column: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Describe the changes of a column; nothing if there is none."""

    def has(aspect: str) -> bool:
        return bool(column.get(aspect, {}).get("changed"))

    old, new = column["training"], column["new"]
    if has("values"):
        if column["kind"] == "categorical":
            yield _about_labels(name, old["shares"], new["shares"], column["outside"])
        elif column["kind"] == "cyclic":
            amount = points(column["values"]["distance"], digits=0)
            yield f"{name!r} is spread differently over its cycle, by up to {amount}."
        else:
            yield _about_numbers(name, old, new, column["values"]["distance"])
    for aspect, word, extreme, end in (("above", "above", "largest", 1), ("below", "below", "smallest", 0)):
        if has(aspect):
            yield (
                f"{percent(column[aspect]['distance'])} of the rows have a {name!r} {word} the {extreme} value of the "
                f"training rows ({column['outside']['range'][end]:.6g}): there the densities are extrapolations."
            )
    if has("gaps"):
        yield f"{name!r} is empty in {percent(new['gaps'])} of the rows ({percent(old['gaps'])} in training)."


def _about_numbers(name: str, old: Mapping[str, Any], new: Mapping[str, Any], distance: float) -> str:
    """Say how a column of numbers has moved, or what else has changed."""
    low, middle, high = old["quartiles"]
    new_low, new_middle, new_high = new["quartiles"]
    moved = abs(new_middle - middle) / old["sd"] if old["sd"] > 0 else math.inf
    widened = (new_high - new_low) / (high - low) if high > low else math.inf
    stretch = abs(math.log(widened)) if 0 < widened < math.inf else 0.0
    if moved >= max(0.1, stretch / 2):
        direction = "up" if new_middle > middle else "down"
        by = f", {moved:.2g} standard deviations" if moved < math.inf else ""
        return f"{name!r} has moved {direction}: its median is {new_middle:.4g} ({middle:.4g} in training{by})."
    if stretch >= 0.1:
        how = "more widely" if widened > 1 else "more narrowly"
        return (
            f"{name!r} is spread {how}: its middle half is {new_low:.4g} to {new_high:.4g} "
            f"({low:.4g} to {high:.4g} in training)."
        )
    return f"{name!r} is distributed differently: its probabilities differ by up to {points(distance, digits=0)}."


def _about_labels(name: str, old: Mapping[str, float], new: Mapping[str, float], outside: Mapping[str, Any]) -> str:
    """Name the labels whose shares have changed most, and the new ones."""
    largest = sorted(old, key=lambda label: -abs(new[label] - old[label]))[:SHOWN_LABELS]
    shares = ", ".join(
        f"{label!r} {percent(new[label])} ({percent(old[label])} in training)"
        for label in largest
        if new[label] != old[label]
    )
    unseen = outside.get("labels", ())
    more = ""
    if unseen:
        share = percent(outside["share"])
        more = f" {share} of the rows have labels that no training row has: {list_names(unseen)}."
    return f"{name!r} has other shares: {shares}.{more}"


def _about_outcomes(found: Mapping[str, Any]) -> Iterator[str]:
    """Say whether the outcomes follow the forecasts, and since when they do not."""
    outcomes = found["outcomes"]
    if outcomes is None:
        return
    games = {**{f"{name!r}": game for name, game in outcomes["targets"].items()}, "": outcomes["density"]}
    changed = {name: game for name, game in games.items() if game["changed"]}
    if not changed:
        yield f"The outcomes follow the forecasts: nothing in {outcomes['num_rows']} outcomes speaks against them."
    else:
        first = min(changed.values(), key=lambda game: game["row"])
        when = f" ({first['when']})" if first.get("when") else ""
        best = max(game["evidence"] for game in changed.values())
        odds = f"1 in {float(f'{10**best:.2g}'):,.0f}" if best < 15 else "1 in 10^15"
        yield (
            f"The outcomes no longer follow the forecasts: row {first['row']}{when} was the first by which this was "
            f"clear. Chance does as much with a probability of at most {odds}."
        )
        yield from (_about_game(name, game) for name, game in changed.items() if name)
        if not any(game["in_any_order"] for game in changed.values()):
            yield (
                "With the rows shuffled nothing would show. If they are in the order in which they came, the change is "
                "recent, or comes and goes. If the table is sorted or grouped, shuffle it: then this is no change."
            )
        change = outcomes["log_score"].get("change") or {}
        if change.get("value") is not None and change["value"] < 0:
            error = "" if change["se"] is None else f" ± {change['se']:.2g}"
            yield f"The log density of what happened is {-change['value']:.2g}{error} nats per row lower than held out."
    if not outcomes["num_held_out"]:
        yield "The run has no held-out rows, so only a change within the new rows would have shown."


def _about_game(name: str, game: Mapping[str, Any]) -> str:
    """Say on which side of its forecasts a target lies."""
    mean, spread = game["held_out_mean"], game["held_out_spread"]
    mean, spread = (0.5, 0.25) if mean is None or spread is None else (mean, spread)
    if max(abs(game["mean"] - mean), abs(game["spread"] - spread)) < LEAST_SHIFT:
        return f"{name} is right on the whole, but rows that stand together are off in the same way."
    if abs(game["mean"] - mean) >= abs(game["spread"] - spread):
        side = "higher" if game["mean"] > mean else "lower"
        return f"{name} is {side} than forecast: on average at the {percent(game['mean'])} point of its distribution."
    if game["spread"] > spread:
        return f"{name} is farther from the middle of its forecasts than stated: the densities are too narrow."
    return f"{name} is closer to the middle of its forecasts than stated: the densities are too wide."
