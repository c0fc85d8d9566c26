"""`cde init`, `cde check` and `cde config ...`: from a table to a configuration that fits it."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated

import typer

from cde_app.cli import options
from cde_app.cli.console import say
from cde_app.cli.output import emit, emit_json, emit_lines
from cde_app.errors import RunError, UsageError

config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Inspect configurations.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: cde init data/motorcycle.csv --target accel -o motorcycle.yaml")(init)
    app.command(epilog="Example: cde check configs/motorcycle.yaml")(check)
    config_app.command(epilog="Example: cde config schema > cde.schema.json")(schema)
    config_app.command(epilog="Example: cde config show configs/motorcycle.yaml --set seed=1")(show)
    config_app.command(epilog="Example: cde config depends configs/motorcycle.yaml")(depends)
    app.add_typer(config_app, name="config")


def init(
    data: options.DataPath,
    target: Annotated[list[str], typer.Option("--target", help="A column to learn. May be repeated.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.", parser=options.read_path),
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Read a table and write a commented configuration for it."""
    from cde_app.machine import storage
    from cde_app.runs.folder import check_is_in_no_run
    from cde_app.workflow.init import infer_config

    if str(output) == "-":
        output = None
    if output is not None:
        check_is_in_no_run(output, option="--output")
    if output is not None and output.exists() and not overwrite:
        raise UsageError(f"{output} exists; choose another --output, or pass --overwrite.")
    if output is not None and output.exists() and data.exists() and output.samefile(data):
        raise UsageError(f"--output: expected a file other than the table; got {output}. Choose another.")
    text, remarks = infer_config(data, target, folder=Path.cwd() if output is None else output.parent)
    if output is not None:
        try:
            storage.write_atomically(output, text.encode())
        except RunError as error:
            raise UsageError(*error.faults) from None
        for remark in () if quiet else remarks:
            say(f"note: {remark}")
    if as_json:
        emit_json({"output": output, "config": text})
    else:
        emit(text) if output is None else emit_lines([output, f"next: cde check {output}"])


def check(
    config: options.ConfigPath,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Check a configuration and its table; estimate the cost."""
    from cde_app.cli.table_report import report_lines
    from cde_app.trees import to_tree
    from cde_app.workflow.check import check_table

    report = check_table(options.read_config(config, overrides, quiet=quiet))
    if as_json:
        emit_json(to_tree(report))
    else:
        emit_lines(report_lines(report))


def schema(as_json: options.AsJson = True, quiet: options.Quiet = None) -> None:
    """Print the JSON schema of the configuration, for editors."""
    from cde_app.config_file import config_schema

    emit_json(config_schema())


def show(
    config: options.ConfigPath,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Print the configuration with every default and override resolved."""
    from cde_app.config_file import dump_config

    resolved = options.read_config(config, overrides, quiet=quiet).config
    if as_json:
        emit_json(resolved.model_dump(mode="json"))
    else:
        emit(dump_config(resolved))


def depends(
    config: options.ConfigPath,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = None,
) -> None:
    """Print the files that a configuration reads, as `data FILE` and `predict FILE` lines, separated by a tab.

    A glob gives one line per file, and a `folder` line for the folder in which new files may appear. Files below the
    current folder have relative paths.
    """
    data = options.read_config(config, overrides, quiet=quiet).config.data
    rows = [row for kind, paths in (("data", (data.path,)), ("predict", data.predict)) for row in _expand(kind, paths)]
    if as_json:
        emit_json([{"kind": kind, "path": path} for kind, path in rows])
    elif rows:
        emit_lines(f"{kind}\t{path}" for kind, path in rows)


def _expand(kind: str, paths: tuple[str, ...]) -> list[tuple[str, str]]:
    """List the files of paths and globs; standard input and a frame are no files."""
    from cde_app.config import FRAME_PATH

    rows = []
    for path in paths:
        if path in ("-", FRAME_PATH):
            continue
        if glob.has_magic(path) and not Path(path).exists():
            fixed = Path(path)
            while glob.has_magic(str(fixed)):
                fixed = fixed.parent
            rows.append(("folder", _relative(str(fixed))))
            rows += [(kind, _relative(found)) for found in sorted(glob.glob(path, recursive=True))]
        else:
            rows.append((kind, _relative(path)))
    return rows


def _relative(path: str) -> str:
    """Make a path below the current folder relative to it."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path
