"""The report: one content as a self-contained page, as JSON and as a model card in Markdown.

It begins with what was learned, whether the densities can be trusted and where not, and whether they are worth it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from cde_app.evaluation.verdict import verdict
from cde_app.machine.storage import to_jsonable
from cde_app.words import flatten

BASELINE_NAMES = {
    "climatology": "ignoring the inputs",
    "linear_gaussian": "straight line",
    "nearest_neighbours": "nearest rows",
    "sparse_gp": "one sparse GP",
}

# Alternative text by the start of a picture's name, in the order of the page.
PICTURE_WORDS = {
    "pit": "Histogram of the probability integral transform, with the band of a calibrated forecast",
    "ecdf": "Distribution of the PIT values less the uniform one, with the simultaneous band of a calibrated forecast",
    "coverage": "Actual against nominal coverage of central intervals, with the band of a calibrated forecast",
    "heatmap": "Predictive density along one input, with its quantiles and the data",
    "density": "Predictive density along one input, with its quantiles and the data",
    "joint": "Joint density of two targets for some rows, with what was observed",
    "ridges": "Predictive densities of some rows, with what was observed",
    "latent": "Posterior of the latent variable of each row against one input",
    "history": "Training bound, KL of the latent variable and validation score against the step",
}
NARROW_PICTURES = ("pit", "ecdf", "coverage", "history", "latent")


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


@dataclass(frozen=True)
class Report:
    """What the page, `report.json` and the model card say about a run; plain data, texts as they are."""

    title: str
    facts: str
    learned: list[str]
    """What was learned: sentences."""
    trusted: bool
    trust: list[str]
    """Can the densities be trusted? The first sentence is the answer."""
    where: list[str]
    """Where in x they are wrong."""
    worth: list[str]
    """Are they better than something simpler?"""
    warnings: list[str]
    columns: list[dict[str, str]]
    """Each column: name, role, kind, unit, and its range or labels in training."""
    use: list[str]
    """What the model is meant for."""
    limits: list[str]
    data: dict[str, str]
    """The tables it was trained on: path -> SHA-256."""
    tables: list[Table]
    config_yaml: str
    provenance: list[tuple[str, str]]
    metrics: Mapping[str, Any]


def make_report(
    title: str,
    metrics: Mapping[str, Any],
    config_yaml: str,
    manifest: Mapping[str, Any],
    warnings: Sequence[str],
    history: Sequence[Mapping[str, Any]],
    columns: Sequence[Mapping[str, str]] = (),
) -> Report:
    """Collect what is said about a run.

    Args:
        title: heading of the page.
        metrics: what `cde evaluate --json` prints; `{}` if no rows were held out.
        config_yaml: the resolved configuration.
        manifest: versions, seeds and hashes; nested mappings are written with dotted keys.
        warnings: sentences to show below the verdict.
        history: the entries of `history.jsonl`.
        columns: see `Report.columns`.
    """
    judged = verdict(metrics)
    return Report(
        title=title,
        facts=_facts(metrics),
        learned=_learned(columns, manifest),
        trusted=judged.trusted,
        trust=[sentence for sentence in judged.sentences if sentence not in (*judged.worth, *_where(metrics))],
        where=_where(metrics),
        worth=judged.worth or [_unknown_worth(metrics)],
        warnings=list(warnings),
        columns=[dict(column) for column in columns],
        use=_use(columns),
        limits=_limits(columns, metrics),
        data={str(path): str(digest) for path, digest in (manifest.get("inputs") or {}).items()},
        tables=[*_tables(metrics), *_training_table(history)],
        config_yaml=config_yaml,
        provenance=[(key, _as_text(value)) for key, value in flatten(manifest, is_leaf=lambda tree: not tree)],
        metrics=metrics,
    )


def render_page(report: Report, pictures: Mapping[str, bytes], explorer: Mapping[str, Any] | None) -> str:
    """Render the report as one HTML page.

    Every text is escaped, and nothing is loaded from elsewhere. A policy in the page allows no script except the
    explorer's, by its hash, and no connection except, for `cde explore`, to where the page came from.

    Args:
        report: the content.
        pictures: PNG or SVG by name; the name's start (`pit`, `heatmap`, ...) determines its position and its text.
        explorer: the data of the explorer; None leaves it out, and with it all scripts.
    """
    style, script = _asset("report.css"), _asset("explorer.js")
    policy = ["default-src 'none'", f"style-src '{_csp_hash(style)}'", "img-src data:"]
    policy += ["base-uri 'none'", "form-action 'none'"]
    if explorer is not None:
        policy.append(f"script-src '{_csp_hash(script)}'")
        policy += ["connect-src 'self'"] if explorer.get("live") else []
    return (
        _environment()
        .from_string(_asset("report.html"))
        .render(
            report=report,
            policy="; ".join(policy),
            style=Markup(style),
            script=Markup(script),
            explorer=None if explorer is None else Markup(embedded_json(explorer)),
            pictures=[_picture(name, pictures[name]) for name in sorted(pictures, key=_position)],
        )
    )


def render_card(report: Report) -> str:
    """Render the report as a model card in Markdown (Mitchell et al. 2019, "Model cards for model reporting")."""
    environment = _environment()
    environment.filters["cell"] = _markdown
    return environment.from_string(_asset("model_card.md")).render(report=report)


def report_json(report: Report) -> str:
    """Write the report as JSON; numbers that are not finite become null."""
    content = to_jsonable(asdict(report) | {"provenance": dict(report.provenance)})
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def embedded_json(value: Any) -> str:
    """Write JSON that may stand in an HTML script element: no character in it is markup there."""
    text = json.dumps(to_jsonable(value), allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _environment() -> jinja2.Environment:
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _asset(name: str) -> str:
    """Read a template, the style or the script."""
    return files("cde_app.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """Return a source expression that allows exactly this text (Content Security Policy Level 3, section 2.3.1)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _markdown(text: str) -> Markup:
    """Write a text so that Markdown shows it as it is, in a paragraph or a cell."""
    flat = " ".join(str(text).split())
    return Markup("".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|~" else sign for sign in flat))


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


def _named(column: Mapping[str, str]) -> str:
    return f"{column['name']} [{column['unit']}]" if column.get("unit") else column["name"]


def _learned(columns: Sequence[Mapping[str, str]], manifest: Mapping[str, Any]) -> list[str]:
    """Say what was learned from what."""
    targets = [_named(column) for column in columns if column["role"] == "target"]
    inputs = [column["name"] for column in columns if column["role"] == "input"]
    rows = manifest.get("rows") or {}
    if not targets:
        return []
    together = ", jointly" if len(targets) > 1 else ""
    sentences = [f"The distribution of {' and '.join(targets)}{together}."]
    sentences.append(f"Given {inputs[0]}." if len(inputs) == 1 else f"Given {len(inputs)} inputs: {', '.join(inputs)}.")
    if rows.get("train"):
        sentences.append(f"Learned from {int(rows['train']):,} rows.")
    return sentences


def _unknown_worth(metrics: Mapping[str, Any]) -> str:
    """Say why it is not known whether the densities are better than simpler forecasts."""
    if not metrics.get("num_rows"):
        return "Not known: no rows were held out to compare the densities with simpler forecasts."
    return "Not known: the held-out rows are too few to compare the densities with simpler forecasts."


def _where(metrics: Mapping[str, Any]) -> list[str]:
    """Say where in x the densities are wrong, if that has been examined."""
    local = metrics.get("local") or {}
    sentences = local.get("sentences") if isinstance(local, Mapping) else None
    return [str(sentence) for sentence in sentences or ()]


def _use(columns: Sequence[Mapping[str, str]]) -> list[str]:
    """Say what the model is meant for."""
    targets = " and ".join(column["name"] for column in columns if column["role"] == "target") or "the targets"
    return [
        f"Forecasts of {targets} as densities, quantiles and probabilities, for rows like those of the training table.",
        "It describes what goes with what in that table, not what an intervention would change.",
    ]


def _limits(columns: Sequence[Mapping[str, str]], metrics: Mapping[str, Any]) -> list[str]:
    """Say where the model should not be relied on."""
    ranges = [
        f"{column['name']} from {column['range']}"
        for column in columns
        if column["role"] == "input" and column["kind"] in ("numeric", "datetime")
    ]
    limits = (
        [f"Outside the range of the training rows its densities are guesses: {'; '.join(ranges)}."] if ranges else []
    )
    if any(column["kind"] == "categorical" for column in columns):
        limits.append("A label that was not in the training rows is treated as an unknown one.")
    count = int(metrics.get("num_rows") or 0)
    limits.append(
        f"Its scores rest on {count:,} held-out rows, as alike to the training rows as the split makes them."
        if count
        else "It has not been checked on any held-out row."
    )
    return limits


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
        ("rank_ks", "KS distance, targets jointly", "the same of the joint highest-density regions"),
    ]
    rows = [
        Row(name, note, [format_score(column.get(key)) for column in columns])
        for key, name, note in lines
        if (several or key != "energy_score") and (key in metrics or key != "rank_ks")
    ]
    for level in metrics.get("coverage") or {}:
        cells = [format_score((column.get("coverage") or {}).get(level), percent=True) for column in columns]
        rows.append(Row(f"Rows inside the {float(level):.0%} interval", f"should be {float(level):.0%}", cells))
    return Table(
        heading="Scores",
        caption="The model and simpler forecasts, on the same rows.",
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
