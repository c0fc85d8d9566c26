"""Errors that the user can correct: one class per exit code, all faults of a kind reported at once."""

from __future__ import annotations

from typing import Any, Self


class FaultOfSetting(str):
    """A fault of the table that a setting is responsible for; the reader of the configuration adds its position.

    Args:
        line: the fault.
        key: the setting, as a path from the root.
    """

    key: tuple[str | int, ...]

    def __new__(cls, line: str, key: tuple[str | int, ...]) -> Self:
        """Make the line, with the setting as an attribute."""
        fault = super().__new__(cls, line)
        fault.key = key
        return fault

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the fault from its parts; a worker process sends it to its parent."""
        return type(self), (str(self), self.key)


class CdeError(Exception):
    """An error whose message tells the user what to do; `cli` prints it and exits with `exit_code`.

    Args:
        *faults: one line per fault, each of the form
            `<file>[:line:col][: <key or column>]: <what was expected>; got <value>. <what to do>`.
    """

    exit_code = 1

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the error from its faults; a worker process sends it to its parent."""
        return type(self), self.faults


class UsageError(CdeError):
    """The command line, or the arguments of a function, are wrong."""

    exit_code = 2


class InstallError(CdeError):
    """A package that the command needs is not installed."""

    exit_code = 2


class ConfigError(CdeError):
    """The configuration file is wrong."""

    exit_code = 2


class SettingError(ConfigError, ValueError):
    """A setting breaks a rule of its section, or one that only the table or TensorFlow Probability can check.

    It is a ValueError because pydantic collects those of the sections; the reader of the file adds the position.

    Args:
        key: the setting, as a path from the section that has the rule.
        message: `<what was expected>; got <value>. <what to do>`.
        because: the setting that the rule comes from; its position is reported if `key` is not in the file.
    """

    def __init__(
        self, key: tuple[str | int, ...], message: str, *, because: tuple[str | int, ...] | None = None
    ) -> None:
        super().__init__(f"{'.'.join(map(str, key))}: {message}")
        self.key, self.message, self.because = key, message, key if because is None else because

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild the error from its parts."""
        return _rebuild_setting_error, (self.key, self.message, self.because)


class DataError(CdeError):
    """The table breaks the column contract."""

    exit_code = 3


class NumericalError(CdeError):
    """Training or prediction failed numerically after every retry."""

    exit_code = 4


class GateError(CdeError):
    """A score did not pass a `--gate`."""

    exit_code = 5


class RunError(CdeError):
    """A run directory is missing, incomplete, corrupt, from a newer format, or would be overwritten."""

    exit_code = 6


class MemoryNeedError(CdeError):
    """The work needs more memory than it may take; nothing of it was begun."""

    exit_code = 8


class WorkerError(CdeError):
    """Work did not end because the processes that did it died."""

    exit_code = 8


def _rebuild_setting_error(key: tuple[str | int, ...], message: str, because: tuple[str | int, ...]) -> SettingError:
    return SettingError(key, message, because=because)
