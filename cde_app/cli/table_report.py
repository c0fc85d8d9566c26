"""What `cde check` prints on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cde_app.words import list_names

if TYPE_CHECKING:
    from cde_app.data.check import TableReport


def report_lines(report: TableReport) -> list[str]:
    """Write the report for a terminal."""
    cost, plan = report.cost, report.plan
    width = max(len(column.name) for column in report.columns)
    kept_out = f", {report.num_calibration} kept out for the calibration" if report.num_calibration else ""
    lines = [
        (
            f"{report.source}: {report.num_rows} rows; {report.num_train} train, {report.num_validation} validation, "
            f"{report.num_test} test{kept_out}; {report.num_features} features"
        ),
    ]
    for column in report.columns:
        span = "" if column.minimum is None else f", {_span(column.minimum, column.maximum)}"
        words = f" ({list_names(column.gap_words)})" if column.gap_words else ""
        gaps = f", {column.num_gaps} gaps{words}" if column.num_gaps else ""
        lines.append(
            f"  {column.role:<6} {column.name:<{width}}  {column.kind}, {column.num_distinct} distinct{span}{gaps}"
        )
    left_out = (
        f", each on {plan.num_rows} of {report.num_train} training rows ({plan.num_left_out} are left out to judge it)"
        if plan.num_left_out
        else ""
    )
    side_by_side = f" ({cost.num_side_by_side} side by side)" if cost.num_side_by_side > 1 else ""
    lines.append(
        f"training: {len(plan.units)} x {plan.max_steps} steps of {plan.batch_size} rows{left_out}, about "
        f"{cost.seconds:.0f} s and {cost.memory_bytes / 1e9:.1f} GB (rough){side_by_side}"
    )
    if plan.num_factors > 1:
        members = f", {plan.num_members} members each" if plan.num_members > 1 else ""
        names = list_names([report.atoms[index].column for index in plan.order])
        lines.append(f"  a chain of {plan.num_factors} models{members}: {names}")
    if plan.left_open:
        lines.append(f"  chosen when the training begins: {', '.join(plan.left_open)}")
    lines += [f"warning: {warning}" for warning in report.warnings]
    return lines + [f"note: {note}" for note in report.notes]


def _span(low: float | str, high: float | str | None) -> str:
    """Write a range; numbers have as many digits as needed to distinguish its ends."""
    for digits in (6, 9, 12, 17):
        ends = [f"{end:.{digits}g}" if isinstance(end, float) else str(end) for end in (low, high)]
        if ends[0] != ends[1]:
            break
    return " to ".join(ends)
