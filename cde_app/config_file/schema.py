"""The configuration tree as a schema: which kinds, keys and values each section allows, and how messages name them."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from cde_app.config import Config, Section
from cde_app.words import listed

TAGS = ("kind", "structure")


def tag_of(model: type[Section]) -> str | None:
    """Return the key that chooses the variant (`kind`; `structure` of the output layer), None if there is none."""
    fields = model.model_fields
    return next((tag for tag in TAGS if tag in fields and get_origin(fields[tag].annotation) is Literal), None)


def variants_of(annotation: Any) -> dict[str, type[Section]]:
    """Return the section class of each kind that an annotation allows; `{"": model}` for a section without kinds."""
    variants: dict[str, type[Section]] = {}
    for model in members(annotation):
        if isinstance(model, type) and issubclass(model, Section):
            tag = tag_of(model)
            kinds = get_args(model.model_fields[tag].annotation) if tag else ("",)
            variants |= dict.fromkeys(kinds, model)
    return variants


def item_of(annotation: Any) -> Any:
    """Return the annotation of a list's entries, None if the annotation is not a list."""
    annotation = _bare(annotation)
    return get_args(annotation)[0] if get_origin(annotation) is tuple else None


def entry_of(annotation: Any) -> Any:
    """Return the annotation of the values of a mapping whose keys the user chooses, None if it is no such mapping."""
    annotation = _bare(annotation)
    return get_args(annotation)[1] if get_origin(annotation) is dict else None


def expectation(annotation: Any) -> str:
    """Describe what a value must be, for example `an integer >= 1 or 'auto'`."""
    if item_of(annotation) is not None:
        return f"a list (each entry {expectation(item_of(annotation))})"
    variants, scalars = variants_of(annotation), scalars_of(annotation)
    alternatives = [a_section(variants)] if variants else []
    if scalars is not None:
        alternatives.append(in_words(TypeAdapter(scalars).json_schema()))
    return " or ".join(alternatives)


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def members(annotation: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union, or the annotation itself."""
    bare = _bare(annotation)
    is_union = get_origin(bare) in (Union, UnionType)
    return get_args(bare) if is_union else (annotation,)


def scalars_of(annotation: Any) -> Any:
    """Return the annotation of the single values that are allowed besides sections, None if there are none."""
    alternatives = members(annotation)
    scalars = [other for other in alternatives if not variants_of(other)]
    if len(scalars) == len(alternatives):
        return annotation
    return Union[tuple(scalars)] if scalars else None  # noqa: UP007 (made at run time)


def metadata(annotation: Any) -> list[Any]:
    """Return the constraints that an annotation carries."""
    notes = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return [inner for note in notes for inner in (note.metadata if isinstance(note, FieldInfo) else [note])]


def a_section(variants: dict[str, type[Section]]) -> str:
    """Describe the mapping that is expected."""
    tag = tag_of(next(iter(variants.values())))
    return f"a mapping with {tag}: {' | '.join(variants)}" if tag else "a mapping"


def all_keys() -> list[str]:
    """Return the dotted name of every key of the default tree."""
    return list(_annotations())


def free_mappings() -> set[str]:
    """Return the dotted names of the keys whose value is a mapping with keys that the user chooses."""
    return {name for name, annotation in _annotations().items() if get_origin(annotation) is dict}


def _annotations() -> dict[str, Any]:
    """Return the annotation of every key of the default tree, by dotted name."""
    found: dict[str, Any] = {}
    pending: list[tuple[str, Any]] = [("", Config)]
    for prefix, annotation in pending:
        for model in variants_of(annotation).values():
            for name, field in model.model_fields.items():
                found.setdefault(f"{prefix}{name}", field.annotation)
                pending.append((f"{prefix}{name}.", field.annotation))
    return found


def in_words(schema: dict[str, Any]) -> str:
    """Describe the JSON schema of a single value."""
    if not schema:
        return "any value"
    if "anyOf" in schema:
        return " or ".join(map(in_words, schema["anyOf"]))
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return f"one of {listed(schema['enum'])}"
    nouns = {"integer": "an integer", "number": "a number", "boolean": "true or false", "null": "null"}
    nouns |= {"object": "a mapping", "array": "a list", "string": "text"}
    noun = nouns.get(schema.get("type", ""), "a value of another form")
    if schema.get("minLength"):
        noun += " that is not empty"
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:.10g}" for key, sign in bounds.items() if key in schema]
    return f"{noun} {' and '.join(limits)}" if limits else noun
