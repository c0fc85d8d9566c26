"""`cde simulate` and `cde selftest`: tables whose density is known, and how close training comes to it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.output import emit_gaps, emit_json, emit_lines, format_value
from cde_app.errors import GateError, RunError, UsageError
from cde_app.machine.threads import limit_threads


class Kind(StrEnum):
    """The kinds of simulated tables; a test compares them with `SIMULATORS`, which loads SciPy."""

    BIMODAL = "bimodal"
    HETEROSCEDASTIC = "heteroscedastic"
    SKEWED = "skewed"
    HEAVY_TAILED = "heavy_tailed"
    RING = "ring"
    IRRELEVANT = "irrelevant"
    INDEPENDENT = "independent"
    CENSORED = "censored"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: cde simulate bimodal --rows 2000 --seed 1 --out table.csv --truth truth.csv")(simulate)
    app.command(epilog="Example: cde selftest --kinds bimodal,ring")(selftest)


def simulate(
    kind: Annotated[Kind, typer.Argument(help="The shape of the density.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The table, a CSV.", parser=options.read_path)],
    rows: Annotated[int, options.whole_option("--rows", least=1, metavar="N", help="Rows to draw.")] = 1000,
    seed: Annotated[int, options.whole_option("--seed", least=0, help="Seed of the draw.")] = 0,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", metavar="FILE", help="Also write the true log density of every row.", parser=options.read_path
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Write a table whose conditional density is known exactly."""
    from cde_app.runs.folder import check_is_in_no_run

    if truth is not None and truth.resolve() == out.resolve():
        raise UsageError(f"--truth: expected a file other than the table; got {truth}. Choose another.")
    if out.suffix == ".parquet":
        raise UsageError(f"--out: expected the name of a CSV; got {out}. Choose another.")
    check_is_in_no_run(out)
    if truth is not None:
        check_is_in_no_run(truth, option="--truth")
    taken = [path for path in (out, truth) if path is not None and path.exists()]
    if taken and not overwrite:
        raise UsageError(*(f"{path} exists; choose another file, or pass --overwrite." for path in taken))

    from cde_app.workflow.simulate import simulate as write_table

    try:
        files = write_table(kind.value, rows, seed, out=out, truth=truth)
    except RunError as error:
        raise UsageError(*error.faults) from None
    if as_json:
        emit_json({"kind": kind.value, "rows": rows, "seed": seed, "files": files})
    else:
        emit_lines(files)


def selftest(
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds", metavar="KINDS", help="Kinds of `cde simulate`, separated by commas.", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every kind, with more rows.")] = False,
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Train on tables whose density is known.

    The gap is the mean of log p(y | x) - log q(y | x) over rows that the training has not seen: what the model loses
    to the truth, in nats per row. Exit code 5 if a gap is larger than it should be.
    """
    wanted = options.parse_names("--kinds", kinds, of="kind")
    limit_threads(threads)

    from cde_app.workflow.selftest import expected_minutes, kinds_to_test, run_selftest

    chosen = kinds_to_test(wanted, everything=everything)
    if not quiet:
        say(f"{len(chosen)} tables, about {expected_minutes(chosen, everything=everything)} on two idle cores")
    results = []
    for result in run_selftest(chosen, everything=everything):
        results.append(result)
        if not quiet:
            say(f"{result['kind']}: {result['seconds']:.0f} s")
    passed = all(result["passed"] for result in results)
    if as_json:
        emit_json({"passed": passed, "kinds": {result.pop("kind"): result for result in results}})
    else:
        emit_gaps(results)
    if failed := [result for result in results if not result["passed"]]:
        raise GateError(
            *(
                f"cde selftest: {result['kind']}: expected a gap of at most {result['bar']:g} nats per row; got "
                f"{format_value(result['gap'])}. Send `cde doctor --check` with a report."
                for result in failed
            )
        )
