"""Write the measured tables between the markers of a page, so that no figure is typed by hand.

A marker is `<!-- measured: NAME -->`; what stands between it and the next `<!-- end -->` is replaced. NAME is
`machine`, `bars`, `curves`, or the name of a profile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PLACE = re.compile(r"(<!-- measured: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(lines: list[dict[str, Any]], page: Path) -> None:
    """Replace what stands between the markers by what was measured; leave places of which nothing was."""

    def replaced(found: re.Match[str]) -> str:
        table = "\n".join(rows_of(found["name"], lines))
        return f"{found[1]}\n{table}\n\n{found[3]}" if table else found[0]

    page.write_text(PLACE.sub(replaced, page.read_text(encoding="utf-8")), encoding="utf-8")


def rows_of(name: str, lines: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the Markdown that a place takes."""
    match name:
        case "machine":
            yield from (facts(line) for line in lines if line["kind"] == "machine")
        case "bars":
            yield from table(
                ["measurement", "median", "least to most", "bar", "holds"],
                [bar_cells(line) for line in lines if line["kind"] == "comparison"],
            )
            yield from compared(lines)
        case "curves":
            yield from table(
                ["time", "against", "slope", "figures"],
                [
                    [
                        line["measured"],
                        line["size"],
                        "" if line["slope"] is None else f"{line['slope']:.2f}",
                        ", ".join(f"{s:g}: {v:g}" for s, v in zip(line["sizes"], line["values"], strict=True)),
                    ]
                    for line in lines
                    if line["kind"] == "curve"
                ],
            )
        case _:
            for line in lines:
                if line["name"] == name:
                    yield from profile(line)


def facts(line: dict[str, Any]) -> str:
    """Return the machine in a sentence."""
    versions = ", ".join(f"{name} {line[name]}" for name in ("python", "numpy", "tensorflow", "gpflow", "gpflux"))
    return f"{line['cpu']}, {line['cores']} cores; {versions}; commit {line['commit']}."


def bar_cells(line: dict[str, Any]) -> list[str]:
    """Return a comparison's row."""
    verdict = {True: "yes", False: "**no**", None: ""}[line["holds"]]
    spread = f"{line['min']:.3g} to {line['max']:.3g}"
    return [f"`{line['name']}`", f"{line['median']:.3g} {line['unit']}".rstrip(), spread, line["bar"] or "", verdict]


def compared(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what each comparison compared, with the medians of what was clocked."""
    yield ""
    for line in lines:
        if line["kind"] == "comparison":
            clocked = "; ".join(f"{name} {middle(values):.4g}" for name, values in line["raw"].items())
            yield f"* `{line['name']}`: {line['compared']}." + (f" Medians: {clocked}." if clocked else "")


def profile(line: dict[str, Any]) -> Iterator[str]:
    """Yield a profile as a table with shares; a part in brackets is no part of the sum."""
    total = sum(value for name, value in line["parts"].items() if not name.startswith("("))
    rows = [
        [name, f"{value:.3g}", "" if name.startswith("(") else f"{100 * value / total:.0f} %"]
        for name, value in line["parts"].items()
    ]
    yield from table([line["compared"], line["unit"], "share"], rows)


def table(header: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Yield a Markdown table; nothing without rows."""
    if rows:
        yield "| " + " | ".join(header) + " |"
        yield "|---" * len(header) + "|"
        yield from ("| " + " | ".join(row) + " |" for row in rows)


def middle(values: list[float]) -> float:
    """Return the median."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
