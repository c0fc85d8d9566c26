"""A training on a frame: the run of the same rows in a file, what it tells of its table, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import cde_app
from cde_app.config_file import load_config
from cde_app.data.frame import checked_frame, iter_frame
from cde_app.errors import CdeError, RunError
from cde_app.progress import Progress
from cde_app.workflow.frame import describe_frame

Cde = Callable[..., Any]
QUICK: dict[str, Any] = {
    "training": {"max_steps": 50, "checkpoint_every": 25, "ensemble": 1, "warm_start": {"max_steps": 5}},
    "model": {"layers": [], "output": {"num_inducing": 8, "num_inducing_latent": 6}},
    "predict.num_components": 16,
}


def frame_of(num_rows: int) -> pd.DataFrame:
    """A table with a column of every type that counts as numbers, labels or dates, and two that are left out."""
    random = np.random.default_rng(3)
    x = random.normal(size=num_rows)
    return pd.DataFrame(
        {
            "x": x,
            "small": x.astype(np.float32),
            "flag": random.random(num_rows) < 0.5,
            "gaps": pd.array([None, *random.integers(0, 9, num_rows - 1)], dtype="Int64"),
            "site": pd.Categorical(random.choice(["north", "south"], num_rows), categories=["south", "east", "north"]),
            "size": pd.Categorical(random.choice([10, 20], num_rows)),
            "word": pd.array(random.choice(["p", "q"], num_rows), dtype="string[pyarrow]"),
            "perhaps": pd.Series([None, True, *(random.random(num_rows - 2) < 0.5)], dtype=object),
            "arrow": pd.array(random.normal(size=num_rows), dtype="double[pyarrow]"),
            "day": pd.date_range("2024-01-01", periods=num_rows, freq="7h", tz="Europe/Berlin"),
            "count": range(num_rows),
            "parts": [[1, 2]] * num_rows,
            "y": 2 * x + random.normal(size=num_rows),
        },
        index=pd.Index(random.permutation(num_rows), name="y"),
    )


@dataclass(frozen=True)
class OnFrame:
    """A run that was trained on a frame, and what it reported."""

    run: Path
    frame: pd.DataFrame
    model: Any
    events: list[Progress]


@pytest.fixture(scope="module")
def on_frame(tmp_path_factory: pytest.TempPathFactory) -> OnFrame:
    run, frame, events = tmp_path_factory.mktemp("frame") / "run", frame_of(60), list[Progress]()
    return OnFrame(run, frame, cde_app.train(frame, "y", settings=QUICK, out=run, on_event=events.append), events)


def test_it_is_the_run_of_the_same_rows_in_a_file(on_frame: OnFrame, tmp_path: Path) -> None:
    on_frame.frame.reset_index(drop=True).to_parquet(tmp_path / "table.parquet")
    settings = (on_frame.run / "config.yaml").read_text()
    assert "path: <frame>" in settings
    (tmp_path / "mine.yaml").write_text(settings.replace("<frame>", "table.parquet"))
    cde_app.train(tmp_path / "mine.yaml", out=tmp_path / "run")
    for name in ("posterior/arrays.npz", "posterior/spec.json", "columns.json", "baselines.npz", "split.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (on_frame.run / name).read_bytes(), name
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == json.loads(
        (on_frame.run / "metrics.json").read_text()
    )
    scored = on_frame.model.evaluate(on_frame.frame)
    assert scored["num_rows"] == len(on_frame.frame)


def test_what_was_inferred_is_told_logged_and_stored(on_frame: OnFrame) -> None:
    told = [event.message for event in on_frame.events if event.stage == "warning"]
    for remark in ("column 'count' counts the rows and is left out.", "column 'parts' holds lists and is left out."):
        assert remark in told
        assert f"[warning] {remark}\n" in (on_frame.run / "log.txt").read_text()
        assert f"# {remark}\n" in (on_frame.run / "config.source.yaml").read_text()
    assert Progress("data", "the frame") in on_frame.events
    kinds = {column["column"]: column["kind"] for column in on_frame.model.settings["data"]["inputs"]}
    assert kinds == {
        **dict.fromkeys(["x", "small", "flag", "gaps", "size", "perhaps", "arrow"], "numeric"),
        **dict.fromkeys(["site", "word"], "categorical"),
        "day": "datetime",
    }
    assert on_frame.model.settings["data"]["missing"] == {"kind": "impute_with_indicator"}


def test_the_commands_know_that_its_table_is_gone(on_frame: OnFrame, cde: Cde, tmp_path: Path) -> None:
    run, table = on_frame.run, tmp_path / "table.parquet"
    on_frame.frame.to_parquet(table, index=False)
    failed = cde("evaluate", run)
    assert failed.code == 6
    assert failed.err == (
        f"error: the frame: expected the table that {run} was trained on; got a frame in memory, which cannot be read "
        "again. Name a table after the run.\n"
    )
    assert cde("plot", run).err == failed.err
    scored = cde("evaluate", run, table, "--json")
    assert scored.code == 0
    assert "54 of these 60 rows were trained on" in scored.out + scored.err
    assert cde("predict", run, table, "--out", tmp_path / "out", "--quiet").code == 0
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    np.testing.assert_allclose(on_frame.model.predict(on_frame.frame).mean()[:, 0], summary["y_mean"], rtol=1e-9)
    assert cde("report", run).code == 0
    assert "&lt;frame&gt;" in (run / "report.html").read_text()
    assert json.loads(cde("info", run, "--json").out)["data"]["path"] == "<frame>"
    assert "the frame" not in cde("compare", run, run).err
    assert "path: <frame>" in cde("config", "show", run / "config.yaml").out
    assert cde("config", "show", run / "config.source.yaml").out == cde("config", "show", run / "config.yaml").out
    assert cde("config", "depends", run / "config.yaml").out == ""
    again = cde("train", run / "config.yaml", "--out", tmp_path / "again")
    assert again.code == 3
    assert again.err.endswith(
        "error: the frame: must be a CSV or Parquet file; got a frame that was in memory. Name a table.\n"
    )


def test_without_a_folder_nothing_is_left_and_the_model_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frame = frame_of(40)[["x", "y"]]
    model = cde_app.train(frame, ["y"], settings={**QUICK, "training.max_steps": 3})
    assert list(tmp_path.iterdir()) == []
    assert model.predict(frame).mean().shape == (40, 1)


@pytest.mark.slow
def test_it_is_resumed_with_its_own_rows_only(tmp_path: Path) -> None:
    frame, run = frame_of(40)[["x", "site", "y"]], tmp_path / "run"

    def stop(event: Progress) -> None:
        if event.step is not None and event.step < 100:
            raise KeyboardInterrupt

    settings = {**QUICK, "training.max_steps": 100}
    with pytest.raises(KeyboardInterrupt):
        cde_app.train(frame, "y", settings=settings, out=run, on_event=stop)
    with pytest.raises(RunError, match="^the frame: a run must be resumed with its original table; got different"):
        cde_app.train(frame.assign(y=frame["y"] + 1), "y", settings=settings, out=run, resume=True)
    with pytest.raises(RunError, match="resumed with its original settings; got others. Name the same configuration"):
        cde_app.train(frame, "y", settings={**settings, "seed": 5}, out=run, resume=True)
    assert len(cde_app.train(frame, "y", settings=settings, out=run, resume=True).predict(frame)) == 40


def config_of(frame: pd.DataFrame, targets: Any, inputs: Any = None, settings: Any = None) -> Any:
    return describe_frame(frame, targets, inputs, settings)[0].config


def test_inputs_may_be_named_and_get_the_kinds_that_they_look_like() -> None:
    frame = frame_of(60)
    data = config_of(frame, "y", ["site", {"column": "x", "kind": "cyclic", "period": 3}, "count"]).data
    assert [(one.column, one.kind) for one in data.inputs] == [
        ("site", "categorical"), ("x", "cyclic"), ("count", "numeric"),
    ]  # fmt: skip
    assert data.missing.kind == "error", "the column with gaps is none of them"
    berlin = config_of(frame.assign(day=frame["day"].dt.tz_localize(None)), "y", {"column": "day", "timezone": "UTC"})
    assert (berlin.data.inputs[0].kind, berlin.data.inputs[0].timezone) == ("datetime", "UTC")
    many = frame.assign(word=[f"a{n}" for n in range(60)])
    file = describe_frame(many, "y", ["word"], None)[0]
    assert file.config.data.inputs[0].kind == "categorical"
    assert file.remarks == ("column 'word' has 60 labels, a feature each; consider leaving it out.",)
    assert config_of(frame.assign(x="3,5"), "y", np.array(["x"])).data.inputs[0].kind == "numeric"
    assert config_of(frame.assign(x=[*"abc", *range(57)]), "y", "x").data.inputs[0].kind == "numeric"
    mostly = pd.Series(["soon", *pd.date_range("2024-01-01", periods=59).astype(str)]).to_numpy()
    assert config_of(frame.assign(x=mostly), "y", "x").data.inputs[0].kind == "datetime"


def test_text_in_a_column_of_objects_is_read_as_text() -> None:
    frame = frame_of(60)
    code = pd.Series(["007", None, *["012"] * 58], dtype=object)
    share = pd.Series([f"{number:.2f}".replace(".", ",") for number in frame["x"]], dtype=object)
    frame["code"], frame["share"] = code.to_numpy(), share.to_numpy()
    data = config_of(frame, "y", ["code", "share"]).data
    assert [column.kind for column in data.inputs] == ["categorical", "numeric"]
    assert data.format.decimal == ","


def test_a_column_of_parts_is_the_split_and_may_be_replaced() -> None:
    frame = frame_of(60).assign(part=["train"] * 50 + ["test"] * 10)
    assert config_of(frame, "y").data.split.column == "part"
    file = describe_frame(frame, "y", None, {"data.split": {"kind": "random", "test": 0.2}})[0]
    assert file.config.data.split.test == 0.2
    assert file.remarks[-1] == "settings: data.split: 'column' is left out, as kind 'random' does not take it."
    assert "part" not in [column.column for column in file.config.data.inputs]


def test_settings_are_nested_or_dotted_and_change_what_they_name() -> None:
    frame = frame_of(60)
    nested = config_of(frame, "y", "x", {"training": {"max_steps": np.int64(7)}, "model": {"layers": ()}})
    dotted = config_of(frame, "y", "x", {"training.max_steps": 7, "model.layers": []})
    assert nested == dotted
    assert (nested.training.max_steps, nested.model.layers) == (7, ())
    prior = {"kind": "tfp", "family": "StudentT", "parameters": {"df": 4, "loc": 0, "scale": 1}}
    laplace = {"model.latent.prior": prior, "model": {"latent": {"prior": {"parameters": {"loc": 0}}}}}
    assert config_of(frame, "y", "x", laplace).model.latent.prior.parameters == {"loc": 0}
    inner = {"model": {"layers": [{"num_inducing": 9}]}, "data": {"targets": {0: {"unit": "m"}}}}
    assert config_of(frame, "y", "x", inner).data.targets[0].unit == "m"


def test_settings_replace_those_of_a_file(line_run: Any) -> None:
    config = load_config(line_run.config, settings={"training": {"max_steps": 7}}).config
    assert (config.training.max_steps, config.training.ensemble) == (7, 2)


ONE = pd.DataFrame({"x": [1.0, 2.0, 4.0], "z": [3.0, 1.0, 2.0], "y": [0.5, 1.5, 1.0]})
ENTRIES = r"expected names of columns, or mappings with 'column'; got .*\. Write for example \['a', 'b'\]\.$"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((ONE.iloc[:0], "y"), {}, r"the frame: must have rows and columns; got 0 and 3\. Check it\.$"),
        ((ONE[[]], "y"), {}, r"the frame: must have rows and columns; got 3 and 0\. Check it\.$"),
        ((ONE, "w"), {}, r"the frame: no column 'w' \(targets\); columns are 'x', 'z', 'y'\. "),
        ((ONE, "y", "w"), {}, r"the frame: no column 'w' \(inputs\); columns are 'x', 'z', 'y'\. "),
        (
            (ONE, ["y", "y"]),
            {},
            r"targets: expected a column once among targets and inputs; got 'y' again\. Remove it\.",
        ),
        (
            (ONE, "y", ["x", "y"]),
            {},
            r"inputs: expected a column once among targets and inputs; got 'y' again\. Remove ",
        ),
        (
            (ONE, "y", ["x", "x"]),
            {},
            r"inputs: expected a column once among targets and inputs; got 'x' again\. Remove ",
        ),
        (
            (pd.concat([ONE, ONE[["x"]]], axis=1), "y"),
            {},
            r"the frame: column names must differ; got \['x'\] more than ",
        ),
        ((ONE.rename(columns={"x": 0}), "y"), {}, r"the frame: column names must be text; got 0\. .*columns=str\)\.$"),
        ((ONE["x"], "y"), {}, r"source: expected the path of a YAML file or a pandas DataFrame; got pandas\.Series\. "),
        ((ONE.to_numpy(), "y"), {}, r"source: expected .* DataFrame; got numpy\.ndarray\. Make it a DataFrame"),
        ((None, "y"), {}, r"source: expected .* DataFrame; got NoneType\. "),
        (
            ("a.yaml", "y"),
            {"out": "a"},
            r"targets: expected nothing, as a YAML file has them; got 'y' with 'a\.yaml'\. ",
        ),
        (("a.yaml", None, "x"), {"out": "a"}, r"inputs: expected nothing, as a YAML file has them; got 'x' with "),
        (("a.yaml",), {}, r"out: expected a run directory; got nothing\. Name one\.$"),
        (
            (ONE, "y"),
            {"resume": True},
            r"out: expected a run directory to resume or overwrite; got nothing\. Name one\.$",
        ),
        ((ONE,), {}, f"targets: {ENTRIES}"),
        ((ONE, 3), {}, f"targets: {ENTRIES}"),
        ((ONE, "y", []), {}, f"inputs: {ENTRIES}"),
        ((ONE, "y", [{"kind": "numeric"}]), {}, f"inputs: {ENTRIES}"),
        ((ONE, "y", [{"column": "x", "perod": 3}]), {}, r"inputs: data\.inputs\.0\.perod: unknown key; "),
        (
            (ONE, {"column": "y", "unti": "m"}),
            {},
            r"targets: data\.targets\.0\.unti: unknown key; did you mean 'unit'\?",
        ),
        ((ONE.assign(x=[[1]] * 3), "y", "x"), {}, r"the frame: column 'x' must be numbers; got lists\. "),
        (
            (ONE.assign(y=list("abc")), "y", "x"),
            {},
            r"the frame: column 'y' must be numbers; got 3 cells such as 'a', ",
        ),
        ((ONE, "y", "x"), {"settings": {"data.split": {"kind": "group", "column": "w"}}}, "settings: .*no column 'w'"),
        (
            (ONE, "y"),
            {"settings": {"training": {"max_stepz": 3}}},
            r"settings: training\.max_stepz: unknown key; did you ",
        ),
        (
            (ONE, "y"),
            {"settings": {"training.max_steps": "3"}},
            r"settings: training\.max_steps: expected an integer >= 1",
        ),
        (
            (ONE, "y"),
            {"settings": {"seed": object()}},
            r"settings: seed: expected a number, a text, a list or a mapping; ",
        ),
        (
            (ONE, "y"),
            {"settings": {"a..b": 3}},
            r"settings: expected names of settings as keys; got 'a\.\.b'\. Correct ",
        ),
        (
            (ONE, "y"),
            {"settings": ["seed=3"]},
            r"settings: expected a mapping such as .*; got \['seed=3'\]\. Write one\.$",
        ),
        (
            (ONE, "y"),
            {"settings": {"data.path": "a"}},
            r"settings: data\.path: expected nothing, as the table is a frame; ",
        ),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(CdeError, match=f"^{message}") as caught:
        cde_app.train(*arguments, **options)
    assert len(caught.value.faults) == 1
    assert "\n" not in str(caught.value)
    assert "--set" not in str(caught.value)


def test_settings_that_are_nested_too_deep_are_refused() -> None:
    deep: dict[str, Any] = {}
    deep["training"] = [deep]
    with pytest.raises(CdeError, match="settings: expected at most 50 levels of nesting; got more"):
        describe_frame(ONE, "y", None, deep)


def test_columns_that_are_no_cells_become_words() -> None:
    one = pd.DataFrame({"x": [1.0, 2.0]})
    for cells, noun in (
        ([[1], None], "lists"),
        ([{}, {}], "records"),
        ([b"a", "b"], "bytes"),
        ([pd.Timedelta(1), None], "durations"),
        ([pd.Timestamp("2024-01-01").time(), None], "times of day"),
        ([1j, 2j], "complex numbers"),
        (pd.Series([1j, "a"], dtype=object), "complex numbers"),
        (pd.to_timedelta([1, 2]), "durations"),
        (pd.array([[1], [2]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))), "lists"),
    ):
        words = checked_frame(one.assign(y=cells))["y"]
        assert [word.noun for word in words] == [noun] * 2
    assert checked_frame(one.assign(y=[1, "a"]))["y"].tolist() == [1, "a"]


def test_a_frame_is_given_out_in_chunks_whose_index_counts_its_rows() -> None:
    frame = checked_frame(frame_of(50))
    chunks = list(iter_frame(frame, chunk_rows=20))
    assert [len(chunk) for chunk in chunks] == [20, 20, 10]
    pd.testing.assert_frame_equal(pd.concat(chunks), frame)
