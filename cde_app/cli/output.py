"""What a command prints on standard output: JSON, or plain aligned text."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cde_app.errors import RunError
from cde_app.words import flatten, printable

SCORES = (
    *("nlpd", "crps", "energy_score", "variogram_score", "cde_loss", "mae", "interval_score", "rmse"),
    *("width", "entropy", "pit_ks", "rank_ks"),
)

MAIN_SCORES, MAIN_LEVEL = ("nlpd", "crps", "energy_score", "mae", "pit_ks", "rank_ks"), "0.9"
"""The scores that matter most, of all that there are, and the level at which coverage is shown."""


def emit(text: str) -> None:
    """Write lines to standard output; a reader that has stopped reading, such as `head`, is not an error.

    Raises:
        RunError: standard output cannot be written, as on a full disk.
    """
    text = printable(text, keeps="\n\t")
    with printing():
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()


@contextmanager
def printing() -> Iterator[None]:
    """Write to standard output in a block, which does nothing else; see `emit`."""
    try:
        yield
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        raise RunError(f"standard output: expected room for the result; got {error.strerror!r}.") from None


def _discard_output() -> None:
    """Let what is still to be written, also by Python at its end, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def emit_lines(lines: Iterable[object]) -> None:
    """Write texts that anyone may have written, such as paths, one a line; a newline in one is shown as its escape."""
    for line in lines:
        emit(printable(str(line), keeps="\t"))


def emit_json(value: Any) -> None:
    """Write a value as JSON; numbers that are not finite become null."""
    from cde_app.machine.storage import to_jsonable

    emit(json.dumps(to_jsonable(value), indent=2, allow_nan=False, ensure_ascii=False))


def emit_values(values: Mapping[str, Any]) -> None:
    """Write a nested mapping as one `dotted.key  value` line per leaf."""
    emit(align([[key, format_value(value)] for key, value in flatten(values, is_leaf=is_score)]))


def emit_scores(metrics: Mapping[str, Any], *, everything: bool) -> None:
    """Write the scores of the model and of the baselines side by side, each with its standard error over rows."""
    whole = metrics
    metrics = whole if everything else main_scores(whole)
    baselines: Mapping[str, Any] = metrics.get("baselines") or {}
    columns = [metrics, *baselines.values()]
    table = [["score", "model", *baselines]]
    shown = [name for name in SCORES if name in metrics]
    table += [[name, *(format_value(column.get(name)) for column in columns)] for name in shown]
    for kind in ("coverage", "hpd_coverage"):
        for level in metrics.get(kind) or {}:
            cells = [format_value((column.get(kind) or {}).get(level)) for column in columns]
            table.append([f"{kind} {level}", *cells])
    if verdict := metrics.get("verdict"):
        emit("\n".join([verdict, *(f"  {reason}" for reason in metrics.get("reasons", ()))]))
    drawn_from = f", drawn from {metrics['drawn_from']}" if "drawn_from" in metrics else ""
    emit(f"rows: {metrics.get('num_rows')}{drawn_from}")
    if forecast := metrics.get("forecast"):
        emit(f"forecast: {forecast}")
    if blocks := metrics.get("standard_errors"):
        emit(f"standard errors: {blocks}")
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
        skills: Mapping[str, Any] = metrics["skill"]
        names = dict.fromkeys(name for own in skills.values() for name in own)
        emit("skill (above 0: better than the baseline; nlpd and cde_loss: the difference)")
        emit(
            align(
                [
                    ["score", *skills],
                    *([name, *(format_value(own.get(name)) for own in skills.values())] for name in names),
                ]
            )
        )
    if worth := metrics.get("worth"):
        emit(worth)
    if metrics.get("local") == {} and metrics.get("num_rows"):
        emit("where the densities are wrong: unknown, there are too few rows")
    if metrics.get("local"):
        emit("where the densities are wrong\n" + "\n".join("  " + line for line in metrics["local"]["sentences"]))
    if _num_scores(metrics) < _num_scores(whole):
        emit("more scores: cde evaluate --all, or --json")


def main_scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores that matter most, in their order; without the energy score of one target, which is its CRPS."""
    several = len((metrics.get("crps") or {}).get("per_target") or {}) > 1
    hidden = {*SCORES} - {*MAIN_SCORES} | (set() if several else {"energy_score", "hpd_coverage"})

    def chosen(scores: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, value in scores.items():
            if name in ("baselines", "skill"):
                found[name] = {baseline: chosen(own) for baseline, own in value.items()}
            elif name in ("coverage", "hpd_coverage") and name not in hidden:
                found[name] = {level: own for level, own in value.items() if level == MAIN_LEVEL}
            elif name not in hidden:
                found[name] = value
        return found

    return chosen(metrics)


def _num_scores(metrics: Mapping[str, Any]) -> int:
    return sum(1 for _ in flatten(metrics, is_leaf=is_score))


def emit_folds(result: Mapping[str, Any]) -> None:
    """Write the scores of a cross-validation: of all rows, the mean over the folds, and of each fold."""
    baselines: Mapping[str, Any] = result["baselines"]
    shown = {name: [column[name] for column in (result, *baselines.values())] for name in SCORES if name in result}
    shown |= {
        f"coverage {level}": [column["coverage"][level] for column in (result, *baselines.values())]
        for level in result["coverage"]
    }
    table = [["score", "all rows", "mean of folds", *baselines]]
    for name, (own, *others) in shown.items():
        table.append([name, _of_rows(own), _of_folds(own), *map(_of_rows, others)])
    emit(f"rows: {result['num_rows']} in {result['num_folds']} folds, each scored by the model that has not seen it")
    emit(align(table))
    emit("all rows ± " + result["errors"]["se_rows"] + "\nmean of folds ± " + result["errors"]["se_folds"])
    emit(
        align(
            [
                ["fold", *shown],
                *(
                    [str(k + 1), *(format_value(own["folds"][k]) for own, *_ in shown.values())]
                    for k in range(result["num_folds"])
                ),
            ]
        )
    )
    emit("skill (above 0: better than the baseline)")
    leaves = flatten(result["skill"], is_leaf=is_score)
    emit(align([["  " + key, _of_rows(own), _of_folds(own)] for key, own in leaves]))


def emit_drift(found: Mapping[str, Any]) -> None:
    """Write every comparison of new rows: how large the difference is, and how likely it is by chance."""
    rows = [["inputs", "what", "difference", "p-value", ""]]
    tests = [
        (name, aspect, test)
        for name, column in found["columns"].items()
        for aspect, test in column.items()
        if isinstance(test, Mapping) and "changed" in test
    ]
    for name, what, test in [*tests, ("all columns", "joint", found["joint"])]:
        p_value = f"{test['p_value']:.2g}"
        rows.append([name, what, f"{test['distance']:.3f}", p_value, "changed" if test["changed"] else ""])
    if (outcomes := found["outcomes"]) is not None:
        rows.append(["outcomes", "what", "difference", "evidence", ""])
        games = [(name, "place", game) for name, game in outcomes["targets"].items()]
        for name, what, game in [*games, ("all targets", "density", outcomes["density"])]:
            evidence = f"10^{game['evidence']:.1f}"
            rows.append([name, what, f"{game['distance']:.3f}", evidence, "changed" if game["changed"] else ""])
    emit(align(rows))


def emit_gaps(results: Sequence[Mapping[str, Any]]) -> None:
    """Write how far trainings on simulated tables are from the truth, next to a straight line with normal noise."""
    table = [["nats per row from the truth", "rows", "model", "at most", "straight line", ""]]
    for result in results:
        gaps = [format_value(result[key]) for key in ("gap", "bar", "linear_gaussian_gap")]
        table.append([result["kind"], str(result["rows"]), *gaps, "passed" if result["passed"] else "FAILED"])
    emit(align(table))


def emit_trials(result: Mapping[str, Any]) -> None:
    """Write the trials of a sweep, the best first."""
    rows = result["rows"]
    emit(f"{result['metric']} of {rows['validation']} validation rows, {rows['train']} rows to train on")
    names = list(result["best"]["settings"])
    table = [["run", result["metric"], *names]]
    for trial in result["trials"]:
        score = trial["state"] if trial["score"] is None else format_value(trial["score"])
        table.append([trial["run"], score, *(format_value(trial["settings"][name]) for name in names)])
    emit(align(table))


def emit_explanation(result: Mapping[str, Any]) -> None:
    """Write the sentences of an explanation, and for each target what each input costs and moves."""
    emit("\n".join(result["sentences"]))
    found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for one in result["importance"]:
        if one["measure"] != "change":
            rows = found.setdefault(one["target"], {})
            rows.setdefault((one["input"], one["donors"]), {})[one["quantity"]] = one
    for target, rows in found.items():
        quantities = list(next(iter(rows.values())))
        units = ["nats" if name == "nlpd" else "" if name == "crps" else "share" for name in quantities]
        header = [f"{name} [{unit}]" if unit else name for name, unit in zip(quantities, units, strict=True)]
        table = [[target or "all targets", "taken from", *header]]
        for (name, donors), own in rows.items():
            taken = "any row" if donors == "any" else "alike rows"
            table.append([name, taken, *(format_value({k: own[q][k] for k in ("value", "se")}) for q in quantities)])
        emit("")
        emit(align(table))


def _of_rows(score: Mapping[str, Any]) -> str:
    """Write the score of all rows."""
    return format_value({**score, "se": score["se_rows"]})


def _of_folds(score: Mapping[str, Any]) -> str:
    """Write the mean over the folds."""
    return format_value({"value": score["fold_mean"], "se": score["se_folds"]})


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
    table = [[printable(cell) for cell in row] for row in table]  # a newline in a name would forge a line
    num_columns = max(len(row) for row in table)
    widths = [max((len(row[i]) for row in table if i < len(row)), default=0) for i in range(num_columns)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in table)
    return "\n".join(line.rstrip() for line in lines)
