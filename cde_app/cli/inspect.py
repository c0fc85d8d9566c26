"""`cde plot`, `cde report`, `cde explore`, `cde info`, `cde compare` and `cde verify`: inspecting runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.output import emit, emit_json, emit_lines, emit_side_by_side, emit_values, main_scores, with_units
from cde_app.machine.threads import limit_threads


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: cde plot runs/m --format svg --out pictures")(plot)
    app.command(epilog="Example: cde report runs/m")(report)
    app.command(epilog="Example: cde explore runs/m")(explore)
    app.command(epilog="Example: cde info runs/m --json")(info)
    app.command(epilog="Example: cde compare runs/a runs/b")(compare)
    app.command(epilog="Example: cde verify runs/m")(verify)


def plot(
    run: options.RunPath,
    data: options.OptionalDataPath = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Default: the run's plots folder; needed with DATA.",
            parser=options.read_folder,
        ),
    ] = None,
    image_format: Annotated[
        options.ImageFormat, typer.Option("--format", help="File format of the pictures.")
    ] = options.ImageFormat.PNG,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Draw the pictures of a run, for its own table or another one."""
    if data is not None and out is None:
        raise typer.BadParameter(
            "expected a folder, as pictures of another table do not belong to the run; got none.", param_hint="--out"
        )
    limit_threads(threads)

    from cde_app.workflow.plot import plot_run

    files, warnings = plot_run(run, data, out, image_format=image_format.value)
    for warning in warnings:
        say(f"warning: {warning}")
    if as_json:
        emit_json({"files": files} | ({"warnings": warnings} if warnings else {}))
    else:
        emit_lines(files)


def report(
    run: options.RunPath,
    data: options.OwnDataPath = None,
    explorer: Annotated[
        bool,
        typer.Option(
            "--explorer/--no-explorer",
            help="Sliders for the inputs; the page then has up to 1200 rows of the table, without it none.",
        ),
    ] = True,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Write one HTML page about a run, with an explorer.

    The same content is written as JSON and as a model card in Markdown.
    """
    if data is not None and not explorer:
        raise typer.BadParameter(
            f"expected no table, which only the explorer needs; got {data} and --no-explorer. Leave out one of them.",
            param_hint="DATA",
        )
    limit_threads(threads)

    from cde_app.workflow.report import write_report

    written = write_report(run, data, explorer=explorer)
    for warning in written.warnings:
        say(f"warning: {warning}")
    files = {"report": written.page, "json": written.json, "model_card": written.card}
    if as_json:
        emit_json(files | ({"warnings": written.warnings} if written.warnings else {}))
    else:
        emit_lines(files.values())


def explore(
    run: options.RunPath,
    data: options.OwnDataPath = None,
    port: Annotated[
        int,
        options.whole_option(
            "--port", least=0, most=65535, metavar="PORT", help="Port to listen on; 0 takes a free one."
        ),
    ] = 0,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Serve the report of a run, with densities exact everywhere.

    It listens on 127.0.0.1 only, for a browser on this machine. The address that it prints has a secret; give it to
    nobody. Ctrl-C ends it.
    """
    limit_threads(threads)

    from cde_app.workflow.explore import open_explorer

    server = open_explorer(run, data, port=port)
    if as_json:
        emit_json({"address": server.address})
    else:
        emit(server.address)
    if not quiet:
        say("open this address in a browser on this machine; Ctrl-C ends the command")
    server.serve()


def info(
    run: options.RunPath,
    everything: options.Everything = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Describe a run: data, model, training, scores, versions."""
    from cde_app.workflow.info import describe_run

    result = describe_run(run)
    if as_json:
        emit_json(result)
    else:
        emit_values(result if everything else main_facts(result))


def main_facts(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what matters most of a run: its data, what was trained and how long, and its own main scores."""
    names = (
        *("run", "data", "format_version", "cde_version", "seed", "seconds", "trainings", "transforms"),
        *("uses_neighbours", "own_encoder", "rows"),
    )
    return {name: result[name] for name in names if name in result} | {"metrics": _own_scores(result["metrics"])}


def _own_scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the main scores without those of the baselines, whose skill is among them."""
    return {name: value for name, value in main_scores(metrics).items() if name not in ("baselines", "local")}


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.", parser=options.read_folder)],
    everything: options.Everything = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Show the settings and scores of several runs side by side.

    Warnings say which scores cannot be compared: targets, units, tables, held-out rows or training sds differ.
    """
    from cde_app.workflow.compare import compare_runs

    columns, warnings = compare_runs(runs)
    if as_json:
        emit_json(columns)
    else:
        if not everything:
            columns = {run: {**column, "metrics": _own_scores(column["metrics"])} for run, column in columns.items()}
        emit_side_by_side({run: with_units(column) for run, column in columns.items()})
    for warning in warnings:
        say(f"warning: {warning}")


def verify(run: options.RunPath, as_json: options.AsJson = False, quiet: options.Quiet = None) -> None:
    """Check that every file of a run is what its training has written.

    A file of the run that has changed, is missing or was added is named, and the exit code is 6. Files that do not
    belong to a run are left alone.
    """
    from cde_app.workflow.verify import verify_run

    result = verify_run(run)
    for warning in result["warnings"]:
        say(f"warning: {warning}")
    if as_json:
        emit_json(result)
    else:
        emit_lines([f"{run}: {result['files']} files are unchanged"])
