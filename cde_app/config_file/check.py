"""Check a `Document` against the configuration tree: all faults at once, each with its position.

The check walks the tree along the classes of `config`, which define the valid keys and kinds of each section. Pydantic
validates single values in strict mode (a quoted number is text); each section has its own validators.
"""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

from cde_app.config import Config, Section
from cde_app.config_file.document import UNREADABLE, Document, Fault, KeyPath, dotted, short_repr
from cde_app.config_file.kernel_columns import kernel_column_faults
from cde_app.config_file.schema import (
    a_section,
    all_keys,
    expectation,
    item_of,
    metadata,
    scalars_of,
    tag_of,
    variants_of,
)
from cde_app.errors import ConfigError, SettingError
from cde_app.numerals import is_number
from cde_app.words import listed, nearest

READ_VERSIONS: tuple[int, ...] = get_args(Config.model_fields["schema_version"].annotation)
_INVALID = object()


def check_document(document: Document) -> tuple[Config, tuple[str, ...]]:
    """Turn a document into a configuration; also say which settings of the file do not apply because of an override.

    Raises:
        ConfigError: one line for each fault of the document, in the order of the file, overrides last.
    """
    checker = _Checker(document)
    version = document.value.get("schema_version")
    if isinstance(version, int) and not isinstance(version, bool) and version not in READ_VERSIONS:
        checker.report_version(version)
    else:
        config = checker.section(Config, None, document.value, ())
        if isinstance(config, Config):
            checker.report_kernels(config)
    faults = document.faults + checker.faults
    if faults:
        ordered = sorted(faults, key=lambda fault: (fault.place.line, fault.place.column))
        raise ConfigError(*dict.fromkeys(map(str, ordered)))
    if not isinstance(config, Config):
        raise TypeError("a configuration without faults must be valid")
    return config, tuple(checker.remarks)


class _Checker:
    """Collects the faults of one document, and remarks on it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.faults: list[Fault] = []
        self.remarks: list[str] = []

    def report_version(self, version: int) -> None:
        versions = " and ".join(map(str, READ_VERSIONS))
        advice = "Use the version of cde that wrote the file, or write a new one with `cde init`."
        self._value_fault(("schema_version",), f"this program reads schema_version {versions}; got {version}. {advice}")

    def report_kernels(self, config: Config) -> None:
        for path, message in kernel_column_faults(config):
            self._value_fault(path, message)

    def value(self, annotation: Any, default: Any, value: Any, path: KeyPath) -> Any:
        """Return the checked value of a field, or `_INVALID` after reporting why."""
        if value is UNREADABLE:
            return _INVALID
        if item_of(annotation) is not None:
            return self.items(annotation, value, path)
        if variants_of(annotation) and (isinstance(value, dict) or scalars_of(annotation) is None):
            return self.section(annotation, default, value, path)
        if get_origin(annotation) is dict and isinstance(value, dict):
            return self.entries(annotation, value, path)
        return self.scalar(annotation, default, value, path)

    def entries(self, annotation: Any, value: dict[str, Any], path: KeyPath) -> Any:
        entry = get_args(annotation)[1]
        checked = {key: self.value(entry, None, given, (*path, key)) for key, given in value.items()}
        return _INVALID if _INVALID in checked.values() else checked

    def items(self, annotation: Any, value: Any, path: KeyPath) -> Any:
        if not isinstance(value, list):
            written = self._written(value, path)
            advice = "Write '[]' for none." if value is None else f"Write [{written}] for a list of one."
            return self._value_fault(path, f"expected a list; got {short_repr(value)}. {advice}")
        shortest = max((getattr(m, "min_length", 0) for m in metadata(annotation)), default=0)
        if len(value) < shortest:
            return self._value_fault(path, f"expected a list of at least {shortest}; got {len(value)}. Add entries.")
        item = item_of(annotation)
        checked = [self.value(item, None, entry, (*path, index)) for index, entry in enumerate(value)]
        return _INVALID if _INVALID in checked else tuple(checked)

    def scalar(self, annotation: Any, default: Any, value: Any, path: KeyPath) -> Any:
        single = scalars_of(annotation)
        adapter = TypeAdapter(single, config=ConfigDict(strict=True, allow_inf_nan=False))
        for candidate in self._readings(value, path):
            try:
                checked = adapter.validate_python(candidate)
            except ValidationError:
                continue
            if not _is_mere_likeness(candidate, checked):
                return checked
        advice = self._scalar_advice(TypeAdapter(single).json_schema(), default, value, path)
        return self._value_fault(path, f"expected {expectation(annotation)}; got {short_repr(value)}. {advice}")

    def section(self, annotation: Any, default: Any, value: Any, path: KeyPath) -> Any:
        variants = variants_of(annotation)
        models = list(dict.fromkeys(variants.values()))
        named = "column" in models[0].model_fields
        if isinstance(value, str) and value and named and _is_entry(path):
            value = {"column": value}
        if not isinstance(value, dict):
            return self._not_a_section(variants, value, path)
        tag = tag_of(models[0])
        if tag is None:
            return self.fields(models[0], value, path, variants)
        if tag not in value:
            if isinstance(default, Section):
                value = {tag: getattr(default, tag), **value}
            elif named or len(variants) == 1:
                value = {tag: next(iter(variants)), **value}
            else:
                return self._key_fault(path, (*path, tag), f"missing key; expected one of {listed(variants)}. Add it.")
        chosen = value[tag]
        if not isinstance(chosen, str) or chosen not in variants:
            return self._unknown_kind(variants, chosen, (*path, tag))
        before = self.document.replaced_kinds.get((*path, tag), chosen)
        if before is None:
            before = getattr(default, tag) if isinstance(default, Section) else next(iter(variants)) if named else None
        if before != chosen:
            value = self._without_the_old_kind(variants, value, path)
        return self.fields(variants[chosen], value, path, variants)

    def _without_the_old_kind(
        self, variants: dict[str, type[Section]], value: dict[str, Any], path: KeyPath
    ) -> dict[str, Any]:
        """Drop the keys that belong to the kind which an override has replaced, and remark on them.

        These are the keys that another kind accepts and the new one does not. A key that no kind accepts stays and is
        reported, and a key that an override has set stays too.
        """
        models = list(dict.fromkeys(variants.values()))
        tag = str(tag_of(models[0]))
        chosen = variants[value[tag]]
        old = [
            key
            for key, entry in value.items()
            if not self.document.is_overridden((*path, key))
            and not self._takes(chosen, key, entry, path)
            and any(self._takes(model, key, entry, path) for model in models)
        ]
        if old:
            are, them = ("is", "it") if len(old) == 1 else ("are", "them")
            self.remarks.append(
                f"{self.document.key_place((*path, tag)).where}: {dotted(path)}: {listed(old)} {are} left out, "
                f"as {tag} {value[tag]!r} does not take {them}."
            )
        return {key: entry for key, entry in value.items() if key not in old}

    def _takes(self, model: type[Section], key: str, entry: Any, path: KeyPath) -> bool:
        """Return whether a section accepts such a key with such a value; nothing is reported."""
        if key not in model.model_fields:
            return False
        num_faults, num_remarks = len(self.faults), len(self.remarks)
        field = model.model_fields[key]
        checked = self.value(field.rebuild_annotation(), field.default, entry, (*path, key))
        del self.faults[num_faults:], self.remarks[num_remarks:]
        return checked is not _INVALID

    def fields(self, model: type[Section], value: dict[str, Any], path: KeyPath, variants: dict[str, Any]) -> Any:
        """Check every key of a section, then the section's own rules."""
        fields = model.model_fields
        unknown = [key for key in value if key not in fields]
        missing = [name for name, field in fields.items() if field.is_required() and name not in value]
        for key in unknown:
            message = f"unknown key; {self._about_key(key, model, value, variants)}"
            self._key_fault((*path, key), (*path, key), message)
        for name in missing:
            field = fields[name]
            message = f"missing key; expected {expectation(field.rebuild_annotation())}. Add `{name}: ...`"
            tag = tag_of(model)  # if an override chose the kind, it is responsible for what the kind needs
            at = (*path, tag) if tag and self.document.key_place((*path, tag)).is_override else path
            self._key_fault(at, (*path, name), message)
        parts = {
            key: self.value(fields[key].rebuild_annotation(), fields[key].default, entry, (*path, key))
            for key, entry in value.items()
            if key in fields
        }
        if missing or _INVALID in parts.values():
            return _INVALID
        try:
            section = model.model_validate(parts)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                broken = fault.get("ctx", {}).get("error")
                if isinstance(broken, SettingError):
                    self.faults.append(self.document.fault(broken, above=path))
                else:
                    self._key_fault((*path, *fault["loc"][:1]), (*path, *fault["loc"][:1]), fault["msg"])
            return _INVALID
        return _INVALID if unknown else section

    def _about_key(self, key: str, model: type[Section], value: dict[str, Any], variants: dict[str, Any]) -> str:
        owners = [kind for kind, other in variants.items() if key in other.model_fields]
        tag = tag_of(model)
        if owners and tag:
            return f"{tag} {value[tag]!r} has no such key, {listed(owners)} has. Remove it or change {tag}."
        near = nearest(key, model.model_fields)
        if near:
            return f"did you mean {near!r}?"
        elsewhere = [name for name in all_keys() if name.rpartition(".")[2] == key.lower().replace("-", "_")]
        if elsewhere:
            return f"did you mean {elsewhere[0]!r}?"
        return f"the keys here are {listed(model.model_fields)}. Remove it."

    def _not_a_section(self, variants: dict[str, type[Section]], value: Any, path: KeyPath) -> Any:
        model = next(iter(variants.values()))
        tag = tag_of(model)
        is_name = "column" in model.model_fields and _is_entry(path)
        expected = "a column name or a mapping" if is_name else a_section(variants)
        advice = "Write its keys indented below, one a line."
        if isinstance(value, str) and value and value in variants:
            advice = f"Write `{{{tag}: {value}}}`."
        elif isinstance(value, str) and (family := _as_family(variants, value)):
            advice = f"Write {family}."
        elif is_name:
            advice = self._quoting_advice(value, path) or "Write the name of a column."
        elif value is None:
            advice = "Remove it to take the defaults, or write its keys."
        return self._value_fault(path, f"expected {expected}; got {short_repr(value)}. {advice}")

    def _unknown_kind(self, variants: dict[str, type[Section]], chosen: Any, path: KeyPath) -> Any:
        kinds = f"one of {listed(variants)}" if len(variants) > 1 else listed(variants)
        near = nearest(chosen, variants) if isinstance(chosen, str) else None
        advice = f"Did you mean {near!r}?" if near else "Choose one of these."
        if isinstance(chosen, str) and (family := _as_family(variants, chosen)):
            advice = f"Did you mean {near!r}, or {family}?" if near else f"A family is written {family}."
        return self._value_fault(path, f"expected {kinds}; got {short_repr(chosen)}. {advice}")

    def _readings(self, value: Any, path: KeyPath) -> list[Any]:
        """Return the values that the source may mean: YAML 1.1 reads an unquoted 1e-3 as text."""
        if isinstance(value, list):
            return [[self._readings(entry, (*path, index))[-1] for index, entry in enumerate(value)]]
        if not isinstance(value, str) or self._source(path) is None or not is_number(value):
            return [value]
        number = float(value)
        return [value, number, int(number)] if number.is_integer() else [value, number]

    def _scalar_advice(self, schema: dict[str, Any], default: Any, value: Any, path: KeyPath) -> str:
        options = schema.get("anyOf", [schema])
        types = {option.get("type") for option in options}
        words = [w for option in options for w in [option.get("const"), *option.get("enum", [])] if isinstance(w, str)]
        takes_any_text = any(
            option.get("type") == "string" and not option.keys() & {"const", "enum"} for option in options
        )
        if isinstance(value, str):
            if types & {"number", "integer"} and is_number(value) and self._source(path) is None:
                return "Remove the quotes."
            if (near := nearest(value, words)) is not None:
                return f"Did you mean {near!r}?"
        elif takes_any_text or self._source(path) in words:  # valid in quotes
            advice = self._quoting_advice(value, path)
            if advice:
                return advice
        if default not in (None, PydanticUndefined):
            written = str(default).lower() if isinstance(default, bool) else repr(default)
            return f"Leave the key out for the default, {written}."
        return "Correct the value." if value is not None else "Write a value after the colon."

    def _quoting_advice(self, value: Any, path: KeyPath) -> str:
        """Advise quotes for text that YAML 1.1 reads as a truth value, a number or a date."""
        text = self._source(path)
        if text is None or value is None or isinstance(value, str):
            return ""
        nouns = {bool: "a truth value", int: "a number", float: "a number"}
        noun = nouns.get(type(value), "a date")
        return f"YAML reads {text} as {noun}: write '{text}' in quotes."

    def _source(self, path: KeyPath) -> str | None:
        return self.document.values[path].text if path in self.document.values else None

    def _written(self, value: Any, path: KeyPath) -> str:
        return self._source(path) or (repr(value) if isinstance(value, str | int | float) else "...")

    def _value_fault(self, path: KeyPath, message: str) -> Any:
        self.faults.append(Fault(self.document.value_place(path), f"{dotted(path)}: {message}"))
        return _INVALID

    def _key_fault(self, at: KeyPath, path: KeyPath, message: str) -> Any:
        text = f"{dotted(path)}: {message}" if path else message
        self.faults.append(Fault(self.document.key_place(at), text))
        return _INVALID


def _as_family(variants: dict[str, type[Section]], word: str) -> str | None:
    """Write a word as a family of the kind that has families (the latent prior's `tfp`); None if no kind has any."""
    kind = next((kind for kind, model in variants.items() if "family" in model.model_fields), None)
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_ ]+", word))
    return f"{{kind: {kind}, family: {name}, parameters: {{...}}}}" if kind and name.isidentifier() else None


def _is_mere_likeness(value: Any, checked: Any) -> bool:
    """Return whether a value matched a literal only because of Python's `True == 1.0 == 1`."""
    return isinstance(value, bool) != isinstance(checked, bool) or (isinstance(value, float) and type(checked) is int)


def _is_entry(path: KeyPath) -> bool:
    return bool(path) and isinstance(path[-1], int)
