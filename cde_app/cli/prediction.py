"""The options of `cde predict` and `cde batch`, which ask the same of every row: declared and read once."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cde_app.cli import options
from cde_app.errors import UsageError

if TYPE_CHECKING:
    from cde_app.workflow.prediction_options import PredictionOptions

SHARED = "asked"
"""The parameter of a command that takes what is read here."""


def takes_prediction_options(command: Callable[..., None]) -> Callable[..., None]:
    """Put the options of `read_prediction_options` in place of the parameter `asked` of a command.

    The command gets a function that returns them as `PredictionOptions`; it calls it when it has limited the threads,
    because this loads NumPy.
    """
    own, shared = _parameters(command), _parameters(read_prediction_options)

    def run(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in shared}
        command(**arguments, asked=lambda: read_prediction_options(**given))

    place = list(own).index(SHARED)
    parameters = [*list(own.values())[:place], *shared.values(), *list(own.values())[place + 1 :]]
    plain = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(plain)  # type: ignore[attr-defined]  # what Typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in plain}
    return run


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function by name, with their annotations as objects."""
    names = vars(inspect.getmodule(function)) | {"PredictionOptions": object}
    hints = typing.get_type_hints(function, names, include_extras=True)
    parameters = inspect.signature(function).parameters
    return {name: parameter.replace(annotation=hints[name]) for name, parameter in parameters.items()}


def read_prediction_options(
    *,
    samples: Annotated[
        int | None,
        options.whole_option("--samples", least=0, metavar="S", help="Draws per row; 0: none. Default: the run's."),
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
        options.whole_option(
            "--grid",
            least=2,
            most=1_000_000,
            metavar="N",
            help="Density and CDF at N points of each target: densities.csv.",
        ),
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
    seed: Annotated[
        int | None, options.whole_option("--seed", least=0, help="Seed of the draws. Default: the run's.")
    ] = None,
    on_fault: Annotated[
        options.OnFault,
        typer.Option("--on-fault", help="At a row with a gap or with a cell that is no number or date: stop or skip."),
    ] = options.OnFault.STOP,
) -> PredictionOptions:
    """Read the options.

    Raises:
        UsageError: one is wrong, or two contradict each other.
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

    from cde_app.workflow.prediction_options import PredictionOptions

    return PredictionOptions(
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
