"""Configuration files that are none, or whose settings are wrong, and settings on the command line."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.bad_input.cases import CONFIG, USAGE, Case
from tests.conftest import with_one

TRAINING = ("check config.yaml", "train config.yaml --out runs/a --quiet", "config show config.yaml")


def config(content: bytes | str, *lines: str) -> Case:
    """Return the case of another configuration."""
    return Case(TRAINING, USAGE, lines, {"config.yaml": content})


def edited(before: str, after: str, *lines: str) -> Case:
    """Return the case of the good configuration with one change."""
    return Case(TRAINING[:1], USAGE, lines, {"config.yaml": with_one(CONFIG, before, after)})


def more(block: str, *lines: str) -> Case:
    """Return the case of the good configuration with another block."""
    return Case(TRAINING[:1], USAGE, lines, {"config.yaml": CONFIG + block})


def setting(override: str, *lines: str) -> Case:
    """Return the case of a setting on the command line."""
    return Case((f"check config.yaml --set {shlex.quote(override)}",), USAGE, lines)


def named(name: str, *lines: str) -> Case:
    """Return the case of another path of the configuration."""
    commands = tuple(command.replace("config.yaml", name) for command in TRAINING)
    return Case(commands, USAGE, lines)


def links_to_itself(folder: Path) -> None:
    """Put a link in the place of the configuration."""
    (folder / "config.yaml").unlink()
    (folder / "config.yaml").symlink_to("config.yaml")


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
)

FILES = {
    "missing": named(
        "nothing.yaml",
        (
            "nothing.yaml: expected a configuration file; got no such file. Check the path, or write "
            "a configuration with `cde init`."
        ),
    ),
    "folder": named("run", "run: expected a configuration file; got a directory. Name a file in it."),
    "path through a file": named(
        "table.csv/c.yaml",
        (
            "table.csv/c.yaml: expected a readable configuration file; got: Not a directory. Check "
            "its permissions and path."
        ),
    ),
    "file that cannot be read": named(
        "/proc/self/mem",
        (
            "/proc/self/mem: expected a readable configuration file; got: Input/output error. Check "
            "its permissions and path."
        ),
    ),
    "device without end": named(
        "/dev/zero", ("/dev/zero: expected a configuration of at most 1048576 bytes; got more. Is this the table?")
    ),
    "device without content": named(
        "/dev/null",
        (
            "/dev/null: expected a configuration that starts with 'schema_version: 1'; got an empty "
            "file. Write one with `cde init`."
        ),
    ),
    "link to itself": Case(
        TRAINING[:1],
        USAGE,
        (
            (
                "cde check: invalid value for 'CONFIG': expected a path; got 'config.yaml': Too many "
                "levels of symbolic links. See `cde check --help`."
            ),
        ),
        prepare=links_to_itself,
    ),
    "the table": named(
        "table.csv",
        (
            "table.csv:1:1: expected a mapping (`key: value` lines); got 'x,region,a 0,south,0 "
            "1,north,1 2,south,4 3,north, ... th,324 19,north,361'. Start with 'schema_version: 1'."
        ),
    ),
    "arrays of a run": named(
        "run/split.npz", "run/split.npz:1: expected UTF-8 text; got byte 0x80. Save the file as UTF-8."
    ),
    "empty": config(
        "",
        (
            "config.yaml: expected a configuration that starts with 'schema_version: 1'; got an "
            "empty file. Write one with `cde init`."
        ),
    ),
    "comment only": config(
        "# seed: 1\n",
        (
            "config.yaml: expected a configuration that starts with 'schema_version: 1'; got an "
            "empty file. Write one with `cde init`."
        ),
    ),
    "null": config(
        "~\n",
        (
            "config.yaml: expected a configuration that starts with 'schema_version: 1'; got an "
            "empty file. Write one with `cde init`."
        ),
    ),
    "a list": config(
        "- data\n",
        ("config.yaml:1:1: expected a mapping (`key: value` lines); got ['data']. Start with 'schema_version: 1'."),
    ),
    "a word": config(
        "data\n",
        ("config.yaml:1:1: expected a mapping (`key: value` lines); got 'data'. Start with 'schema_version: 1'."),
    ),
    "not UTF-8": config(
        CONFIG.encode() + b"# gr\xfc\xdfe\n",
        "config.yaml:8: expected UTF-8 text; got byte 0xfc. Save the file as UTF-8.",
    ),
    "UTF-16": config(
        CONFIG.encode("utf-16"), "config.yaml:1: expected UTF-8 text; got byte 0xff. Save the file as UTF-8."
    ),
    "a tab": edited(
        "  max_steps", "\tmax_steps", "config.yaml:7:1: expected spaces; got a tab. Indent with spaces only."
    ),
    "a NUL": edited("25", "2\0005", "config.yaml:7:15: expected text; got the character '\\x00'. Remove it."),
    "an escape sequence": edited(
        "25", "\x1b[2J", "config.yaml:7:14: expected text; got the character '\\x1b'. Remove it."
    ),
    "an escape sequence in a key": edited(
        "max_steps",
        '"\\e[2J"',
        (
            "config.yaml:7:3: training.\\u001b[2J: unknown key; the keys here are 'loop', "
            "'objective', 'max_steps', 'batch_size', 'learning_rate', 'inducing_rate', 'clip_norm', "
            "'ensemble', 'warm_start', 'natural_gradient', 'early_stopping', 'calibration', "
            "'checkpoint_every'. Remove it."
        ),
    ),
    "a bracket that does not end": edited(
        "[a]",
        "[a",
        (
            "config.yaml:6:9: expected YAML; got: expected ',' or ']', but got ':'. Check colons, "
            "brackets, quotes and indentation."
        ),
    ),
    "a quote that does not end": edited(
        "[a]",
        "['a]",
        (
            "config.yaml:8:1: expected YAML; got: found unexpected end of stream. Check colons, "
            "brackets, quotes and indentation."
        ),
    ),
    "a colon without a blank": edited(
        "max_steps: 25",
        "max_steps:25",
        (
            "config.yaml:7:3: training: expected a mapping; got 'max_steps:25'. Write its keys "
            "indented below, one a line."
        ),
    ),
    "indented otherwise": edited(
        "  targets",
        "   targets",
        (
            "config.yaml:5:4: expected YAML; got: expected <block end>, but found '<block mapping "
            "start>'. Check colons, brackets, quotes and indentation."
        ),
    ),
    "two documents": more(
        "---\nseed: 1\n",
        ("config.yaml:8:1: expected YAML; got: another document. Check colons, brackets, quotes and indentation."),
    ),
    "60 brackets": more(
        f"seed: {'[' * 60}\n",
        (
            "config.yaml:9:1: expected YAML; got: expected the node content, but found '<stream "
            "end>'. Check colons, brackets, quotes and indentation."
        ),
    ),
    "bomb of aliases": config(
        BOMB,
        ("config.yaml:1:5: expected at most 20000 entries with every alias expanded; got more. Use fewer aliases."),
    ),
    "an alias of itself": more(
        "seed: &a [*a]\n", "config.yaml:1:1: expected at most 50 levels of nesting; got more. Write it flatter."
    ),
    "an alias of nothing": more(
        "seed: *a\n",
        (
            "config.yaml:8:7: expected YAML; got: found undefined alias 'a'. Check colons, brackets, "
            "quotes and indentation."
        ),
    ),
    "more than a megabyte": config(
        "# " + "x" * 2**20,
        ("config.yaml: expected a configuration of at most 1048576 bytes; got more. Is this the table?"),
    ),
    "an object of Python": more(
        "seed: !!python/object/apply:os.system ['true']\n",
        (
            "config.yaml:8:7: seed: expected a plain value, list or mapping; got the tag "
            "'!!python/object/apply:os.system'. Write text in quotes, without a tag."
        ),
    ),
    "a tag": more(
        "seed: !secret x\n",
        (
            "config.yaml:8:7: seed: expected a plain value, list or mapping; got the tag '!secret'. "
            "Write text in quotes, without a tag."
        ),
    ),
    "a list as a key": more(
        "? [a]\n: 1\n", "config.yaml:8:3: expected a key; got a list or mapping. Write `key: value`."
    ),
    "merging a number": more("<<: 3\n", "config.yaml:8:5: expected a mapping after `<<:`. Name an anchored mapping."),
    "integer as Python writes it": more(
        "seed: 1_0\n",
        (
            "config.yaml:8:7: seed: expected digits, or text in quotes; got 1_0, which YAML reads as 10. Write the "
            "number, or '1_0'."
        ),
    ),
    "digits of another script": more(
        "seed: １\n",
        (
            "config.yaml:8:7: seed: expected an integer >= 0 and < 2147483648; got '１'. Leave the key out for the "
            "default, 0."
        ),
    ),
    "integer of 400 digits": more(
        f"seed: {'9' * 400}\n",
        (
            "config.yaml:8:7: seed: expected an integer >= 0 and < 2147483648; got "
            "99999999999999999999999999999999999999999999999999 ... 99999999999999999999. Leave the key out for the "
            "default, 0."
        ),
    ),
    "hexadecimal digits without end": more(
        f"seed: 0x{'0' * 400}1\n",
        (
            "config.yaml:8:7: seed: expected digits, or text in quotes; got "
            "0x000000000000000000000000000000000000000000000000 ... 00000000000000000001, which YAML reads as 1. Write "
            "the number, or '0x000000000000000000000000000000000000000000000000 ... 00000000000000000001'."
        ),
    ),
    "integer of 5000 digits": more(
        f"seed: {'9' * 5000}\n",
        (
            "config.yaml:8:7: seed: expected a plain value, list or mapping; got "
            "'9999999999999999999999999999999999999999999999999 ... 9999999999999999999'. Write text "
            "in quotes, without a tag."
        ),
    ),
}

KEYS = {
    "unknown key": edited(
        "max_steps: 25", "max_step: 25", "config.yaml:7:3: training.max_step: unknown key; did you mean 'max_steps'?"
    ),
    "unknown section": edited(
        "training:", "trainings:", "config.yaml:6:1: trainings: unknown key; did you mean 'training'?"
    ),
    "both spellings of a key": more(
        "  max-steps: 30\n", "config.yaml:8:3: training.max-steps: unknown key; did you mean 'max_steps'?"
    ),
    "key twice": edited(
        "max_steps: 25",
        "max_steps: 25\n  max_steps: 30",
        "config.yaml:8:3: training.max_steps: duplicate key; first on line 7. Keep one of them.",
    ),
    "section twice": more(
        "training:\n  max_steps: 3\n", "config.yaml:8:1: training: duplicate key; first on line 6. Keep one of them."
    ),
    "key in the wrong section": more(
        "max_steps: 3\n", "config.yaml:8:1: max_steps: unknown key; did you mean 'training.max_steps'?"
    ),
    "no data": config("schema_version: 1\n", "config.yaml:1:1: data: missing key; expected a mapping. Add `data: ...`"),
    "no targets": edited(
        "  targets: [a]\n",
        "",
        ("config.yaml:2:1: data.targets: missing key; expected a list (each entry a mapping). Add `targets: ...`"),
    ),
    "no schema_version": edited(
        "schema_version: 1\n", "", "config.yaml:1:1: schema_version: missing key; expected 1. Add `schema_version: ...`"
    ),
    "newer schema": edited(
        "schema_version: 1",
        "schema_version: 2",
        (
            "config.yaml:1:17: schema_version: this program reads schema_version 1; got 2. Use the "
            "version of cde that wrote the file, or write a new one with `cde init`."
        ),
    ),
    "schema_version as text": edited(
        "schema_version: 1",
        "schema_version: '1'",
        "config.yaml:1:17: schema_version: expected 1; got '1'. Remove the quotes.",
    ),
    "section without keys": edited(
        "  max_steps: 25\n",
        "",
        (
            "config.yaml:6:10: training: expected a mapping; got None. Remove it to take the "
            "defaults, or write its keys."
        ),
    ),
    "all at once": config(
        with_one(CONFIG, "targets", "target").replace("25", "x"),
        ("config.yaml:2:1: data.targets: missing key; expected a list (each entry a mapping). Add `targets: ...`"),
        "config.yaml:5:3: data.target: unknown key; did you mean 'targets'?",
        (
            "config.yaml:7:14: training.max_steps: expected an integer >= 1 or 'auto'; got 'x'. "
            "Leave the key out for the default, 'auto'."
        ),
    ),
}

VALUES = {
    "wrong type": edited(
        "25",
        "many",
        (
            "config.yaml:7:14: training.max_steps: expected an integer >= 1 or 'auto'; got 'many'. "
            "Leave the key out for the default, 'auto'."
        ),
    ),
    "number out of range": edited(
        "25",
        "0",
        (
            "config.yaml:7:14: training.max_steps: expected an integer >= 1 or 'auto'; got 0. Leave "
            "the key out for the default, 'auto'."
        ),
    ),
    "fraction of a step": edited(
        "25",
        "2.5",
        (
            "config.yaml:7:14: training.max_steps: expected an integer >= 1 or 'auto'; got 2.5. "
            "Leave the key out for the default, 'auto'."
        ),
    ),
    "number in quotes": edited(
        "25",
        "'25'",
        ("config.yaml:7:14: training.max_steps: expected an integer >= 1 or 'auto'; got '25'. Remove the quotes."),
    ),
    "text for a list": edited(
        "[x, {column: region, kind: categorical}]",
        "x",
        "config.yaml:4:11: data.inputs: expected a list; got 'x'. Write [x] for a list of one.",
    ),
    "no inputs": edited(
        "[x, {column: region, kind: categorical}]",
        "[]",
        "config.yaml:4:11: data.inputs: expected a list of at least 1; got 0. Add entries.",
    ),
    "input and target": edited(
        "[a]",
        "[a, x]",
        (
            "config.yaml:5:16: data.targets.1: expected a column once among inputs and targets; got "
            "'x' again. Remove it."
        ),
    ),
    "truth value as a column": edited(
        "[a]",
        "[no]",
        (
            "config.yaml:5:13: data.targets.0: expected a column name or a mapping; got False. YAML "
            "reads no as a truth value: write 'no' in quotes."
        ),
    ),
    "date as a column": edited(
        "[a]",
        "[2020-01-31]",
        (
            "config.yaml:5:13: data.targets.0: expected a column name or a mapping; got "
            "datetime.date(2020, 1, 31). YAML reads 2020-01-31 as a date: write '2020-01-31' in "
            "quotes."
        ),
    ),
    "empty column": edited(
        "[a]",
        "['']",
        ("config.yaml:5:13: data.targets.0: expected a column name or a mapping; got ''. Write the name of a column."),
    ),
    "unknown kind of input": edited(
        "categorical",
        "categorial",
        (
            "config.yaml:4:38: data.inputs.1.kind: expected one of 'numeric', 'categorical', "
            "'cyclic', 'datetime'; got 'categorial'. Did you mean 'categorical'?"
        ),
    ),
    "unknown transform": edited(
        "[a]",
        "[{column: a, transform: {kind: ln}}]",
        (
            "config.yaml:5:43: data.targets.0.transform.kind: expected one of 'auto', 'identity', "
            "'log', 'yeo_johnson', 'logit', 'arcsinh'; got 'ln'. Choose one of these."
        ),
    ),
    "bounds in the wrong order": edited(
        "[a]",
        "[{column: a, transform: {kind: logit, lower: 2, upper: 1}}]",
        ("config.yaml:5:60: data.targets.0.transform.upper: expected a bound above lower; got 1 and 2. Exchange them."),
    ),
    "cycle without a period": edited(
        "[x,",
        "[{column: x, kind: cyclic},",
        ("config.yaml:4:12: data.inputs.0.period: missing key; expected a number > 0. Add `period: ...`"),
    ),
    "empty path": edited(
        "table.csv", "''", "config.yaml:3:9: data.path: expected text that is not empty; got ''. Correct the value."
    ),
    "number as a path": edited(
        "table.csv",
        "5",
        (
            "config.yaml:3:9: data.path: expected text that is not empty; got 5. YAML reads 5 as a "
            "number: write '5' in quotes."
        ),
    ),
    "negative seed": more(
        "seed: -1\n",
        (
            "config.yaml:8:7: seed: expected an integer >= 0 and < 2147483648; got -1. Leave the key "
            "out for the default, 0."
        ),
    ),
    "seed of 30 digits": more(
        f"seed: {'9' * 30}\n",
        (
            "config.yaml:8:7: seed: expected an integer >= 0 and < 2147483648; got "
            "999999999999999999999999999999. Leave the key out for the default, 0."
        ),
    ),
    "test rows of 150 %": edited(
        "[a]",
        "[a]\n  split: {test: 1.5}",
        (
            "config.yaml:6:17: data.split.test: expected a mapping or a number >= 0 and < 1; got "
            "1.5. Leave the key out for the default, 0.1."
        ),
    ),
    "delimiter of two letters": edited(
        "[a]",
        "[a]\n  format: {delimiter: '::'}",
        (
            "config.yaml:6:12: data.format.delimiter: expected 'auto' or one character that is no "
            "quote; got '::'. Write \";\", say."
        ),
    ),
    "unknown encoding": edited(
        "[a]",
        "[a]\n  format: {encoding: utf-99}",
        (
            "config.yaml:6:12: data.format.encoding: expected 'auto' or an encoding such as cp1252; "
            "got 'utf-99'. Correct the name."
        ),
    ),
    "codec that is no encoding": edited(
        "[a]",
        "[a]\n  format: {encoding: rot13}",
        (
            "config.yaml:6:12: data.format.encoding: expected 'auto' or an encoding such as cp1252; "
            "got 'rot13'. Correct the name."
        ),
    ),
    "one mark for decimals and thousands": edited(
        "[a]",
        "[a]\n  format: {decimal: ',', thousands: ','}",
        (
            "config.yaml:6:26: data.format.thousands: expected another mark than decimal's; got ',' "
            "for both. Change one of them."
        ),
    ),
    "format of dates that is none": edited(
        "[a]",
        "[a]\n  format: {dates: '%Q'}",
        (
            "config.yaml:6:19: data.format.dates: expected one of 'iso', 'day_first', 'month_first'; "
            "got '%Q'. Leave the key out for the default, 'iso'."
        ),
    ),
    "quantile of 1": more(
        "predict:\n  quantiles: [0.5, 1]\n",
        ("config.yaml:9:20: predict.quantiles.1: expected a number > 0 and < 1; got 1. Correct the value."),
    ),
    "threshold that is none": more(
        "predict:\n  thresholds: ['a>']\n",
        (
            "config.yaml:9:16: predict.thresholds.0: expected TARGET>NUMBER, TARGET<@COLUMN or "
            "NUMBER<TARGET<NUMBER; got 'a>'. Correct the text."
        ),
    ),
    "NaN as a rate": edited(
        "max_steps: 25",
        "learning_rate: .nan",
        (
            "config.yaml:7:18: training.learning_rate: expected a number > 0; got nan. Leave the key "
            "out for the default, 0.03."
        ),
    ),
    "infinite rate": edited(
        "max_steps: 25",
        "learning_rate: .inf",
        (
            "config.yaml:7:18: training.learning_rate: expected a number > 0; got inf. Leave the key "
            "out for the default, 0.03."
        ),
    ),
    "batch of no rows": edited(
        "max_steps: 25",
        "batch_size: 0",
        (
            "config.yaml:7:15: training.batch_size: expected an integer >= 1 or one of 'auto', "
            "'full'; got 0. Leave the key out for the default, 'auto'."
        ),
    ),
    "kernel of a column that is none": more(
        "model: {output: {kernel: {kind: linear, columns: [z]}}}\n",
        (
            "config.yaml:8:51: model.output.kernel.columns.0: expected one of 'x', 'region', "
            "'neighbours'; got 'z'. Correct the name."
        ),
    ),
    "sum of no kernels": more(
        "model: {output: {kernel: {kind: sum, kernels: []}}}\n",
        ("config.yaml:8:47: model.output.kernel.kernels: expected a list of at least 2; got 0. Add entries."),
    ),
    "kernels nested 60 times": more(
        f"model: {{output: {{kernel: {'{kind: sum, kernels: [' * 60}x{']}' * 60}}}}}\n",
        "config.yaml:1:1: expected at most 50 levels of nesting; got more. Write it flatter.",
    ),
    "layers as a mapping": more(
        "model: {layers: {num_gps: 1}}\n",
        ("config.yaml:8:17: model.layers: expected a list; got {'num_gps': 1}. Write [...] for a list of one."),
    ),
    "prior that needs more": more(
        "model: {latent: {prior: {kind: tfp, family: Laplace, parameters: {loc: x}}}}\n",
        (
            "config.yaml:8:72: model.latent.prior.parameters.loc: expected a number or a list; got "
            "'x'. Correct the value."
        ),
    ),
    "chain of another target": more(
        "model: {chain_order: [b]}\n",
        ("config.yaml:8:9: model.chain_order: expected each target once, of ['a']; got ['b']. Correct it."),
    ),
}

SETTINGS = {
    "--set without a value": setting(
        "training.max_steps",
        (
            "--set training.max_steps: expected KEY=VALUE; got 'training.max_steps'. Write for "
            "example --set training.max_steps=300"
        ),
    ),
    "--set of nothing": setting(
        "", "--set : expected KEY=VALUE; got ''. Write for example --set training.max_steps=300"
    ),
    "--set without a key": setting(
        "=1", "--set =1: expected KEY=VALUE; got '=1'. Write for example --set training.max_steps=300"
    ),
    "--set with two points": setting(
        "training..max_steps=1",
        (
            "--set training..max_steps=1: expected KEY=VALUE; got 'training..max_steps=1'. Write for "
            "example --set training.max_steps=300"
        ),
    ),
    "--set of an unknown key": setting(
        "training.max_step=1", "--set training.max_step=1: training.max_step: unknown key; did you mean 'max_steps'?"
    ),
    "--set below a number": setting(
        "seed.x=1",
        (
            "--set seed.x=1: seed: expected an integer >= 0 and < 2147483648; got {'x': 1}. Leave "
            "the key out for the default, 0."
        ),
    ),
    "--set beyond a list": setting(
        "data.inputs.9=x",
        (
            "--set data.inputs.9=x: data.inputs.9: expected an index below 2 (0 is the first); got "
            "'9'. Set data.inputs as a whole, or correct the path"
        ),
    ),
    "--set of a negative index": setting(
        "data.inputs.-1=x",
        (
            "--set data.inputs.-1=x: data.inputs.-1: expected an index below 2 (0 is the first); got "
            "'-1'. Set data.inputs as a whole, or correct the path"
        ),
    ),
    "--set of broken YAML": setting(
        "data.inputs=[x",
        (
            "--set data.inputs=[x: data.inputs: expected YAML; got: expected ',' or ']', but got "
            "'<stream end>'. Check colons, brackets, quotes and indentation."
        ),
    ),
    "--set of an alias": setting(
        "seed=*a",
        (
            "--set seed=*a: seed: expected YAML; got: found undefined alias 'a'. Check colons, "
            "brackets, quotes and indentation."
        ),
    ),
    "--set of an object of Python": setting(
        "seed=!!python/name:os.system",
        (
            "--set seed=!!python/name:os.system: seed: expected a plain value, list or mapping; got "
            "''. Write text in quotes, without a tag."
        ),
    ),
    "--set of 5000 letters": setting(
        "seed=" + "x" * 5000,
        (
            "--set "
            "seed=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
            "xxxxxxxxxxxxxxxxxxxxxxxx ...: seed: expected an integer >= 0 and < 2147483648; got "
            "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx ... xxxxxxxxxxxxxxxxxxx'. Leave the "
            "key out for the default, 0."
        ),
    ),
    "--set of a newline": setting(
        "training.max_steps=a\nb",
        (
            "--set training.max_steps=a b: training.max_steps: expected an integer >= 1 or 'auto'; "
            "got 'a b'. Leave the key out for the default, 'auto'."
        ),
    ),
    "--set of an escape sequence": setting(
        "training.max_steps=\x1b[2J",
        (
            "--set training.max_steps=\\u001b[2J: training.max_steps: expected text; got the "
            "character '\\x1b'. Remove it."
        ),
    ),
    "--set of a column that is none": setting(
        "data.targets=[x]",
        (
            "--set data.targets=[x]: data.targets.0: expected a column once among inputs and "
            "targets; got 'x' again. Remove it."
        ),
    ),
    "--set of a kind that is none": setting(
        "model.likelihood.kind=normal",
        (
            "--set model.likelihood.kind=normal: model.likelihood.kind: expected one of 'gaussian', "
            "'heteroscedastic_gaussian', 'student_t'; got 'normal'. Choose one of these."
        ),
    ),
}

CASES: dict[str, Case] = FILES | KEYS | VALUES | SETTINGS
