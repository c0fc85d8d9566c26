"""The `data` block: which table, which columns, which rows."""

from __future__ import annotations

import codecs
import zoneinfo
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, field_validator, model_validator

from cde_app.config.section import ColumnName, FilePath, Fraction, PositiveFloat, PositiveInt, Section
from cde_app.errors import SettingError

GAPS = ("NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None")


FRAME_PATH = "<frame>"
"""The path of a table that is a frame in memory; a run that was trained on one cannot read its table again."""


class NumericColumn(Section):
    """A column of numbers, standardised by its mean and standard deviation over the training rows."""

    column: ColumnName
    kind: Literal["numeric"] = "numeric"


class CategoricalColumn(Section):
    """A column of labels: one feature per label in the training rows, and one for all unseen labels.

    A label is the exact text of the cell.
    """

    column: ColumnName
    kind: Literal["categorical"] = "categorical"


class CyclicColumn(Section):
    """A column of numbers that wraps around, such as the hour of the day; encoded as a sine and a cosine."""

    column: ColumnName
    kind: Literal["cyclic"] = "cyclic"
    period: PositiveFloat
    """Length of one period [units of the column]."""


class DatetimeColumn(Section):
    """A column of dates; encoded as the time itself and its daily, weekly and yearly cycles."""

    column: ColumnName
    kind: Literal["datetime"] = "datetime"
    timezone: str = ""
    """Zone of times without a UTC offset, such as Europe/Berlin; empty = all times have an offset, or all are UTC."""

    @model_validator(mode="after")
    def _timezone_exists(self) -> DatetimeColumn:
        if self.timezone and not _is_timezone(self.timezone):
            message = f"expected a time zone such as Europe/Berlin or UTC; got {self.timezone!r}. Correct the name."
            raise SettingError(("timezone",), message)
        return self


InputColumn = Annotated[NumericColumn | CategoricalColumn | CyclicColumn | DatetimeColumn, Field(discriminator="kind")]


class AutoTransform(Section):
    """Chooses among identity, log and Yeo-Johnson by the held-out density of a sparse GP, Jacobian included."""

    kind: Literal["auto"] = "auto"


class IdentityTransform(Section):
    """Only standardises."""

    kind: Literal["identity"] = "identity"


class LogTransform(Section):
    """log(y + shift), for positive targets with a long right tail."""

    kind: Literal["log"] = "log"
    shift: float = 0.0
    """Added before the logarithm [units of the target]."""


class YeoJohnsonTransform(Section):
    """The Yeo-Johnson power transform, its exponent fitted on the training rows; for any real target."""

    kind: Literal["yeo_johnson"] = "yeo_johnson"


class LogitTransform(Section):
    """log((y - lower) / (upper - y)), for targets strictly between two bounds; no density lies outside them."""

    kind: Literal["logit"] = "logit"
    lower: float = 0.0
    """Lower bound [units of the target]."""
    upper: float = 1.0
    """Upper bound [units of the target]."""

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> LogitTransform:
        if self.lower >= self.upper:
            message = f"expected a bound above lower; got {self.upper:g} and {self.lower:g}. Exchange them."
            raise SettingError(("upper",), message, because=("lower",))
        return self


class ArcsinhTransform(Section):
    """asinh((y - centre) / width), centre and width fitted on the training rows; for heavy tails on both sides."""

    kind: Literal["arcsinh"] = "arcsinh"


Transform = Annotated[
    AutoTransform | IdentityTransform | LogTransform | YeoJohnsonTransform | LogitTransform | ArcsinhTransform,
    Field(discriminator="kind"),
]


class TargetColumn(Section):
    """A column whose distribution is learned."""

    column: ColumnName
    """Name of the column."""
    transform: Transform = AutoTransform()
    """The model sees the transformed target; densities are reported in the original units."""
    unit: str = ""
    """Unit shown on the axes of plots."""
    rounding: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """Rounding step of the target; the noise variance is at least that of the rounding. auto = detected; 0 = none."""


class Fold(Section):
    """One fold of a cross-validation, whose rows are held out: the rows or groups are dealt to folds by the seed.

    In time, the rows are cut into one block more than there are folds. Fold k is block k + 1, and the blocks before it
    are trained on; the later ones are not used.
    """

    fold: PositiveInt
    """Number of the fold, from 1."""
    of: Annotated[int, Field(ge=2)]
    """How many folds there are."""

    @model_validator(mode="after")
    def _fold_exists(self) -> Fold:
        if self.fold > self.of:
            message = f"expected at most {self.of}, the number of folds; got {self.fold}. Correct one of them."
            raise SettingError(("fold",), message, because=("of",))
        return self


class SplitSettings(Section):
    """What the checks of other settings need to know about a split."""

    has_exchangeable_rows: ClassVar[bool] = True
    """Whether the parts are alike, so that a test row is as near to training rows as these are to each other."""
    is_ordered: ClassVar[bool] = False
    """Whether a test row comes after every training row."""


class RandomSplit(SplitSettings):
    """Rows are assigned at random."""

    kind: Literal["random"] = "random"
    validation: Fraction | Literal["auto"] = "auto"
    """Share of rows for choosing the best step; auto = 0.1 from 20,000 rows on (test excluded), else 0 [fraction]."""
    test: Fraction | Fold = 0.1
    """Share of rows held out for the scores [fraction]; or a fold of a cross-validation."""


class ColumnSplit(SplitSettings):
    """A column of the table assigns each row to train, validation or test."""

    kind: Literal["column"] = "column"
    column: ColumnName
    """Name of the column; its labels are train, validation and test."""


class GroupSplit(SplitSettings):
    """Rows with the same label stay together, for example all storms of one year."""

    has_exchangeable_rows = False
    kind: Literal["group"] = "group"
    column: ColumnName
    """Name of the column."""
    validation: Fraction | Literal["auto"] = "auto"
    """As in the random split, but of groups; auto = 0.1 from 2000 rows on (test excluded), else 0 [fraction]."""
    test: Fraction | Fold = 0.1
    """Share of groups held out for the scores [fraction]; or a fold of a cross-validation."""


class TimeSplit(SplitSettings):
    """The last rows in time are held out."""

    has_exchangeable_rows = False
    is_ordered = True
    kind: Literal["time"] = "time"
    column: ColumnName
    """Name of the column, which holds numbers or dates."""
    validation: Fraction | Literal["auto"] = "auto"
    """As in the random split, just before the test; auto = 0.1 from 2000 rows on (test excluded), else 0 [fraction]."""
    test: Fraction | Fold = 0.1
    """Share of rows, the latest, held out for the scores [fraction]; or a fold of a cross-validation."""


Split = Annotated[RandomSplit | ColumnSplit | GroupSplit | TimeSplit, Field(discriminator="kind")]
_SPLIT: TypeAdapter[Split] = TypeAdapter(Split)


def read_split(values: Mapping[str, Any]) -> Split:
    """Return a `data.split` block that a run has stored as plain values."""
    return _SPLIT.validate_python(values)


class MissingPolicy(Section):
    """What to do with a row that has an empty cell in an input column."""

    kind: Literal["error", "drop", "impute_with_indicator"] = "error"


class TableFormat(Section):
    """How the cells of a table are written. The run stores it and uses it for predictions."""

    delimiter: str = "auto"
    """Character between the cells of a CSV; auto = comma, or semicolon or tab if the header has no comma."""
    decimal: Literal[".", ","] = "."
    """Decimal mark of numbers."""
    thousands: Literal["", ",", ".", " ", "'"] = ""
    """Thousands separator; a space also matches a no-break space."""
    dates: Literal["iso", "day_first", "month_first"] = "iso"
    """Also reads dates such as 31.12.2023 (day first) or 12/31/2023 (month first); ISO 8601 is always read."""
    encoding: str = "auto"
    """Encoding of a CSV, such as cp1252; auto = UTF-8, or UTF-16 if the file starts with its byte order mark."""
    gaps: tuple[str, ...] = GAPS
    """The words that mean an empty cell (no others do); surrounding spaces are ignored."""

    @model_validator(mode="after")
    def _marks_are_clear(self) -> TableFormat:
        if self.delimiter != "auto" and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            message = f"expected 'auto' or one character that is no quote; got {self.delimiter!r}. Write \";\", say."
            raise SettingError(("delimiter",), message)
        if self.thousands == self.decimal:
            message = f"expected another mark than decimal's; got {self.thousands!r} for both. Change one of them."
            raise SettingError(("thousands",), message, because=("decimal",))
        if self.encoding != "auto" and not _is_encoding(self.encoding):
            message = f"expected 'auto' or an encoding such as cp1252; got {self.encoding!r}. Correct the name."
            raise SettingError(("encoding",), message)
        return self


class Data(Section):
    """Which table, which columns, which rows."""

    path: FilePath
    """CSV (may be compressed), Parquet, or a glob of either, which may exceed memory; relative to this file."""
    format: TableFormat = TableFormat()
    """How the cells are written, in this table and in tables to predict."""
    inputs: tuple[InputColumn, ...] = Field(min_length=1)
    """Input columns x; a bare name is a numeric column."""
    targets: tuple[TargetColumn, ...] = Field(min_length=1)
    """Target columns y; a bare name takes all defaults."""
    split: Split = RandomSplit()
    """Which rows are for training, which for choosing the best step, and which are held out for the scores."""
    missing: MissingPolicy = MissingPolicy()
    """What to do with empty input cells."""
    id: tuple[ColumnName, ...] = ()
    """Columns that every table of predictions has too, unchanged, such as a key."""
    predict: tuple[FilePath, ...] = ()
    """Tables that `make predictions` predicts with this run; relative to this file."""
    reference_rows: int = Field(default=1000, ge=0)
    """Inputs of training rows that the run keeps for `cde drift`; with 0 that reads the table again [rows]"""

    @field_validator("inputs", mode="before")
    @classmethod
    def _bare_inputs(cls, value: Any) -> Any:
        return _expand_bare_names(value, kind="numeric")

    @field_validator("targets", mode="before")
    @classmethod
    def _bare_targets(cls, value: Any) -> Any:
        return _expand_bare_names(value)

    @model_validator(mode="after")
    def _columns_differ(self) -> Data:
        seen: set[str] = set()
        for key in ("inputs", "targets"):
            for index, column in enumerate(getattr(self, key)):
                if column.column in seen:
                    message = (
                        f"expected a column once among inputs and targets; got {column.column!r} again. Remove it."
                    )
                    raise SettingError((key, index), message)
                seen.add(column.column)
        return self


def _expand_bare_names(value: Any, **defaults: str) -> Any:
    """Turn `a` into `{column: a}`, and give mappings the default kind."""
    if not isinstance(value, list | tuple):
        return value
    expanded = [{"column": item} if isinstance(item, str) else item for item in value]
    return [{**defaults, **item} if isinstance(item, dict) else item for item in expanded]


def _is_timezone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # no such file of rules, or not a name at all
        return False
    return True


def _is_encoding(name: str) -> bool:
    try:
        return codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):
        return False
