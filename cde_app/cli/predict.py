"""`cde predict`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.output import emit, emit_json
from cde_app.errors import UsageError
from cde_app.machine.threads import limit_threads

MOST_NAMED = 3
"""The largest number of inputs that a warning names."""
SKIPPED = 7
"""Exit code: done, but rows were skipped."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: cde predict runs/m data/motorcycle.csv --out out/m --samples 200 --plots")(predict)


def predict(
    run: options.RunPath,
    data: options.DataPath,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder for the predictions.", parser=options.read_folder),
    ],
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=0, metavar="S", help="Draws per row; 0: none. Default: the run's."),
    ] = None,
    quantiles: Annotated[
        str | None, typer.Option("--quantiles", metavar="Q,Q,...", help="E.g. 0.05,0.5,0.95. Default: the run's.")
    ] = None,
    interval: Annotated[
        str | None, typer.Option("--interval", metavar="P,P,...", help="Central intervals, e.g. 0.5,0.9.")
    ] = None,
    hdi: Annotated[
        str | None, typer.Option("--hdi", metavar="P,P,...", help="Highest-density regions, e.g. 0.9: hdi.csv.")
    ] = None,
    modes: Annotated[
        bool | None, typer.Option("--modes/--no-modes", help="Modes of each density: modes.csv.", show_default=False)
    ] = None,
    threshold: options.Thresholds = None,
    grid: Annotated[
        int | None,
        typer.Option("--grid", min=2, metavar="N", help="Density and CDF at N points of each target: densities.csv."),
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="Y,Y,...", help="Density and CDF at these points: densities.csv.")
    ] = None,
    given: Annotated[
        str | None,
        typer.Option("--given", metavar="TARGET,...", help="Predict the other targets, given these in the table."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="COLUMN,...", help="Columns of the table in every file. Default: data.id."),
    ] = None,
    file_format: Annotated[
        options.WrittenFormat, typer.Option("--format", help="File format of the tables.")
    ] = options.WrittenFormat.CSV,
    plots: Annotated[bool, typer.Option("--plots", help="Also draw the predictions.")] = False,
    components: Annotated[bool, typer.Option("--components", help="Write the mixtures to mixture.npz.")] = False,
    total: Annotated[
        bool | None,
        typer.Option(
            "--total/--no-total",
            help="Also write the distributions of each target's sum and mean over all rows. Default: the run's.",
            show_default=False,
        ),
    ] = None,
    total_by: Annotated[
        str | None,
        typer.Option(
            "--total-by",
            metavar="COLUMN",
            help="The same for each value of a column, instead of all rows. Default: the run's.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the draws. Default: the run's.")] = None,
    on_fault: Annotated[
        options.OnFault,
        typer.Option("--on-fault", help="At a row with a gap or with a cell that is no number or date: stop or skip."),
    ] = options.OnFault.STOP,
    overwrite: options.Overwrite = False,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Predict the distribution of the targets for every row.

    With --on-fault skip, rows with faults are left out, manifest.json names them, and the exit code is 7.
    """
    if total_by == "":
        raise UsageError("--total-by: expected a column of the table; got ''.")
    if total_by is not None and total is False:
        raise UsageError(f"--no-total: expected without --total-by; got --total-by {total_by!r}. Leave one out.")
    levels, intervals, regions = (
        options.parse_numbers(option, text, between=(0, 1))
        for option, text in (("--quantiles", quantiles), ("--interval", interval), ("--hdi", hdi))
    )
    points = options.parse_numbers("--at", at)
    known, kept = options.parse_names("--given", given), options.parse_names("--keep", keep)
    limit_threads(threads)

    from cde_app.workflow.predict import predict_table
    from cde_app.workflow.prediction_options import PredictionOptions

    prediction_options = PredictionOptions(
        num_samples=samples,
        quantiles=levels,
        intervals=intervals,
        thresholds=threshold,
        hdi=regions,
        modes=modes,
        grid=grid,
        at=points,
        given=known,
        keep=kept,
        seed=seed,
        file_format=file_format.value,
        plots=plots,
        components=components,
        skip_faults=on_fault is options.OnFault.SKIP,
        total=total,
        total_by=total_by,
    )
    result = predict_table(run, data, out, prediction_options, overwrite=overwrite)
    if as_json:
        emit_json(result)
    else:
        report_result(result, quiet=quiet)
    if result["skipped"]:
        num_rows, first = result["rows"] + result["left_out"] + result["skipped"], result["faults"][0]
        say(
            f"warning: {result['skipped']} of {num_rows} rows have faults and were skipped, first row {first['row']}, "
            f"column {first['column']!r}: {first['reason']}; {out / 'manifest.json'} names them."
        )
        raise typer.Exit(SKIPPED)


def report_result(result: Mapping[str, Any], *, quiet: bool | None) -> None:
    """Print the files, and what is notable about the rows."""
    emit("\n".join(str(file) for file in result["files"]))
    if not quiet:
        say(f"{result['rows']} rows in {result['seconds']:.1f} s")
    for warning in result.get("warnings", ()):
        say(f"warning: {warning}")
    if result["left_out"]:
        say(
            f"warning: {result['left_out']} of {result['rows'] + result['left_out']} rows have gaps and were left out, "
            "as the run's data.missing says; the column row shows which remain."
        )
    if result["out_of_range"]:
        names = [f"{name!r} in {count}" for name, count in result["out_of_range_by_column"].items()]
        where = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if names[MOST_NAMED:] else "")
        say(
            f"warning: {result['out_of_range']} of {result['rows']} rows are outside the range of the training data "
            f"({where}); the column out_of_range marks them."
        )
    for name, (known, new) in result["misspelled_labels"].items():
        say(f"warning: column {name!r} has the new label {new!r}; the training had {known!r}. Is it the same label?")
