"""Reading and writing the configuration file: `load_config` in, `dump_config` and `commented_config` out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cde_app.config import Config
from cde_app.config_file.check import check_document
from cde_app.config_file.document import read_document
from cde_app.config_file.override import apply_override
from cde_app.config_file.text import commented_config, config_schema, dump_config
from cde_app.errors import ConfigError

__all__ = [
    "ConfigFile",
    "commented_config",
    "config_schema",
    "dump_config",
    "load_config",
    "parse_config",
]


@dataclass(frozen=True)
class ConfigFile:
    """A configuration and where it came from.

    Args:
        config: resolved; the tables' paths are absolute.
        source: the user's bytes.
        path: the file, None for standard input.
    """

    config: Config
    source: bytes
    path: Path | None


def load_config(path: Path | Literal["-"], overrides: Sequence[str] = ()) -> ConfigFile:
    """Read a configuration file.

    Args:
        path: a YAML file; "-" is standard input, whose relative paths are relative to the working folder.
        overrides: `dotted.key=value` with a YAML value, applied in this order before anything is checked.

    Raises:
        ConfigError: the file cannot be read, or one line for each fault in it and in the overrides.
    """
    if str(path) == "-":
        source = sys.stdin.buffer.read()
        config = parse_config(source, source_name="<stdin>", folder=Path.cwd(), overrides=overrides)
        return ConfigFile(config=config, source=source, path=None)
    path = Path(path)
    try:
        source = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(_unreadable(path, error)) from None
    config = parse_config(source, source_name=str(path), folder=path.parent, overrides=overrides)
    return ConfigFile(config=config, source=source, path=path)


def parse_config(text: str | bytes, *, source_name: str, folder: Path, overrides: Sequence[str] = ()) -> Config:
    """Turn YAML text into a configuration; touches no file.

    Args:
        text: the YAML; bytes must be UTF-8.
        source_name: the file's name in messages.
        folder: what relative paths in the text and in the overrides are relative to.
        overrides: as in `load_config`.

    Raises:
        ConfigError: one line for each fault, in the order of the file, overrides last.
    """
    document = read_document(text, source_name)
    for override in overrides:
        apply_override(document, override)
    config = check_document(document)
    paths = {
        "path": _absolute(config.data.path, folder),
        "predict": tuple(_absolute(path, folder) for path in config.data.predict),
    }
    return config.model_copy(update={"data": config.data.model_copy(update=paths)})


def _absolute(path: str, folder: Path) -> str:
    """Return `path` as seen from `folder`, symbolic links kept; "-", standard input, stays."""
    if path == "-":
        return path
    start = Path(path).expanduser() if path.startswith("~/") else Path(path)
    return os.path.normpath(folder.absolute() / start)


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        advice = "Check the path, or write a configuration with `cde init`."
        return f"{path}: expected a configuration file; got no such file. {advice}"
    if isinstance(error, IsADirectoryError):
        return f"{path}: expected a configuration file; got a directory. Name a file in it."
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{path}: expected a readable configuration file; got: {reason}. Check its permissions and path."
