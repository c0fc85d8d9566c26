"""Reading the configuration file: what is accepted, and the one clear line for everything that is not."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cde_app.config import (
    Config,
    CyclicColumn,
    ELBOObjective,
    HeteroscedasticGaussianLikelihood,
    LogTransform,
    MaternKernel,
    ModelSettings,
    Section,
    Transform,
)
from cde_app.config_file import ConfigFile, commented_config, config_schema, dump_config, load_config, parse_config
from cde_app.config_file.schema import item_of, tag_of, variants_of
from cde_app.errors import ConfigError, DataError, SettingError

ROOT = Path(__file__).parents[1]
FOLDER = Path("/project/configs")
MINIMAL = "schema_version: 1\ndata: {path: a.csv, inputs: [x], targets: [y]}\n"
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))


def parse(text: str | bytes, *overrides: str) -> Config:
    return parse_config(text, source_name="f.yaml", folder=FOLDER, overrides=overrides)


def faults(text: str | bytes, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, *overrides)
    assert caught.value.exit_code == 2
    assert all("\n" not in fault for fault in caught.value.faults)
    return list(caught.value.faults)


def fault(text: str | bytes, *overrides: str) -> str:
    lines = faults(text, *overrides)
    assert len(lines) == 1, lines
    return lines[0]


def with_data(data: str) -> str:
    return f"schema_version: 1\ndata:\n  path: a.csv\n  inputs: [x]\n  targets: [y]\n{data}"


# --- what is accepted ---------------------------------------------------------------------------------------------


def test_two_lines_make_a_configuration_with_every_default() -> None:
    config = parse(MINIMAL)
    plain = {"path": "/project/configs/a.csv", "inputs": ["x"], "targets": ["y"]}
    assert config == Config.model_validate({"schema_version": 1, "data": plain})


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    text = "schema_version: 1\ndata: {path: ../t.csv, inputs: [x], targets: [y], predict: [new.csv, /abs.csv, '-']}\n"
    (tmp_path / "configs" / "f.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    file = load_config(Path("configs/f.yaml"))
    assert file.config.data.path == str(tmp_path / "t.csv")
    assert file.config.data.predict == (str(tmp_path / "configs" / "new.csv"), "/abs.csv", "-")


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert parse(MINIMAL, "data.path=~/a.csv").data.path == "/home/ann/a.csv"


def test_the_users_bytes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"# mine\r\n" + MINIMAL.encode())
    file = load_config(path)
    assert file.source == path.read_bytes()


def test_standard_input_is_read_and_its_paths_are_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(MINIMAL.encode())))
    file = load_config("-")
    assert file.source == MINIMAL.encode()
    assert file.config.data.path == str(tmp_path / "a.csv")


def test_a_fault_in_standard_input_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"[]")))
    with pytest.raises(ConfigError, match=r"^<stdin>:1:1: expected a mapping"):
        load_config("-")


def test_a_byte_order_mark_does_no_harm() -> None:
    assert parse(b"\xef\xbb\xbf" + MINIMAL.encode()) == parse(MINIMAL)


@pytest.mark.parametrize(("written", "value"), [("1e-3", 1e-3), ("1E-3", 1e-3), ("2", 2.0), ("+5e-1", 0.5)])
def test_numbers_are_read_as_people_write_them(written: str, value: float) -> None:
    assert parse(MINIMAL + f"training: {{learning_rate: {written}}}").training.learning_rate == value


def test_a_whole_number_may_be_written_with_an_exponent() -> None:
    assert parse(MINIMAL + "training: {max_steps: 1e3}").training.max_steps == 1000


def test_a_column_whose_name_looks_like_a_number_with_exponent_keeps_its_name() -> None:
    assert parse(MINIMAL, "data.inputs=[1e3]").data.inputs[0].column == "1e3"


def test_a_quoted_truth_value_is_a_column_name() -> None:
    assert parse(MINIMAL, "data.targets=['no', y]").data.targets[0].column == "no"


def test_the_kind_may_be_left_out_where_there_is_a_default() -> None:
    config = parse(with_data("  split: {test: 0.3}\ntraining: {objective: {num_samples: 7}}\n"))
    assert config.data.split.kind == "random"
    assert config.training.objective.kind == "predictive"


def test_a_column_without_kind_is_numeric() -> None:
    assert parse(MINIMAL, "data.inputs=[{column: x}]").data.inputs[0].kind == "numeric"


def test_anchors_aliases_and_merge_keys_work() -> None:
    text = with_data(
        "  split: &halves {validation: 0.2, test: 0.2}\n"
        "model: {layers: [&layer {num_gps: 2, num_inducing: 9}, {<<: *layer, num_gps: 3}, *layer]}\n"
    )
    layers = parse(text).model.layers
    assert [(layer.num_gps, layer.num_inducing) for layer in layers] == [(2, 9), (3, 9), (2, 9)]


def test_of_several_merged_anchors_the_first_wins() -> None:
    text = with_data("model: {layers: [&a {num_gps: 2}, &b {num_gps: 3, num_inducing: 9}, {<<: [*a, *b]}]}\n")
    layer = parse(text).model.layers[2]
    assert (layer.num_gps, layer.num_inducing) == (2, 9)


# --- files that cannot be read ------------------------------------------------------------------------------------


def test_a_missing_file_points_to_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: expected a configuration file; got no such file\. .*`cde init`"):
        load_config(tmp_path / "no.yaml")


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a configuration file; got a directory"):
        load_config(tmp_path)


def test_a_path_through_a_file_gives_the_systems_reason(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match="expected a readable configuration file; got: Not a directory"):
        load_config(tmp_path / "f" / "g.yaml")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_an_empty_file_says_how_to_start(text: str) -> None:
    assert fault(text).startswith("f.yaml: expected a configuration that starts with 'schema_version: 1'; got an empty")


def test_a_list_is_not_a_configuration() -> None:
    assert fault("\n- a\n") == (
        "f.yaml:2:1: expected a mapping (`key: value` lines); got ['a']. Start with 'schema_version: 1'."
    )


def test_text_that_is_not_utf8_names_the_line() -> None:
    assert fault(b"# gr\n# \xfc\n") == "f.yaml:2: expected UTF-8 text; got byte 0xfc. Save the file as UTF-8."


def test_tabs_are_named_as_such() -> None:
    assert fault("data:\n\tpath: a\n") == "f.yaml:2:1: expected spaces; got a tab. Indent with spaces only."


def test_broken_yaml_names_the_place() -> None:
    assert fault("data: [a\nseed: 1\n").startswith("f.yaml:2:5: expected YAML; got: ")


def test_a_second_document_is_refused() -> None:
    assert fault(MINIMAL + "---\na: 1\n").startswith("f.yaml:3:1: expected YAML; got: another document.")


def test_a_control_character_is_named() -> None:
    assert fault("seed: 1\ndata: \x00") == "f.yaml:2:7: expected text; got the character '\\x00'. Remove it."


def test_a_file_that_is_the_table_itself_is_too_large() -> None:
    assert "got more. Is this the table?" in fault("1,2,3\n" * 500_000)


def test_an_alias_bomb_is_defused() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert "expected at most 20000 entries with every alias expanded; got more" in fault("\n".join(rows))


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {<<: *a}", "[" * 5000, "a: " + "[" * 60 + "]" * 60])
def test_endless_nesting_is_refused(text: str) -> None:
    assert "expected at most 50 levels of nesting; got more" in fault(text)


@pytest.mark.parametrize("value", ["!!python/object/apply:os.system ['true']", "!secret x", "!!set {a, b}", "=", "0b_"])
def test_only_plain_values_are_read(value: str) -> None:
    line = fault(MINIMAL + f"seed: {value}\n")
    assert line.startswith("f.yaml:3:7: seed: expected a plain value, list or mapping; got ")


def test_a_file_that_is_one_tagged_value_is_refused() -> None:
    assert fault("!secret x").startswith("f.yaml:1:1: expected a plain value, list or mapping; got the tag '!secret'.")


def test_a_key_that_is_a_list_is_refused() -> None:
    assert fault(MINIMAL + "? [a, b]\n: 1\n").startswith("f.yaml:3:3: expected a key; got a list or mapping.")


def test_merging_something_else_than_a_mapping_is_refused() -> None:
    assert fault(MINIMAL + "<<: 3\n").startswith("f.yaml:3:5: expected a mapping after `<<:`.")


# --- keys ---------------------------------------------------------------------------------------------------------


def test_an_unknown_key_offers_the_nearest_of_its_section() -> None:
    line = fault(MINIMAL + "model:\n  likelihood:\n    varience_floor: 0.1\n")
    assert line == "f.yaml:5:5: model.likelihood.varience_floor: unknown key; did you mean 'variance_floor'?"


@pytest.mark.parametrize("key", ["max-steps", "Max_Steps", "MAX_STEPS", "max steps", "maxsteps"])
def test_another_spelling_of_a_key_offers_the_right_one(key: str) -> None:
    assert faults(MINIMAL + f"training:\n  max_steps: 3\n  {key}: 3\n") == [
        f"f.yaml:5:3: training.{key}: unknown key; did you mean 'max_steps'?"
    ]


def test_a_key_in_the_wrong_section_offers_the_right_section() -> None:
    assert fault(MINIMAL + "max_steps: 3\n") == "f.yaml:3:1: max_steps: unknown key; did you mean 'training.max_steps'?"


def test_a_key_like_no_other_lists_the_keys() -> None:
    line = fault(MINIMAL + "zebra: 3\n")
    assert line.startswith("f.yaml:3:1: zebra: unknown key; the keys here are 'schema_version', 'seed', 'data', ")


def test_a_key_of_another_kind_says_whose_it_is() -> None:
    assert fault(with_data("  split:\n    kind: column\n    column: s\n    test: 0.1\n")) == (
        "f.yaml:9:5: data.split.test: unknown key; kind 'column' has no such key, 'random', 'group', 'time' has. "
        "Remove it or change kind."
    )


def test_a_section_named_like_its_kind_keeps_its_path() -> None:
    assert fault(with_data("  split: {kind: column, column: 3}\n")).startswith(
        "f.yaml:6:33: data.split.column: expected"
    )


def test_the_bounds_of_a_logit_are_ordered_and_the_degrees_of_freedom_leave_a_variance() -> None:
    text = MINIMAL.replace("targets: [y]", "targets: [{column: y, transform: {kind: logit, lower: 2}}]")
    message = "data.targets.0.transform.upper: expected a bound above lower; got 1 and 2. Exchange them."
    assert fault(text) == f"f.yaml:2:81: {message}"  # of lower, as upper is not written
    assert fault(text.replace("lower: 2", "lower: 2, upper: 1")) == f"f.yaml:2:91: {message}"
    line = fault(MINIMAL + "model: {likelihood: {kind: student_t, degrees_of_freedom: 2}}\n")
    assert "model.likelihood.degrees_of_freedom: expected a number > 2; got 2." in line


def test_a_key_written_twice_names_both_lines() -> None:
    assert fault(MINIMAL + "training:\n  max_steps: 3\n  max_steps: 4\n") == (
        "f.yaml:5:3: training.max_steps: duplicate key; first on line 4. Keep one of them."
    )


def test_missing_keys_point_to_the_section_that_lacks_them() -> None:
    assert faults("schema_version: 1\ndata:\n  path: a.csv\n") == [
        (
            "f.yaml:2:1: data.inputs: missing key; expected a list (each entry a mapping with kind: numeric | "
            "categorical | cyclic | datetime). Add `inputs: ...`"
        ),
        "f.yaml:2:1: data.targets: missing key; expected a list (each entry a mapping). Add `targets: ...`",
    ]


def test_a_missing_key_in_a_list_points_to_the_entry() -> None:
    line = fault(
        "schema_version: 1\ndata:\n  path: a\n  targets: [y]\n  inputs:\n    - x\n    - {column: t, kind: cyclic}\n"
    )
    assert line == "f.yaml:7:7: data.inputs.1.period: missing key; expected a number > 0. Add `period: ...`"


def test_a_missing_kind_without_a_default_lists_the_kinds() -> None:
    line = fault(MINIMAL + "model: {output: {kernel: {kind: sum, kernels: [{}, {kind: matern32}]}}}\n")
    assert "model.output.kernel.kernels.0.kind: missing key; expected one of 'squared_exponential', 'matern12'" in line


COLUMNS = """\
schema_version: 1
data: {path: a.csv, inputs: [time, {column: site, kind: categorical}], targets: [y]}
model:
"""


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (
            "  output: {kernel: {kind: linear, columns: [tim]}}",
            (
                "4:45: model.output.kernel.columns.0: expected one of 'time', 'site', 'neighbours'; got 'tim'. "
                "Did you mean 'time'?"
            ),
        ),
        (
            "  output: {kernel_latent: {kind: linear, columns: [time, latend]}}",
            (
                "4:58: model.output.kernel_latent.columns.1: expected one of 'time', 'site', 'latent', 'neighbours'; "
                "got 'latend'. Did you mean 'latent'?"
            ),
        ),
        (
            "  output: {kernel: {kind: sum, kernels: [{kind: linear, columns: [latent]}, {kind: constant}]}}",
            (
                "4:67: model.output.kernel.kernels.0.columns.0: expected inputs of the kernel; got 'latent' where w "
                "is not one of them. Leave it out."
            ),
        ),
        (
            "  layers: [{mean: {kind: pca}}, {kernel: {kind: matern12, columns: [site]}}]",
            (
                "4:69: model.layers.1.kernel.columns.0: expected inputs that are columns; got 'site' after "
                "model.layers.0.mean has mixed them. Leave it out."
            ),
        ),
        (
            "  output: {kernel: {kind: periodic, period: 3}}",
            (
                "4:20: model.output.kernel: a periodic kernel acts on numeric columns; got 'site'. "
                "Name others in its columns."
            ),
        ),
    ],
)
def test_a_kernel_that_names_a_column_it_cannot_have_is_refused(model: str, line: str) -> None:
    assert fault(f"{COLUMNS}{model}\n") == f"f.yaml:{line}"


@pytest.mark.parametrize("kind", ["add", "multiply"])
def test_where_w_is_joined_to_the_features_a_kernel_names_them_but_not_w(kind: str) -> None:
    """c(x, w) is then as wide as x: every input is a feature that w has moved, and none is w."""
    text = f"{COLUMNS}  latent: {{compositor: {{kind: {kind}}}}}\n"
    text += "  output: {kernel_latent: {kind: linear, columns: [COLUMN]}}\n"
    assert parse(text.replace("COLUMN", "time")).model.output.kernel_latent.columns == ("time",)
    assert "got 'latent' where w is not one of them. Leave it out." in fault(text.replace("COLUMN", "latent"))


@pytest.mark.parametrize("kind", ["concatenate", "warp"])
def test_where_w_stands_beside_the_features_a_kernel_names_it(kind: str) -> None:
    text = f"{COLUMNS}  latent: {{compositor: {{kind: {kind}}}}}\n"
    text += "  output: {kernel_latent: {kind: linear, columns: [time, latent]}}\n"
    assert parse(text).model.output.kernel_latent.columns == ("time", "latent")


def test_a_kernel_may_name_the_neighbours_and_the_targets_of_a_chain_where_there_can_be_any() -> None:
    columns = COLUMNS.replace("[y]", "[y, z]")
    text = f"{columns}  output: {{kernel: {{kind: linear, columns: [neighbours, y]}}}}\n"
    assert parse(text).model.output.kernel.columns == ("neighbours", "y")
    alone = text.replace("[y, z]", "[y]")
    assert "expected one of 'time', 'site', 'neighbours'; got 'y'." in fault(alone)
    joint = f"{text}  targets_model: joint\n"
    assert "expected one of 'time', 'site', 'neighbours'; got 'y'." in fault(joint)
    without = f"{text}  neighbours: {{enabled: false}}\n"
    assert "got 'neighbours' where model.neighbours.enabled is false. Leave it out." in fault(without)


def test_the_kernel_of_the_noise_names_columns_but_not_w() -> None:
    text = COLUMNS + "  likelihood: {kind: heteroscedastic_gaussian, kernel: {kind: linear, columns: [COLUMN]}}\n"
    assert parse(text.replace("COLUMN", "time")).model.likelihood.kernel.columns == ("time",)
    assert "model.likelihood.kernel.columns.0: expected inputs of the kernel; got 'latent'" in fault(
        text.replace("COLUMN", "latent")
    )


def test_a_column_named_as_what_is_no_column_cannot_be_named_where_both_are_seen() -> None:
    text = COLUMNS.replace("time", "neighbours") + "  output: {kernel: {kind: linear, columns: [neighbours]}}\n"
    expected = "'neighbours' means the features of the nearest rows here; got a column of that name too."
    assert f"{expected} Rename the column." in fault(text)
    assert parse(f"{text}  neighbours: {{enabled: false}}\n").data.inputs[0].column == "neighbours"


def test_a_column_named_latent_cannot_be_named_where_w_is_seen() -> None:
    text = COLUMNS.replace("time", "latent") + "  output: {kernel_latent: {kind: linear, columns: [latent]}}\n"
    assert "'latent' means the latent variables here; got a column of that name too. Rename the column." in fault(text)
    assert parse(text.replace("kernel_latent", "kernel")).data.inputs[0].column == "latent"


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("max_steps: many", "training.max_steps: expected an integer >= 1 or 'auto'; got 'many'. Leave the key out"),
        ("max_steps: atuo", "training.max_steps: expected an integer >= 1 or 'auto'; got 'atuo'. Did you mean 'auto'?"),
        ("max_steps: 0", "training.max_steps: expected an integer >= 1 or 'auto'; got 0."),
        ("max_steps: 2.5", "training.max_steps: expected an integer >= 1 or 'auto'; got 2.5."),
        ("max_steps: '300'", "training.max_steps: expected an integer >= 1 or 'auto'; got '300'. Remove the quotes."),
        ("max_steps: true", "training.max_steps: expected an integer >= 1 or 'auto'; got True."),
        ("max_steps:", "training.max_steps: expected an integer >= 1 or 'auto'; got None."),
        ("batch_size: [1]", "training.batch_size: expected an integer >= 1 or one of 'auto', 'full'; got [1]."),
        ("learning_rate: '1e-3'", "training.learning_rate: expected a number > 0; got '1e-3'. Remove the quotes."),
        ("learning_rate: .nan", "training.learning_rate: expected a number > 0; got nan. Leave the key out"),
        ("learning_rate: .inf", "training.learning_rate: expected a number > 0; got inf."),
        ("learning_rate: 1e999", "training.learning_rate: expected a number > 0; got '1e999'."),
        ("learning_rate: 2020-01-01", "training.learning_rate: expected a number > 0; got datetime.date(2020, 1, 1)."),
        ("warm_start: {enabled: 1}", "training.warm_start.enabled: expected true or false; got 1."),
        ("warm_start: {enabled: 'no'}", "training.warm_start.enabled: expected true or false; got 'no'."),
        ("warm_start: 3", "training.warm_start: expected a mapping; got 3. Write its keys indented below"),
        ("warm_start:", "training.warm_start: expected a mapping; got None. Remove it to take the defaults"),
        (
            "objective: elbo",
            (
                "training.objective: expected a mapping with kind: predictive | importance_weighted | elbo; "
                "got 'elbo'. Write `{kind: elbo}`."
            ),
        ),
        (
            "objective: {kind: elboo}",
            (
                "training.objective.kind: expected one of 'predictive', 'importance_weighted', 'elbo'; got 'elboo'. "
                "Did you mean 'elbo'?"
            ),
        ),
        (
            "objective: {kind: 3}",
            "training.objective.kind: expected one of 'predictive', 'importance_weighted', 'elbo';",
        ),
    ],
)
def test_a_wrong_value_says_what_was_expected(written: str, message: str) -> None:
    line = fault(MINIMAL + f"training:\n  {written}\n")
    place, _, rest = line.partition(": ")
    assert place.startswith("f.yaml:4:")
    assert rest.startswith(message)


def test_a_wrong_value_points_to_the_value() -> None:
    assert fault(MINIMAL + "training:\n  max_steps:  many\n").startswith("f.yaml:4:15: ")


def test_a_wrong_kind_is_reported_without_judging_the_keys_beside_it() -> None:
    line = fault(MINIMAL + "model: {latent: {prior: {kind: scipy, family: Laplace}}}\n")
    assert line.startswith("f.yaml:3:32: model.latent.prior.kind: expected one of 'normal', 'tfp'; got 'scipy'.")


def test_a_wrong_policy_offers_the_nearest() -> None:
    line = fault(with_data("  missing: {kind: dorp}\n"))
    assert line.endswith("expected one of 'error', 'drop', 'impute_with_indicator'; got 'dorp'. Did you mean 'drop'?")


@pytest.mark.parametrize(
    ("name", "noun"),
    [("no", "a truth value"), ("Yes", "a truth value"), ("off", "a truth value"), ("2020", "a number")],
)
def test_a_column_name_that_yaml_takes_for_something_else_must_be_quoted(name: str, noun: str) -> None:
    for text in (f"[{name}]", f"[{{column: {name}}}]"):
        line = fault(MINIMAL.replace("[y]", text))
        assert line.startswith("f.yaml:2:")
        assert "expected" in line
        assert line.endswith(f"YAML reads {name} as {noun}: write '{name}' in quotes.")


@pytest.mark.parametrize(
    ("written", "value"),
    [("1_0", 10), ("010", 8), ("1:30", 90), ("0x1F", 31), ("0b11", 3), ("1_0.5", 10.5), ("1:30.5", 90.5)],
)
def test_a_number_that_yaml_reads_otherwise_than_people_is_refused(written: str, value: float) -> None:
    message = f"expected digits, or text in quotes; got {written}, which YAML reads as {value}. Write the number, or"
    for key in ("seed", "data.targets.0"):
        text = MINIMAL.replace("[y]", f"[{written}]") if "." in key else f"{MINIMAL}seed: {written}\n"
        assert fault(text).endswith(f"{key}: {message} '{written}'.")
        assert fault(MINIMAL, f"{key}={written}") == f"--set {key}={written}: {key}: {message} '{written}'."


def test_digits_of_another_script_are_no_number() -> None:
    assert "seed: expected an integer" in fault(f"{MINIMAL}seed: １\n")


@pytest.mark.parametrize("text", ["{ensemble: 0}", "{batch_size: 1.5}", "{ensemble: yes}"])
def test_quotes_are_no_advice_where_they_would_not_help(text: str) -> None:
    assert fault(f"{MINIMAL}training: {text}\n").endswith("Leave the key out for the default, 'auto'.")


def test_a_column_name_that_is_a_date_must_be_quoted() -> None:
    assert fault(MINIMAL.replace("[y]", "[2020-01-31]")).endswith("a date: write '2020-01-31' in quotes.")


def test_an_empty_entry_wants_a_column_name() -> None:
    line = fault(MINIMAL.replace("[y]", "[~]"))
    assert line.endswith("data.targets.0: expected a column name or a mapping; got None. Write the name of a column.")


def test_an_empty_column_name_is_refused() -> None:
    assert "data.targets.0.column: expected text that is not empty; got ''" in fault(
        MINIMAL.replace("[y]", "[{column: ''}]")
    )


def test_a_single_name_where_a_list_is_wanted_shows_the_list() -> None:
    line = fault(MINIMAL.replace("[y]", "y"))
    assert line == "f.yaml:2:43: data.targets: expected a list; got 'y'. Write [y] for a list of one."


def test_an_empty_list_of_columns_is_refused() -> None:
    line = fault(MINIMAL.replace("[y]", "[]"))
    assert line == "f.yaml:2:43: data.targets: expected a list of at least 1; got 0. Add entries."


def test_a_column_used_twice_is_reported_at_its_second_use() -> None:
    line = fault(MINIMAL.replace("[y]", "[y, x]"))
    assert line == (
        "f.yaml:2:47: data.targets.1: expected a column once among inputs and targets; got 'x' again. Remove it."
    )


RULES = {
    "a chain's order": (
        "model: {chain_order: [z]}\n",
        "model.chain_order",
        "expected each target once, of ['y', 'z']; got ['z']. Correct it.",
    ),
    "mixing in a chain": (
        "model:\n  output: {mixing: {num_latent_gps: 1}}\n",
        "model.output.mixing",
        (
            "expected null in a chain, each model of which has a target of its own; got {num_latent_gps: 1} and "
            "2 targets. Set model.targets_model to joint."
        ),
    ),
    "mixing with heavy tails": (
        "model:\n  targets_model: joint\n  output: {mixing: {num_latent_gps: 1}}\n  likelihood: {kind: student_t}\n",
        "model.output.mixing",
        (
            "expected null with the likelihood 'student_t', as mixed targets are normal together with normal noise "
            "only; got {num_latent_gps: 1}. Set it to null, or choose 'gaussian' or 'heteroscedastic_gaussian'."
        ),
    ),
    "small batches of a per-row encoder": (
        "model: {latent: {encoder: {kind: per_row}}}\ntraining:\n  batch_size: 64\n",
        "training.batch_size",
        (
            "expected 'full', as model.latent.encoder 'per_row' has parameters for all rows in their order; got 64. "
            "Set it to full, or choose the encoder 'mlp'."
        ),
    ),
    "a per-row encoder of another prior": (
        (
            "model:\n  latent:\n    encoder: {kind: per_row}\n"
            "    prior: {kind: tfp, family: Laplace, parameters: {loc: 0, scale: 1}}\n"
        ),
        "model.latent.prior",
        (
            "expected 'normal' or the family 'MultivariateNormalDiag', the only priors for which the encoder "
            "'per_row' has parameters; got 'Laplace'. Choose one of them, or the encoder 'mlp'."
        ),
    ),
    "GPflux's loop with what it cannot do": (
        "training:\n  objective: {kind: predictive}\n  loop: gpflux\n",
        "training.loop",
        (
            "expected objective.kind 'elbo', natural_gradient.enabled false, inducing_rate 1 with the loop 'gpflux', "
            "which is GPflux's own training; got 'predictive', true, 0.5. Set that, or take the loop 'cde'."
        ),
    ),
    "GPflux's loop with another bound": (
        (
            "training:\n  objective: {kind: elbo, num_samples: 3, kl_weight: 0.5}\n  inducing_rate: 1\n"
            "  natural_gradient: {enabled: false}\n  loop: gpflux\n"
        ),
        "training.loop",
        (
            "expected objective.num_samples 1, objective.kl_weight 1 with the loop 'gpflux', "
            "which is GPflux's own training; got 3, 0.5. Set that, or take the loop 'cde'."
        ),
    ),
    "GPflux's loop with noise that varies": (
        (
            "training: {loop: gpflux, objective: {kind: elbo}, natural_gradient: {enabled: false}, inducing_rate: 1}\n"
            "model:\n  likelihood: {kind: heteroscedastic_gaussian}\n"
        ),
        "model.likelihood",
        (
            "expected 'gaussian' or 'student_t' with training.loop 'gpflux', as GPflux passes no x to its likelihood; "
            "got 'heteroscedastic_gaussian'. Choose one of them, or the loop 'cde'."
        ),
    ),
    **{
        f"a latent layer called {name!r}": (
            f"model:\n  latent: {{name: '{name}'}}\n",
            "model.latent.name",
            (
                "expected letters, digits, '_', '.' and '-', and not the name of another layer; "
                f"got {name!r}. Choose another."
            ),
        )
        for name in ("", "my causes", "a/b", "output", "inner_0")
    },
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_between_settings_is_reported_at_the_setting_that_breaks_it(rule: str) -> None:
    block, key, message = RULES[rule]
    text = MINIMAL.replace("[y]", "[y, z]") + block
    before = text[: text.index(f"{key.rpartition('.')[2]}:")]
    place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    assert fault(text) == f"f.yaml:{place}: {key}: {message}"


def test_a_setting_that_is_not_written_is_reported_where_the_rule_comes_from() -> None:
    line = fault(MINIMAL + "model:\n  latent:\n    encoder: {kind: per_row}\n")
    assert line.startswith("f.yaml:5:5: training.batch_size: expected 'full', as model.latent.encoder 'per_row' has")
    line = fault(MINIMAL, "model.latent.encoder.kind=per_row")
    assert line.startswith("--set model.latent.encoder.kind=per_row: training.batch_size: expected 'full'")
    line = fault(MINIMAL + "model: {latent: {encoder: {kind: per_row}}}\n", "training.batch_size=7")
    assert line.startswith("--set training.batch_size=7: training.batch_size: expected 'full'")


def test_a_setting_found_wrong_later_is_reported_where_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(MINIMAL + "model:\n  output:\n    mean: {kind: identity}\n")
    file = load_config(path)
    place = re.escape(f"{path}:5:5: model.output.mean: too wide")
    with pytest.raises(ConfigError, match=place), file.locating_faults():
        raise SettingError(("model", "output", "mean"), "too wide")
    with pytest.raises(DataError, match=r"^rows$"), file.locating_faults():
        raise DataError("rows")


def test_an_entry_of_a_list_is_judged_by_itself() -> None:
    lines = faults(MINIMAL + "predict:\n  quantiles: [0.5, 1.5,\n    x]\n")
    assert [line.partition(" expected")[0] for line in lines] == [
        "f.yaml:4:20: predict.quantiles.1:",
        "f.yaml:5:5: predict.quantiles.2:",
    ]


@pytest.mark.parametrize("version", ["2", "0", "17"])
def test_another_schema_version_says_which_are_read_and_nothing_else(version: str) -> None:
    assert fault(f"schema_version: {version}\nnew_key: 1\n") == (
        f"f.yaml:1:17: schema_version: this program reads schema_version 1; got {version}. "
        "Use the version of cde that wrote the file, or write a new one with `cde init`."
    )


@pytest.mark.parametrize("version", ["'1'", "true", "1.0", "one"])
def test_the_schema_version_is_the_number_one(version: str) -> None:
    line = fault(MINIMAL.replace("schema_version: 1", f"schema_version: {version}"))
    assert line.startswith("f.yaml:1:17: schema_version: expected 1; got ")


def test_all_faults_are_reported_at_once_in_the_order_of_the_file() -> None:
    text = "schema_version: 1\nsead: 1\ndata:\n  path: a\n  path: b\n  inputs: [no]\ntraining: {max_steps: x}\n"
    starts = [line.partition(": ")[0] for line in faults(text, "seed=x")]
    assert starts == ["f.yaml:2:1", "f.yaml:3:1", "f.yaml:5:3", "f.yaml:6:12", "f.yaml:7:23", "--set seed=x"]


def test_a_long_value_is_shortened_in_the_message() -> None:
    assert len(fault(MINIMAL + f"seed: {'x' * 5000}\n")) < 300


_SCRAPS = ["data", "inputs", "kind", "model", "layers", "column", "no", "1e-3", "0x", "1:2", "2020-13-45", "~", "\x85"]
_MARKS = [
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\n",
    "\n  ",
    "\t",
    "&a ",
    "*a",
    "<<: ",
    "!!int ",
    "!!map ",
    "'",
    '"',
    "? ",
    "|",
]
scraps = st.sampled_from([*_SCRAPS, *_MARKS])


@given(st.lists(scraps, max_size=15).map("".join), st.lists(scraps, max_size=6).map("".join))
@settings(max_examples=150, deadline=None)
def test_whatever_is_written_is_read_or_refused_in_one_line_a_fault(text: str, override: str) -> None:
    for whole, overrides in ((text, []), (MINIMAL + text, [f"data.{override}"]), (MINIMAL, [f"model.layers={text}"])):
        try:
            lines: tuple[str, ...] = ()
            parse(whole, *overrides)
        except ConfigError as error:
            lines = error.faults or ("",)
        assert all(len(line.splitlines()) == 1 for line in lines)


# --- overrides ----------------------------------------------------------------------------------------------------


def test_an_override_replaces_a_setting_and_the_last_one_wins() -> None:
    config = parse(MINIMAL + "training: {max_steps: 3}\n", "training.max_steps=4", "training.max_steps=5")
    assert config.training.max_steps == 5


def test_an_override_makes_the_sections_on_its_way() -> None:
    assert parse(MINIMAL, "model.output.kernel.kind=matern32").model.output.kernel == MaternKernel(kind="matern32")


def test_an_override_reaches_into_a_bare_name() -> None:
    config = parse(MINIMAL, "data.targets.0.transform.kind=log", "data.inputs.0={column: x, kind: cyclic, period: 24}")
    assert config.data.targets[0].column == "y"
    assert config.data.targets[0].transform == LogTransform()
    assert config.data.inputs[0] == CyclicColumn(column="x", period=24)


def test_an_override_reaches_into_a_default_list() -> None:
    assert parse(MINIMAL, "model.layers.0.num_gps=3").model.layers[0].num_gps == 3
    kernel = parse(MINIMAL, "model.output.kernel.kernels.0.kind=matern52").model.output.kernel
    assert [part["kind"] for part in kernel.model_dump()["kernels"]] == ["matern52", "matern32"]


def test_an_override_does_not_change_the_defaults_of_the_next_configuration() -> None:
    before = parse(MINIMAL)
    parse(MINIMAL, "model.layers.0.num_gps=3")
    assert parse(MINIMAL) == before


def test_an_override_fills_a_section_that_the_file_leaves_empty() -> None:
    assert parse(MINIMAL + "training:\n", "training.max_steps=4").training.max_steps == 4


def test_an_override_replaces_a_fault_of_the_file() -> None:
    assert parse(MINIMAL + "seed: x\n", "seed=1").seed == 1


def test_an_override_of_an_aliased_section_leaves_the_other_alone() -> None:
    text = MINIMAL + "model: {layers: [&a {num_gps: 2}, *a]}\n"
    assert [layer.num_gps for layer in parse(text, "model.layers.1.num_gps=4").model.layers] == [2, 4]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.max_stepps=3", "training.max_stepps: unknown key; did you mean 'max_steps'?"),
        ("trainng.max_steps=3", "trainng: unknown key; did you mean 'training'?"),
        ("training.max_steps=x", "training.max_steps: expected an integer >= 1 or 'auto'; got 'x'."),
        ("training.max_steps=[1,", "training.max_steps: expected YAML; got: "),
        ("training.max_steps=!x 1", "training.max_steps: expected a plain value"),
        ("training", "expected KEY=VALUE; got 'training'. Write for example --set training.max_steps=300"),
        ("=3", "expected KEY=VALUE; got '=3'."),
        ("training..max_steps=3", "expected KEY=VALUE; got 'training..max_steps=3'."),
        ("data.targets.1.unit=g", "data.targets.1: expected an index below 1 (0 is the first); got '1'."),
        ("data.targets.-1.unit=g", "data.targets.-1: expected an index below 1 (0 is the first); got '-1'."),
        (
            "data.path.x=g",
            "data.path.x: expected a key of a mapping or an index of a list; got 'x' below a single value",
        ),
        ("data.split.kind=group", "data.split.column: missing key; expected text that is not empty."),
        ("model.latent={dim: 1, dim: 2}", "model.latent.dim: duplicate key. Keep one of them."),
        ("data.targets=[no]", "data.targets.0: expected a column name or a mapping; got False. YAML reads no as"),
        ("data.split={kind: column}", "data.split.column: missing key;"),
    ],
)
def test_a_fault_of_an_override_names_the_override(override: str, message: str) -> None:
    assert fault(MINIMAL, override).startswith(f"--set {override}: {message}")


def test_an_override_with_line_breaks_still_makes_one_line() -> None:
    assert fault(MINIMAL, "seed=a\nb").startswith("--set seed=a b: seed: expected")


NEEDED = {
    "cyclic": {"period": 24},
    "periodic": {"period": 2},
    "tfp": {"family": "Laplace", "parameters": {"loc": 0, "scale": 1}},
    "column": {"column": "s"},
    "group": {"column": "s"},
    "time": {"column": "s"},
    "sum": {"kernels": [{"kind": "linear"}, {"kind": "constant"}]},
    "product": {"kernels": [{"kind": "linear"}, {"kind": "constant"}]},
}


def unions(value: Section, path: str = "") -> Iterator[tuple[str, str, dict[str, type[Section]]]]:
    """Yield the path, the tag and the variants of every place of a configuration where several kinds may stand."""
    for name, field in type(value).model_fields.items():
        child, variants = getattr(value, name), variants_of(item_of(field.annotation) or field.annotation)
        place = f"{path}{name}"
        if isinstance(child, tuple) and child and isinstance(child[0], Section):
            child, place = child[0], f"{place}.0"
        if isinstance(child, Section):
            if len(variants) > 1:
                yield place, str(tag_of(type(child))), variants
            yield from unions(child, f"{place}.")


def pairs() -> Iterator[tuple[str, str, dict[str, type[Section]], str, str]]:
    """Yield every pair of kinds; of kinds that have stood somewhere else before, each with the next one."""
    seen: list[dict[str, type[Section]]] = []
    for place, tag, variants in unions(parse(MINIMAL)):
        kinds = list(variants)
        for number, old in enumerate(kinds):
            others = [kinds[number - 1]] if variants in seen else [kind for kind in kinds if kind != old]
            yield from ((place, tag, variants, old, new) for new in others)
        seen.append(variants)


PAIRS = list(pairs())


def test_the_pairs_of_kinds_cover_every_union_of_the_configuration() -> None:
    assert {place for place, *_ in PAIRS} == {
        "data.inputs.0",
        "data.targets.0.transform",
        "data.split",
        "data.missing",
        "model.latent.prior",
        "model.latent.encoder",
        "model.latent.compositor",
        "model.layers.0.inducing",
        "model.layers.0.kernel",
        "model.layers.0.mean",
        "model.output",
        "model.output.inducing",
        "model.output.kernel",
        "model.output.kernel.kernels.0",
        "model.output.kernel_latent",
        "model.output.mean",
        "model.likelihood",
        "training.objective",
        "training.calibration",
    }


@pytest.mark.parametrize(
    ("place", "tag", "variants", "old", "new"), PAIRS, ids=[f"{place}-{old}-{new}" for place, _, _, old, new in PAIRS]
)
def test_an_override_changes_every_kind_that_a_complete_file_writes_into_every_other(
    place: str, tag: str, variants: dict[str, type[Section]], old: str, new: str
) -> None:
    column = {"column": "x"} if place == "data.inputs.0" else {}
    whole = yaml.safe_dump({tag: old, **column, **NEEDED.get(old, {})}, default_flow_style=True)
    before = parse(MINIMAL, "training.batch_size=full", f"{place}={whole}")
    settings = [f"{place}.{tag}={new}"]
    settings += [f"{place}.{key}={yaml.safe_dump(value)}" for key, value in NEEDED.get(new, {}).items()]
    text = commented_config(before)
    changed = load_text(text, *settings)
    old_section, section = before.model_dump(), changed.config.model_dump()
    for part in place.split("."):
        old_section, section = (tree[int(part) if part.isdigit() else part] for tree in (old_section, section))
    assert section[tag] == new
    common = (old_section.keys() & section.keys()) - {tag, *NEEDED.get(new, {})}
    kept = {key for key in common if old_section[key] != "auto"}
    assert {key: section[key] for key in kept} == {key: old_section[key] for key in kept}
    left = old_section.keys() - section.keys()
    assert all(repr(key) in " ".join(changed.remarks) for key in left)
    assert len(changed.remarks) == bool(left) or common > kept


def load_text(text: str, *overrides: str) -> ConfigFile:
    """Read a configuration from standard input."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        return load_config("-", overrides)


def test_what_an_override_of_the_kind_leaves_out_of_the_file_is_told() -> None:
    file = load_text(with_data("  split: {test: 0.3}\n"), "data.split.kind=column", "data.split.column=s")
    assert file.remarks == (
        "--set data.split.kind=column: data.split: 'test' is left out, as kind 'column' does not take it.",
    )
    file = load_text(commented_config(parse(MINIMAL)), "model.output.structure=joint")
    (remark,) = file.remarks
    assert remark == (
        "--set model.output.structure=joint: model.output: 'num_inducing_latent', 'kernel_latent' are left "
        "out, as structure 'joint' does not take them."
    )


def test_a_value_that_only_the_old_kind_takes_is_left_out_too() -> None:
    file = load_text(commented_config(parse(MINIMAL)), "training.objective.kind=elbo")
    assert file.config.training.objective == ELBOObjective(num_samples=5)
    (remark,) = file.remarks
    assert remark == (
        "--set training.objective.kind=elbo: training.objective: 'kl_weight' is left out, as kind 'elbo' "
        "does not take it."
    )


@pytest.mark.parametrize(
    ("split", "overrides", "message"),
    [
        ("{tset: 0.3}", ["data.split.kind=column"], "f.yaml:6:11: data.split.tset: unknown key; the keys here are"),
        ("{test: 3}", ["data.split.kind=column"], "f.yaml:6:11: data.split.test: unknown key; kind 'column' has no"),
        ("{test: 0.3}", ["data.split.test=0.2", "data.split.kind=column"], "--set data.split.test=0.2: data.split."),
        ("{test: 0.3}", ["data.split.kind=column", "data.split.test=0.2"], "--set data.split.test=0.2: data.split."),
        ("{kind: column, test: 0.3}", ["data.split.kind=column"], "f.yaml:6:25: data.split.test: unknown key; kind"),
    ],
)
def test_a_mistake_beside_an_override_of_the_kind_stays_a_fault(split: str, overrides: list[str], message: str) -> None:
    assert fault(with_data(f"  split: {split}\n"), *overrides, "data.split.column=s").startswith(message)


def test_a_part_that_an_override_has_written_is_not_left_out_with_its_section() -> None:
    text = commented_config(parse(MINIMAL))
    line = fault(text, "model.output.structure=joint", "model.output.kernel_latent.kind=linear")
    assert "model.output.kernel_latent: unknown key; structure 'joint' has no such key" in line


def test_an_override_that_changes_the_structure_drops_the_defaults_of_the_old_one() -> None:
    assert parse(MINIMAL, "model.output.structure=joint").model.output.structure == "joint"


# --- writing ------------------------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
columns = st.one_of(
    names,
    st.fixed_dictionaries({"column": names, "kind": st.sampled_from(["numeric", "categorical", "datetime"])}),
    st.fixed_dictionaries({"column": names, "kind": st.just("cyclic"), "period": st.floats(1e-9, 1e300)}),
)
transforms = st.one_of(
    st.sampled_from(
        [{"kind": kind} for kind, one in variants_of(Transform).items() if set(one.model_fields) == {"kind"}]
    ),
    st.fixed_dictionaries({"kind": st.just("log"), "shift": st.floats(allow_nan=False, allow_infinity=False)}),
    st.fixed_dictionaries({"kind": st.just("logit"), "lower": st.floats(-1e9, 0), "upper": st.floats(1, 1e9)}),
)
targets = st.fixed_dictionaries(
    {
        "column": names,
        "transform": transforms,
        "unit": st.one_of(st.just(""), names),
        "rounding": st.just("auto") | st.floats(0, 1e9),
    }
)
splits = st.one_of(
    st.fixed_dictionaries({"kind": st.just("random"), "test": st.floats(0, 0.9)}),
    st.fixed_dictionaries({"kind": st.sampled_from(["column", "group", "time"]), "column": names}),
)


NESTED_KERNEL = {
    "kind": "sum",
    "kernels": [
        {
            "kind": "product",
            "kernels": [{"kind": "linear", "columns": ["latent"]}, {"kind": "rational_quadratic", "alpha": 0.5}],
        },
        {"kind": "periodic", "period": 2.0, "columns": ["latent"]},
        {"kind": "constant"},
    ],
}


@st.composite
def configs(draw: st.DrawFn) -> Config:
    data: dict[str, Any] = {"path": "/t.csv", "split": draw(splits)}
    data |= {"inputs": draw(st.lists(columns, min_size=1, max_size=3))}
    data |= {"targets": draw(st.lists(targets, min_size=1, max_size=2))}
    used: list[Any] = [column if isinstance(column, str) else column["column"] for column in data["inputs"]]
    used += [column["column"] for column in data["targets"]]
    if len(set(used)) < len(used):
        data |= {"inputs": ["x1"], "targets": ["y1"]}
    model = {
        "layers": draw(st.lists(st.fixed_dictionaries({"num_gps": st.integers(1, 9)}), max_size=2)),
        "output": draw(
            st.sampled_from(
                [
                    {"structure": "additive"},
                    {"structure": "additive", "kernel_latent": NESTED_KERNEL, "mean": {"kind": "linear"}},
                    {"structure": "joint", "kernel": {"kind": "matern12"}, "inducing": {"kind": "greedy_variance"}},
                ]
            )
        ),
        "likelihood": draw(
            st.sampled_from(
                [
                    {"kind": "gaussian"},
                    {"kind": "heteroscedastic_gaussian", "kernel": {"kind": "matern52"}},
                    {"kind": "student_t", "degrees_of_freedom": 3},
                ]
            )
        ),
    }
    training: dict[str, Any] = {
        "learning_rate": draw(st.floats(1e-12, 1e3)),
        "max_steps": draw(st.just("auto") | st.integers(1, 10**9)),
    }
    training["objective"] = draw(st.sampled_from([{"kind": "elbo"}, {"kind": "predictive", "kl_weight": 1e-7}]))
    return Config.model_validate({"schema_version": 1, "data": data, "model": model, "training": training})


@given(configs())
@settings(max_examples=40, deadline=None)
def test_reading_what_was_written_gives_the_same_configuration(config: Config) -> None:
    assert parse(dump_config(config)) == config
    assert parse(commented_config(config)) == config
    assert yaml.safe_load(commented_config(config)).keys() == yaml.safe_load(dump_config(config)).keys()


def test_the_commented_configuration_tells_meanings_choices_and_defaults() -> None:
    text = commented_config(parse(MINIMAL))
    assert "# '' | , | . | ' ' | '\n" in text, "a choice that is blank is quoted"
    assert "max_steps: auto                         # Steps; auto = " in text
    assert "    kind: predictive                      # predictive | importance_weighted | elbo\n" in text
    assert "hidden_units: [20, 20] " in text
    assert "tanh | relu | elu | softplus" in text
    assert "    - {column: x, kind: numeric}\n" in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_commented_configuration_writes_every_field_with_its_docstring() -> None:
    text = " ".join(commented_config(parse(MINIMAL)).replace("#", " ").split())

    def check(section: Any) -> None:
        for name, field in type(section).model_fields.items():
            assert f"{name}:" in text
            assert " ".join((field.description or "").split()) in text
            value = getattr(section, name)
            for inner in value if isinstance(value, tuple) else [value]:
                if hasattr(type(inner), "model_fields"):
                    check(inner)

    check(parse(MINIMAL))


def test_the_schema_describes_every_field_and_allows_bare_names() -> None:
    schema = config_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["properties"]["seed"]["description"] == "Seed of every random draw."
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["schema_version", "data"]
    data = schema["$defs"]["Data"]["properties"]
    assert data["inputs"]["items"]["anyOf"][0] == {"type": "string", "minLength": 1}
    assert "oneOf" not in str(schema)
    assert "discriminator" not in str(schema)


# --- the repository's own files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_changes_nothing_outside_data_but_the_noise_of_one(path: Path) -> None:
    config = load_config(path).config
    default = ModelSettings()
    if path.stem == "motorcycle":  # the comment in the recipe says why
        default = ModelSettings(likelihood=HeteroscedasticGaussianLikelihood())
    assert Path(config.data.path).is_file()
    assert config.data.predict == (config.data.path,)
    assert config.model == default
    assert (config.training, config.predict, config.seed) == (
        *(Config.model_fields[name].default for name in ("training", "predict")),
        0,
    )
    header = Path(config.data.path).read_text().partition("\n")[0].split(",")
    used = {column.column for column in (*config.data.inputs, *config.data.targets)}
    assert used <= set(header)
    assert "cde train configs/" in path.read_text()
    assert "Look at" in path.read_text()


def test_the_configuration_reference_is_up_to_date() -> None:
    path = ROOT / "docs" / "generate_configuration.py"
    spec = importlib.util.spec_from_file_location("generate_configuration", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == module.reference(), (
        "run `python docs/generate_configuration.py`"
    )


def test_the_faults_shown_in_the_reference_are_the_programs_own_words() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for text in ("model: {likelihood: {varience: 1}}\n", "training: {max_steps: many}\n"):
        assert fault(MINIMAL + text).partition(" ")[2] in page


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (
            "{kind: laplace}",
            (
                "f.yaml:3:32: model.latent.prior.kind: expected one of 'normal', 'tfp'; got 'laplace'. "
                "A family is written {kind: tfp, family: Laplace, parameters: {...}}."
            ),
        ),
        (
            "{kind: log_normal}",
            (
                "f.yaml:3:32: model.latent.prior.kind: expected one of 'normal', 'tfp'; got 'log_normal'. "
                "Did you mean 'normal', or {kind: tfp, family: LogNormal, parameters: {...}}?"
            ),
        ),
        (
            "studentT",
            (
                "f.yaml:3:25: model.latent.prior: expected a mapping with kind: normal | tfp; got 'studentT'. "
                "Write {kind: tfp, family: StudentT, parameters: {...}}."
            ),
        ),
    ],
)
def test_a_family_given_as_the_kind_of_the_prior_is_shown_its_form(prior: str, message: str) -> None:
    assert fault(f"{MINIMAL}model: {{latent: {{prior: {prior}}}}}\n") == message


def test_a_kind_of_a_section_without_families_is_shown_none() -> None:
    assert fault(MINIMAL + "model: {latent: {encoder: {kind: laplace}}}\n").endswith(
        "expected one of 'mlp', 'per_row'; got 'laplace'. Choose one of these."
    )


def test_the_order_of_a_chain_is_a_list_of_all_targets_or_empty() -> None:
    text = "schema_version: 1\ndata: {path: a.csv, inputs: [x], targets: [y, z]}\nmodel: {chain_order: [z, y]}\n"
    assert parse(text).model.chain_order == ("z", "y")
    assert parse(text, "model.chain_order=[]").model.chain_order == ()
    line = fault(text, "model.chain_order=[z]")
    assert line.startswith("--set model.chain_order=[z]: model.chain_order: expected each target once, of ['y', 'z']")


def test_a_number_inside_a_mapping_may_have_an_exponent() -> None:
    prior = "model: {latent: {prior: {kind: tfp, family: Laplace, parameters: {loc: 0, scale: 1e-1}}}}\n"
    assert parse(MINIMAL + prior).model.latent.prior.parameters["scale"] == 0.1


@pytest.mark.parametrize(
    ("parameters", "key", "message"),
    [
        ("{loc: zero, scale: 1}", "loc", "expected a number or a list; got 'zero'. Correct the value."),
        ("{loc: 0, scale: [1, x]}", "scale", "expected a number or a list; got [1, 'x']. Correct the value."),
        ("{loc: 0, scale: '1'}", "scale", "expected a number or a list; got '1'. Remove the quotes."),
    ],
)
def test_a_value_that_is_no_parameter_of_a_family_is_told_at_its_own_key(
    parameters: str, key: str, message: str
) -> None:
    line = fault(MINIMAL + f"model: {{latent: {{prior: {{kind: tfp, family: Laplace, parameters: {parameters}}}}}}}\n")
    assert line.endswith(f": model.latent.prior.parameters.{key}: {message}")


def test_the_parameters_of_a_family_may_be_lists_in_any_notation_of_numbers() -> None:
    prior = "model: {latent: {dim: 2, prior: {kind: tfp, family: Laplace, parameters: {loc: [0, 1e-1], scale: 1}}}}\n"
    assert parse(MINIMAL + prior).model.latent.prior.parameters == {"loc": [0, 0.1], "scale": 1}
