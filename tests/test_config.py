"""The configuration tree: its defaults, its rules, and what it promises about itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from cde_app.config import Config, Data, Section
from cde_app.config_file.schema import expectation, item_of, tag_of, variants_of
from cde_app.words import nearest

MINIMAL: dict[str, Any] = {
    "schema_version": 1,
    "data": {"path": "table.csv", "inputs": ["a", "b"], "targets": ["y"]},
}


def sections(annotation: Any = Config, above: tuple[type[Section], ...] = ()) -> Iterator[type[Section]]:
    """Yield every section class of the tree, some more than once; a kernel may have kernels."""
    for model in variants_of(item_of(annotation) or annotation).values():
        yield model
        if model not in above:
            for field in model.model_fields.values():
                yield from sections(field.annotation, (*above, model))


def with_data(**data: Any) -> dict[str, Any]:
    return {**MINIMAL, "data": {**MINIMAL["data"], **data}}


def test_five_settings_make_a_configuration() -> None:
    config = Config.model_validate(MINIMAL)
    assert [column.column for column in config.data.inputs] == ["a", "b"]
    assert config.data.targets[0].transform.kind == "auto"


def test_a_bare_input_is_numeric_and_a_mapping_without_kind_too() -> None:
    config = Config.model_validate(with_data(inputs=["a", {"column": "b"}]))
    assert [column.kind for column in config.data.inputs] == ["numeric", "numeric"]


def test_a_configuration_cannot_be_changed() -> None:
    config = Config.model_validate(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Config.model_validate({**MINIMAL, "sead": 1})


def test_a_column_cannot_be_both_input_and_target() -> None:
    with pytest.raises(ValidationError, match=r"targets\.0: expected a column once .* got 'a' again"):
        Config.model_validate(with_data(targets=["a"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"delimiter": ";;"},
            "delimiter: expected 'auto' or one character that is no quote; got ';;'. Write \";\", say.",
        ),
        (
            {"delimiter": '"'},
            "delimiter: expected 'auto' or one character that is no quote; got '\"'. Write \";\", say.",
        ),
        (
            {"decimal": ",", "thousands": ","},
            "thousands: expected another mark than decimal's; got ',' for both. Change one of them.",
        ),
        (
            {"encoding": "utf-9"},
            "encoding: expected 'auto' or an encoding such as cp1252; got 'utf-9'. Correct the name.",
        ),
        ({"encoding": "hex"}, "encoding: expected 'auto' or an encoding such as cp1252; got 'hex'. Correct the name."),
    ],
)
def test_a_format_has_marks_that_are_clear_and_an_encoding_that_exists(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(with_data(format=settings))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["Europe/Berlim", "../etc/passwd", "CET+1 ", "\0"])
def test_a_timezone_exists(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(with_data(inputs=[{"column": "d", "kind": "datetime", "timezone": name}]))
    message = f"timezone: expected a time zone such as Europe/Berlin or UTC; got {name!r}. Correct the name."
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["inputs", "targets"])
def test_there_must_be_at_least_one_column(name: str) -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        Config.model_validate(with_data(**{name: []}))


@pytest.mark.parametrize("model", sorted(set(sections()), key=str))
def test_every_section_says_what_it_is(model: type[Section]) -> None:
    assert model.__doc__
    assert model.__doc__ != Section.__doc__
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["frozen"]
    for field in model.model_fields.values():
        assert "\n" not in (field.description or ""), "a row of a table, and a comment, is one line"


def test_every_variant_is_told_apart_by_its_kind_or_structure() -> None:
    for model in set(sections()):
        for field in model.model_fields.values():
            variants = variants_of(item_of(field.annotation) or field.annotation)
            if len(set(variants.values())) > 1:
                assert len({tag_of(variant) for variant in variants.values()}) == 1
                assert "" not in variants


def test_every_default_satisfies_its_own_rule() -> None:
    for model in set(sections()):
        given = {name: field.default for name, field in model.model_fields.items() if not field.is_required()}
        required = [name for name, field in model.model_fields.items() if field.is_required()]
        if not required:
            assert model.model_validate(given) == model()


def test_expectations_name_the_form_the_range_and_the_words() -> None:
    def of(model: type[Section], name: str) -> str:
        return expectation(model.model_fields[name].rebuild_annotation())

    training = Config.model_fields["training"].default
    assert of(type(training), "max_steps") == "an integer >= 1 or 'auto'"
    assert of(type(training), "learning_rate") == "a number > 0"
    assert of(Data, "targets") == "a list (each entry a mapping)"
    assert of(Config, "seed") == "an integer >= 0 and < 2147483648"


def test_the_nearest_word_sees_through_dashes_and_capitals() -> None:
    assert nearest("Max-Steps", ["max_steps", "batch_size"]) == "max_steps"
    assert nearest("elephant", ["max_steps", "batch_size"]) is None
