"""Reading and writing the configuration file: `load_config` in, `dump_config` and `commented_config` out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cde_app.config import FRAME_PATH, Config
from cde_app.config_file.check import check_document
from cde_app.config_file.document import MAX_BYTES, Document, Place, plain_document, read_document
from cde_app.config_file.override import apply_override, apply_settings
from cde_app.config_file.text import commented_config, config_schema, dump_config, dump_settings
from cde_app.errors import ConfigError, DataError, FaultOfSetting, SettingError
from cde_app.machine.standard_input import standard_input

__all__ = [
    "ConfigFile",
    "commented_config",
    "config_schema",
    "dump_config",
    "frame_config",
    "load_config",
    "parse_config",
]


@dataclass(frozen=True)
class ConfigFile:
    """A configuration and its source.

    Args:
        config: the settings, resolved; paths of tables are absolute.
        source: the bytes of the file.
        document: the position of each setting.
        remarks: which settings of the file do not apply because of an override.
    """

    config: Config
    source: bytes
    document: Document
    remarks: tuple[str, ...] = ()

    @contextmanager
    def locating_faults(self) -> Iterator[None]:
        """Add the position of its setting to a fault that is found after the file was read.

        Raises:
            ConfigError: a setting does not fit the table, or the latent prior is invalid.
            DataError: the table has faults; that of a column which does not exist begins with the setting's position.
        """
        try:
            yield
        except SettingError as error:
            raise ConfigError(str(self.document.fault(error))) from None
        except DataError as error:
            raise DataError(*map(self._located, error.faults)) from None

    def _located(self, fault: str) -> str:
        """Put the position of the setting before a fault that belongs to one."""
        if not isinstance(fault, FaultOfSetting):
            return fault
        return f"{self.document.value_place(fault.key).where}: {fault}"


def load_config(
    path: Path | Literal["-"], overrides: Sequence[str] = (), *, settings: Mapping[str, Any] | None = None
) -> ConfigFile:
    """Read a configuration file.

    Args:
        path: a YAML file; "-" is standard input, with paths relative to the working folder.
        overrides: `dotted.key=value` with a YAML value, applied in this order before anything is checked.
        settings: the same from Python, see `override.apply_settings`.

    Raises:
        ConfigError: the file cannot be read, or one line for each fault in it, in the overrides and in the settings.
    """
    if str(path) == "-":
        source, name, folder = standard_input().read(MAX_BYTES + 1), "<stdin>", Path.cwd()
    else:
        path = Path(path)
        name, folder = str(path), path.parent
        try:
            with open(path, "rb", opener=_open_without_waiting) as file:
                source = file.read(MAX_BYTES + 1)  # no more: it may be a device without end
        except (OSError, ValueError) as error:
            raise ConfigError(_unreadable(path, error)) from None
    document = _read_settings(source, name, overrides)
    if settings is not None:
        apply_settings(document, settings)
    config, remarks = _resolved(document, folder)
    return ConfigFile(config, source, document, remarks)


def frame_config(
    data: Mapping[str, Any],
    settings: Mapping[str, Any] | None,
    *,
    arguments: Mapping[str, str],
    remarks: Sequence[str],
) -> ConfigFile:
    """Make the configuration of a training on a frame.

    Args:
        data: the `data` block without its path.
        settings: further settings, see `override.apply_settings`.
        arguments: a key of the block -> the argument of the caller that it is from, which begins the faults in it.
        remarks: what is to be checked about the block; they become comments and the first remarks.

    Raises:
        ConfigError: one line for each fault.
    """
    value = {"schema_version": 1, "data": {"path": FRAME_PATH, **data}}
    document = plain_document(value, Place("settings", 0, 0))
    for places in (document.keys, document.values):
        for path in places:
            if len(path) > 1 and path[1] in arguments:
                places[path] = Place(arguments[str(path[1])], list(arguments).index(str(path[1])) + 1, 0)
    if settings is not None:
        apply_settings(document, settings)
    config, left_out = _resolved(document, Path.cwd())
    if config.data.path != FRAME_PATH:
        raise ConfigError("settings: data.path: expected nothing, as the table is a frame; got a path. Remove it.")
    comments = ["The table was a frame in memory.", *remarks]
    source = "".join(f"# {comment}\n" for comment in comments) + dump_settings(document.value)
    return ConfigFile(config, source.encode(), document, (*remarks, *left_out))


def parse_config(text: str | bytes, *, source_name: str, folder: Path, overrides: Sequence[str] = ()) -> Config:
    """Turn YAML text into a configuration; touches no file.

    Args:
        text: the YAML; bytes must be UTF-8.
        source_name: the file's name in messages.
        folder: the folder of relative paths in the text and in the overrides.
        overrides: as in `load_config`.

    Raises:
        ConfigError: one line for each fault, in the order of the file, overrides last.
    """
    return _resolved(_read_settings(text, source_name, overrides), folder)[0]


def _read_settings(text: str | bytes, source_name: str, overrides: Sequence[str]) -> Document:
    """Read the text and apply the overrides."""
    document = read_document(text, source_name)
    for override in overrides:
        apply_override(document, override)
    return document


def _resolved(document: Document, folder: Path) -> tuple[Config, tuple[str, ...]]:
    """Check the settings and make their paths absolute; also return the remarks."""
    config, remarks = check_document(document)
    paths = {
        "path": _absolute(config.data.path, folder),
        "predict": tuple(_absolute(path, folder) for path in config.data.predict),
    }
    return config.model_copy(update={"data": config.data.model_copy(update=paths)}), remarks


def _absolute(path: str, folder: Path) -> str:
    """Resolve `path` relative to `folder`, without following symbolic links; what is no file stays."""
    if path in ("-", FRAME_PATH):
        return path
    start = Path(path).expanduser() if path.startswith("~/") else Path(path)
    return os.path.normpath(folder.absolute() / start)


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a named pipe that nobody writes to is empty, where it would wait for ever otherwise."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        advice = "Check the path, or write a configuration with `cde init`."
        return f"{path}: expected a configuration file; got no such file. {advice}"
    if isinstance(error, IsADirectoryError):
        return f"{path}: expected a configuration file; got a directory. Name a file in it."
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{path}: expected a readable configuration file; got: {reason}. Check its permissions and path."
