"""The report: one self-contained page, which begins with whether the densities can be trusted."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2

from cde_app.evaluation.verdict import verdict
from cde_app.words import flatten

BASELINE_NAMES = {"climatology": "ignoring the inputs", "linear_gaussian": "straight line"}

# Alternative text by the start of a picture's name, in the order of the page.
PICTURE_WORDS = {
    "pit": "Histogram of the probability integral transform, with the band of a calibrated forecast",
    "coverage": "Actual against nominal coverage of central intervals, with the band of a calibrated forecast",
    "heatmap": "Predictive density along one input, with its quantiles and the data",
    "density": "Predictive density along one input, with its quantiles and the data",
    "joint": "Joint density of two targets for some rows, with what was observed",
    "ridges": "Predictive densities of some rows, with what was observed",
    "latent": "Posterior of the latent variable of each row against one input",
    "history": "Training bound, KL of the latent variable and validation score against the step",
}
NARROW_PICTURES = ("pit", "coverage", "history", "latent")


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    name: str
    note: str
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """A table of numbers, formatted as text."""

    heading: str
    caption: str
    corner: str
    columns: list[str]
    rows: list[Row]


def render_report(
    title: str,
    metrics: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    config_yaml: str,
    manifest: Mapping[str, Any],
    warnings: Sequence[str],
    history: Sequence[Mapping[str, Any]],
) -> str:
    """Render the report.

    Every text is escaped; nothing is loaded from elsewhere and there is no script.

    Args:
        title: heading of the page.
        metrics: what `cde evaluate --json` prints; `{}` if no rows were held out.
        pictures: PNG or SVG by name; the name's start (`pit`, `heatmap`, ...) determines its position and its text.
        config_yaml: the resolved configuration.
        manifest: versions, seeds and hashes; nested mappings are written with dotted keys.
        warnings: sentences to show below the verdict.
        history: the entries of `history.jsonl`.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = files("cde_app.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=title,
        facts=_facts(metrics),
        verdict=verdict(metrics),
        warnings=list(warnings),
        tables=[*_tables(metrics), *_training_table(history)],
        pictures=[_picture(name, pictures[name]) for name in sorted(pictures, key=_position)],
        config_yaml=config_yaml,
        manifest=[(key, _as_text(value)) for key, value in flatten(manifest, is_leaf=lambda tree: not tree)],
    )


def format_score(entry: Mapping[str, Any] | None, *, percent: bool = False) -> str:
    """Write a score with one standard error, rounded to the error's second digit.

    Args:
        entry: {"value", "se"}, either may be None.
        percent: write a fraction as a percentage.
    """
    value = None if entry is None else entry.get("value")
    if entry is None or value is None:
        return "not finite" if entry and entry.get("num_infinite") else "unknown"
    factor, unit = (100.0, "%") if percent else (1.0, "")
    value, error = factor * value, factor * (entry.get("se") or 0.0)
    if error <= 0 or not math.isfinite(error):
        text = f"{value:.4g}"
    else:
        decimals = 1 - math.floor(math.log10(error))
        text = f"{value:.4g} ± {error:.2g}" if decimals > 6 else _fixed(value, error, max(decimals, 0))
    return text.replace("-", "\N{MINUS SIGN}") + unit


def _fixed(value: float, error: float, decimals: int) -> str:
    """Write both numbers with the same decimals."""
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"


def _facts(metrics: Mapping[str, Any]) -> str:
    """Say on how many rows the report is based."""
    count = int(metrics.get("num_rows") or 0)
    if not count:
        return "No rows were held out."
    return f"Judged on {count:,} held-out row{'' if count == 1 else 's'}."


def _tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Lay out the scores, the gain over the baselines and each target's own scores."""
    if not metrics.get("num_rows"):
        return []
    targets = list((metrics.get("crps") or {}).get("per_target") or {})
    tables = [_score_table(metrics, several=len(targets) > 1)]
    if metrics.get("skill"):
        tables.append(_skill_table(metrics["skill"], several=len(targets) > 1))
    if len(targets) > 1:
        tables.append(_target_table(metrics, targets))
    return tables


def _score_table(metrics: Mapping[str, Any], *, several: bool) -> Table:
    """Compare the model's scores with the baselines'."""
    baselines = metrics.get("baselines") or {}
    columns = [metrics, *baselines.values()]
    unit = "mean over targets, in training standard deviations" if several else "in the target's unit"
    lines = [
        ("nlpd", "Negative log density", "nats per row; lower is better"),
        ("crps", "CRPS", f"distance of density and truth, {unit}; lower is better"),
        (
            "energy_score",
            "Energy score",
            "CRPS of all targets at once, in training standard deviations; lower is better",
        ),
        ("rmse", "RMSE of the mean", f"{unit}; lower is better"),
        ("pit_ks", "KS distance of the PIT", "largest error of a stated probability; 0 is perfect"),
    ]
    rows = [
        Row(name, note, [format_score(column.get(key)) for column in columns])
        for key, name, note in lines
        if several or key != "energy_score"
    ]
    for level in metrics.get("coverage") or {}:
        cells = [format_score((column.get("coverage") or {}).get(level), percent=True) for column in columns]
        rows.append(Row(f"Rows inside the {float(level):.0%} interval", f"should be {float(level):.0%}", cells))
    return Table(
        heading="Scores",
        caption="The model and two simple forecasts, on the same rows.",
        corner="Score",
        columns=["This model", *(BASELINE_NAMES.get(name, name) for name in baselines)],
        rows=rows,
    )


def _skill_table(skills: Mapping[str, Any], *, several: bool) -> Table:
    """Lay out the gain over each baseline."""
    lines = [("crps", "CRPS lower by", True), ("energy_score", "Energy score lower by", True)]
    rows = [
        Row(name, "", [format_score(skill.get(key), percent=percent) for skill in skills.values()])
        for key, name, percent in [*lines[: 2 if several else 1], ("nlpd", "Log density gained", False)]
    ]
    rows[-1] = Row(rows[-1].name, "nats per row", rows[-1].cells)
    return Table(
        heading="Gain over simple forecasts",
        caption="Above zero the model is better. A gain below two standard errors may be chance.",
        corner="Gain",
        columns=[BASELINE_NAMES.get(name, name) for name in skills],
        rows=rows,
    )


def _target_table(metrics: Mapping[str, Any], targets: Sequence[str]) -> Table:
    """Lay out each target's own scores."""

    def entry(key: str, name: str) -> Mapping[str, Any] | None:
        score = metrics.get(key) or {}
        found: Mapping[str, Any] | None = (score.get("per_target") or {}).get(name)
        return found

    coverage = (metrics.get("coverage") or {}).get("0.9") or {}
    rows = [
        Row(
            name,
            "",
            [
                format_score(entry("crps", name)),
                format_score(entry("rmse", name)),
                format_score((coverage.get("per_target") or {}).get(name), percent=True),
                format_score(entry("pit_ks", name)),
            ],
        )
        for name in targets
    ]
    return Table(
        heading="Each target",
        caption="CRPS and RMSE in the target's own unit.",
        corner="Target",
        columns=["CRPS", "RMSE", "Inside the 90% interval", "KS distance of the PIT"],
        rows=rows,
    )


def _training_table(history: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Lay out the last entry of each training, under the names of the history."""
    last = {entry["training"]: entry for entry in history}
    if not last:
        return []
    hidden = ("training", "elapsed_seconds", "validation_score")
    columns = list(dict.fromkeys(name for entry in last.values() for name in entry if name not in hidden))

    def cell(value: Any) -> str:
        return "unknown" if value is None else f"{value:,.4g}".replace("-", "\N{MINUS SIGN}")

    return [
        Table(
            heading="Training",
            caption="The last step of each training; bound and KL in nats per row of the standardised targets.",
            corner="Training",
            columns=columns,
            rows=[
                Row(f"{training + 1} of {len(last)}", "", [cell(entry.get(name)) for name in columns])
                for training, entry in last.items()
            ],
        )
    ]


def _subject(name: str) -> str:
    """Return the known start of a picture's name, '' if there is none."""
    return next((start for start in PICTURE_WORDS if name.startswith(start)), "")


def _position(name: str) -> int:
    """Return a picture's position on the page: calibration, densities, model, then all others."""
    return [*PICTURE_WORDS, ""].index(_subject(name))


def _picture(name: str, content: bytes) -> dict[str, Any]:
    """Embed a picture."""
    kind = "png" if content.startswith(b"\x89PNG") else "svg+xml"
    subject = _subject(name)
    words = f"{PICTURE_WORDS[subject]} ({name})" if subject else name
    return {
        "source": f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}",
        "alt": words,
        "wide": subject not in NARROW_PICTURES,
    }


def _as_text(value: Any) -> str:
    """Write a leaf of the manifest."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
