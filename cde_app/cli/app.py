"""The application: its commands, in the order in which a new user needs them, and its entry point."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from cde_app import __version__
from cde_app.cli import (
    batch,
    configuration,
    cross_validate,
    diagnose,
    doctor,
    drift,
    evaluate,
    explain,
    failures,
    inspect,
    predict,
    sweep,
    train,
    truth,
)
from cde_app.cli.output import emit, printing
from cde_app.errors import UsageError

HELP = ("-h", "--help")

app = typer.Typer(
    name="cde",
    help="Learn the whole distribution of what you measure, given what you know: p(y | x) from a table.",
    epilog="Example: cde train configs/motorcycle.yaml --out runs/motorcycle\n\n"
    "Exit codes: 0 done, 1 bug, 2 command line or configuration, 3 table, 4 numerical failure, 5 a gate failed, 6 run "
    "directory, 7 done but rows were skipped or tables failed, 8 out of memory or workers died, 130 "
    "interrupted (143 by SIGTERM, 129 by SIGHUP).",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(HELP)},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        emit(f"cde {__version__}")
        raise typer.Exit


@app.callback()
def _cde(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Hold the options of `cde` itself; the help text is that of `app`."""


for module in (
    configuration,
    train,
    predict,
    batch,
    evaluate,
    diagnose,
    explain,
    drift,
    cross_validate,
    sweep,
    inspect,
    truth,
    doctor,
):
    module.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `cde` and return its exit code.

    Args:
        arguments: the command line without the program's name; default: that of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _fill_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return failures.call(lambda: _run(arguments), show_traceback="--verbose" in arguments)


def _fill_standard_descriptors() -> None:
    """Let no file be opened in the place of a standard stream that is closed: what libraries print would go into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


# The class of every error in a command line; some versions of Typer do not export this base class of the public one.
_WrongCommandLine: Any = typer.BadParameter.mro()[1]


def _run(arguments: Sequence[str]) -> NoReturn:
    """Run the application and exit with its code; report a wrong command line in one line, like every other fault.

    Raises:
        UsageError: an argument or an option is missing, unknown or out of range.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError(
            f"the working folder: expected one that exists; got {error.strerror!r}. Change to another."
        ) from None
    if sys.stdout is None:
        raise UsageError("standard output: expected one that is open; got none. Send it to a file, or to /dev/null.")
    helps = not set(HELP).isdisjoint(arguments)
    try:
        with printing() if helps else contextlib.nullcontext():
            code = app(arguments, prog_name="cde", standalone_mode=False)
    except _WrongCommandLine as error:
        message, command = " ".join(error.format_message().split()), error.ctx.command_path if error.ctx else "cde"
        if error.ctx and error.message == error.ctx.get_help():  # no command was given
            error.show()
            raise SystemExit(error.exit_code) from None
        ended = message if message.endswith((".", "?", ")")) else f"{message}."
        raise UsageError(f"{command}: {ended[0].lower()}{ended[1:]} See `{command} --help`.") from None
    raise SystemExit(code)
