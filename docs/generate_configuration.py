"""Write `configuration.md` from the configuration tree: `python docs/generate_configuration.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from cde_app.config import Config, Section
from cde_app.config_file.schema import entry_of, expectation, item_of, scalars_of, tag_of, variants_of

INTRODUCTION = """\
# Configuration

<!-- Written by docs/generate_configuration.py from cde_app/config/; change it there. -->

One YAML file describes a run. The smallest one has two keys:

```yaml
schema_version: 1
data: {path: ../data/motorcycle.csv, inputs: [times], targets: [accel]}
```

Every other setting has a default.

* `cde init DATA --target COLUMN` writes a file with all settings, each explained by a comment.
* `cde check FILE` checks a file.
* `cde config show FILE` prints it with every default filled in.
* `cde config schema` prints a JSON schema for your editor.

**Columns.** A bare name is short for `{column: name}`: a numeric column among the inputs, a column with default
settings among the targets.

**Variants** are chosen by `kind:` (`structure:` for the output layer). If it is left out, the default kind applies.

**Paths** are relative to the folder of the file, even when they are set with `--set`; `~/` is your home directory.

**Overrides.** `--set key.path=value` replaces one setting before the configuration is checked. It may be repeated; the
last one wins. The value is YAML, and list entries are counted from 0:

```console
cde train configs/motorcycle.yaml --set training.max_steps=300 --set data.targets.0.transform.kind=log
```

An override that changes a `kind` keeps the settings next to it in the file. Settings that the new kind does not have
are dropped, with a note on standard error. A setting from another `--set` is never dropped.

**Errors** are reported all at once, one per line, with file, line and column (exit code 2):

```
error: configs/toy.yaml:14:5: model.likelihood.varience: unknown key; did you mean 'variance_floor'?
error: configs/toy.yaml:20:14: training.max_steps: expected an integer >= 1 or 'auto'; got 'many'. \
Leave the key out for the default, 'auto'.
```

**YAML.** Unquoted `no`, `yes`, `on`, `off`, numbers and dates are not text. If a column has such a name, quote it:
`'no'`. A quoted number is text. `1e-3` is a number. A duplicate key is an error. Anchors, aliases and `<<:` work.
"""


def reference() -> str:
    """Return the whole page."""
    pages = _pages()
    lines = [INTRODUCTION, "## All settings", "", *_table(Config, pages)]
    for path, annotation in pages.values():
        lines += _subsection(path, annotation, pages)
    return "\n".join(lines).rstrip() + "\n"


Signature = tuple[tuple[str, type[Section]], ...]
Pages = dict[Signature, tuple[str, Any]]


def _pages() -> Pages:
    """Return where each set of variants is described: the first place where it may stand, in the order of the tree."""
    pages: Pages = {}

    def visit(model: type[Section], prefix: str) -> None:
        for name, field in model.model_fields.items():
            annotation = item_of(field.annotation) or entry_of(field.annotation) or field.annotation
            signature = _signature(annotation)
            if signature and signature not in pages:
                pages[signature] = (f"{prefix}{name}", annotation)
                for inner in dict(signature).values():
                    visit(inner, f"{prefix}{name}.")

    visit(Config, "")
    return pages


def _signature(annotation: Any) -> Signature:
    return tuple(variants_of(annotation).items())


def _subsection(path: str, annotation: Any, pages: Pages) -> Iterator[str]:
    """Yield the heading, texts and tables of the variants that may stand at `path`."""
    yield from ["", f"{'##' if '.' not in path else '###'} `{path}`"]
    variants = variants_of(annotation)
    for model in dict.fromkeys(variants.values()):
        kinds = [kind for kind, other in variants.items() if other is model and kind]
        label = " or ".join(f"`{tag_of(model)}: {kind}`" for kind in kinds)
        meaning = " ".join((model.__doc__ or "").split())
        yield from ["", f"{label}: {meaning}" if label else meaning]
        table = _table(model, pages)
        if table:
            yield from ["", *table]


def _table(model: type[Section], pages: Pages) -> list[str]:
    """Return one row for every setting of a section but its kind."""
    tag = tag_of(model)
    names = [name for name in model.model_fields if name != tag]
    if not names:
        return []
    head = ["| key | value | default | meaning |", "|---|---|---|---|"]
    return head + [_row(name, model.model_fields[name], pages) for name in names]


def _row(name: str, field: FieldInfo, pages: Pages) -> str:
    annotation = field.rebuild_annotation()
    item, entry = item_of(annotation), entry_of(annotation)
    inner = item or entry or annotation
    variants = variants_of(inner)
    value = expectation(annotation)
    if variants:
        path = pages[_signature(inner)][0]
        value = f"{'a list, ' if item else 'a mapping, ' if entry else ''}see [`{path}`](#{path.replace('.', '')})"
        if (single := scalars_of(annotation)) is not None and inner is annotation:
            value = f"{expectation(single)}, or {value}"
    default = "required" if field.is_required() else _default(field.default)
    meaning = field.description or _model_meaning(variants)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{name}`", value, default, meaning)) + " |"


def _default(default: Any) -> str:
    if isinstance(default, Section):
        kind = tag_of(type(default))
        return f"`{kind}: {getattr(default, kind)}`" if kind else ""
    if isinstance(default, tuple) and default and isinstance(default[0], Section):
        return f"{len(default)} entry" if len(default) == 1 else f"{len(default)} entries"
    if default == "":
        return "empty"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _model_meaning(variants: dict[str, type[Section]]) -> str:
    models = set(variants.values())
    return " ".join((models.pop().__doc__ or "").split()) if len(models) == 1 else ""


if __name__ == "__main__":
    Path(__file__).with_name("configuration.md").write_text(reference(), encoding="utf-8", newline="\n")
