"""The configuration as text: resolved YAML for the run directory, commented YAML for people, a schema for editors."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from cde_app.config import Config, Section
from cde_app.config_file.schema import item_of, tag_of, variants_of

_WIDTH = 118
_COMMENT_COLUMN = 40
_HEADER = """\
# Configuration of cde: every setting with its value. A setting that is left out takes its default.
# Check this file with `cde check FILE`, train with `cde train FILE`. Relative paths are relative to this file.
"""


class _Dumper(yaml.SafeDumper):
    """Writes text that would span several lines in double quotes, so that it stays on one line."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def dump_config(config: Config) -> str:
    """Write a configuration as YAML, every setting included; reading it gives an equal configuration."""
    return dump_settings(config.model_dump(mode="json"))


def dump_settings(plain: dict[str, Any]) -> str:
    """Write plain settings, complete or not, as YAML."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=_WIDTH, allow_unicode=True)


def commented_config(config: Config) -> str:
    """Write a configuration as YAML for people: every setting, its meaning as a comment, and the other kinds."""
    blocks = ["\n".join(_entry(config, name, "", {})) for name in type(config).model_fields]
    return _HEADER + "\n" + "\n\n".join(blocks) + "\n"


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration file, for editors.

    Since a kind may be left out, several variants may fit; and a column may be a bare name. The schema allows both.
    """
    schema = _any_of(Config.model_json_schema())
    for name in ("inputs", "targets"):
        columns = schema["$defs"]["Data"]["properties"][name]
        columns["items"] = {"anyOf": [{"type": "string", "minLength": 1}, columns["items"]]}
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Configuration of cde"}
    return {**schema, **title}


def _any_of(schema: Any) -> Any:
    """Turn `oneOf` into `anyOf`, and drop OpenAPI's discriminator."""
    if isinstance(schema, list):
        return [_any_of(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {"anyOf" if key == "oneOf" else key: _any_of(item) for key, item in schema.items() if key != "discriminator"}


def _section(section: Section, indent: str, kinds: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of every field; `kinds` are the possible variants of the section that are not listed yet."""
    for name in type(section).model_fields:
        yield from _entry(section, name, indent, kinds)


def _entry(section: Section, name: str, indent: str, kinds: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of one field."""
    field = type(section).model_fields[name]
    value = getattr(section, name)
    variants = variants_of(item_of(field.annotation) or field.annotation)
    meaning = field.description or ("" if not isinstance(value, Section) else _meaning(type(value)))
    if isinstance(value, Section) and not _fits_a_line(value):
        yield from _above(meaning, (), indent)
        yield f"{indent}{name}:"
        yield from _section(value, indent + "  ", variants)
    elif isinstance(value, tuple) and value and isinstance(value[0], Section):
        yield from _above(meaning, variants, indent)
        yield f"{indent}{name}:"
        for item in value:
            yield from _item(item, indent + "  ")
    else:
        choices = kinds if name == tag_of(type(section)) else variants or _choices(field)
        yield from _beside(f"{indent}{name}: {_one_line(value)}", meaning, tuple(choices), indent)


def _item(section: Section, indent: str) -> Iterator[str]:
    """Yield the lines of one entry of a list of sections; the variants are listed above the list."""
    if _fits_a_line(section):
        yield f"{indent}- {_one_line(section)}"
        return
    dash = "- "
    for line in _section(section, indent + "  ", {}):
        is_comment = line.lstrip().startswith("#")
        yield line if is_comment or not dash else f"{indent}{dash}{line[len(indent) + 2 :]}"
        dash = dash if is_comment else ""


def _fits_a_line(section: Section) -> bool:
    """Return whether no setting in the section needs a comment."""
    return not any(
        field.description
        or (isinstance(value, Section) and not _fits_a_line(value))
        or (isinstance(value, tuple) and any(isinstance(item, Section) and not _fits_a_line(item) for item in value))
        for name, field in type(section).model_fields.items()
        for value in [getattr(section, name)]
    )


def _one_line(value: Any) -> str:
    """Write a value in flow style."""
    if isinstance(value, Section):
        value = value.model_dump(mode="json")
    elif isinstance(value, tuple):
        value = [item.model_dump(mode="json") if isinstance(item, Section) else item for item in value]
    text = yaml.dump(
        [value], Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=float("inf"), allow_unicode=True
    )
    return text.strip()[1:-1]


def _meaning(model: type[Section]) -> str:
    return " ".join((model.__doc__ or "").split())


def _choices(field: FieldInfo) -> list[str]:
    """Return the allowed words of a single value that is limited to some words."""
    words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return [str(word) if str(word).strip() else repr(word) for word in words]


def _above(comment: str, choices: Iterable[str], indent: str) -> list[str]:
    texts = [comment, *_one_of(choices)]
    return [f"{indent}# {line}" for text in texts for line in textwrap.wrap(text, _WIDTH - len(indent) - 2)]


def _beside(line: str, comment: str, choices: Iterable[str], indent: str) -> list[str]:
    """Put a comment after a line, or above it if the line would be too long."""
    comments = ([comment] if comment else []) + _one_of(choices)
    beside = f"{line.ljust(_COMMENT_COLUMN)}  # {' '.join(comments)}" if comments else line
    return [beside] if len(beside) <= _WIDTH else [*_above(comment, choices, indent), line]


def _one_of(choices: Iterable[str]) -> list[str]:
    words = " | ".join(choices)
    return [words] if "|" in words else []
