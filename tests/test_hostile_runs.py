"""A run is data from anyone: nothing in it is run, followed or allocated unchecked, and every fault is named."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cde_app.machine.storage import file_hash
from cde_app.runs.contents import SUMS
from cde_app.runs.sums import text_of_sums

NUMERICAL, RUN = 4, 6
Cde = Callable[..., Any]


@pytest.fixture
def run(tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a run with two targets."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run.run, "run")
    return Path("run")


def renew_hashes(run: Path) -> None:
    """Let the hashes be right again, as somebody would who means harm."""
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["outputs"] = {name: file_hash(run / name) for name in manifest["outputs"] if (run / name).is_file()}
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / SUMS).write_text(text_of_sums(run))


def edit_json(path: Path, edit: Callable[[Any], Any]) -> None:
    tree = json.loads(path.read_text())
    changed = edit(tree)
    path.write_text(json.dumps(tree if changed is None else changed))


def edit_arrays(path: Path, edit: Callable[[dict[str, np.ndarray]], Any]) -> None:
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    edit(arrays)
    np.savez(path, **arrays)


def write_entry(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("nodes.npy", content)


def header_of(shape: tuple[int, ...]) -> bytes:
    """The beginning of an `.npy` file of doubles that says this shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue()


def assert_refused(outcome: Any, *messages: str) -> None:
    assert outcome.code == RUN, outcome.err
    assert outcome.out == ""
    for message in messages:
        assert message in outcome.err
    assert all(line.startswith("error: ") for line in outcome.err.splitlines())
    assert "bug" not in outcome.err


# --- cde verify -----------------------------------------------------------------------------------------------------


def test_a_run_as_it_was_trained_is_verified_also_by_sha256sum(run: Path, cde: Cde) -> None:
    outcome = cde("verify", run)
    assert (outcome.code, outcome.err) == (0, "")
    lines = (run / SUMS).read_text().splitlines()
    assert outcome.out == f"run: {len(lines)} files are unchanged\n"
    for line in lines:
        content, _, name = line.partition("  ")
        assert file_hash(run / name) == content
    everything = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {line[66:] for line in lines} == everything - {SUMS}


def test_new_pictures_and_reports_have_hashes_too(run: Path, cde: Cde) -> None:
    assert cde("report", run).code == 0
    assert cde("plot", run, "--format", "svg").code == 0
    assert "  report.html\n" in (run / SUMS).read_text()
    assert cde("verify", run).code == 0
    with (run / "report.html").open("a") as page:
        page.write(" ")
    assert_refused(cde("verify", run), "run/report.html: expected SHA-256", "make it again with: cde report run.")


def flips(run: Path, number: int) -> Iterator[tuple[Path, int]]:
    """Yield places in every file, the first and last byte among them."""
    rng = np.random.default_rng(0)
    for path in sorted(run.rglob("*")):
        if path.is_file():
            size = path.stat().st_size
            for place in {0, size - 1, *rng.integers(0, size, number).tolist()}:
                yield path, place


def assert_flips_are_found(run: Path, places: Iterator[tuple[Path, int]]) -> int:
    from cde_app.errors import RunError
    from cde_app.workflow.verify import verify_run

    number = 0
    for path, place in places:
        content = path.read_bytes()
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(RunError):
            verify_run(run)
        path.write_bytes(content)
        number += 1
    return number


def test_a_flipped_byte_is_found_in_every_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cde_app.runs.run.SECONDS_TO_REPLACE", 0.0)
    assert assert_flips_are_found(run, flips(run, 2)) > 50


@pytest.mark.slow
def test_flipped_bytes_are_found_all_over_the_files(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cde_app.runs.run.SECONDS_TO_REPLACE", 0.0)
    assert assert_flips_are_found(run, flips(run, 100)) > 1500


@pytest.mark.parametrize("name", ["STATUS", "log.txt", "metrics.json", "history.jsonl", "posterior/arrays.npz", SUMS])
def test_a_missing_file_is_found(name: str, run: Path, cde: Cde) -> None:
    (run / name).unlink()
    outcome = cde("verify", run)
    if name == SUMS:  # a run of an older cde has none
        assert outcome.code == 0
        assert "warning: the run has no SHA256SUMS" in outcome.err
    else:
        assert_refused(outcome, name if name != "STATUS" else "a folder without a valid STATUS")


def test_an_added_file_is_found(run: Path, cde: Cde) -> None:
    (run / "plots/added.png").write_bytes(b"")
    assert_refused(
        cde("verify", run), "run/plots/added.png: expected its hash in SHA256SUMS; got none. Remove the file."
    )


# --- what other commands read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("info",), ("report",), ("compare",)])
def test_changed_scores_are_found_where_they_are_shown(command: tuple[str, ...], run: Path, cde: Cde) -> None:
    edit_json(run / "metrics.json", lambda metrics: metrics["nlpd"].update(value=-9.0))
    assert_refused(cde(*command, run), "metrics.json: expected SHA-256")


def test_a_changed_picture_does_not_enter_the_report(run: Path, cde: Cde) -> None:
    picture = sorted((run / "plots").iterdir())[0]
    content = bytearray(picture.read_bytes())
    content[100] ^= 1
    picture.write_bytes(content)
    assert_refused(cde("report", run), f"{picture}: expected SHA-256", "make it again with: cde plot run")
    assert cde("plot", run).code == 0
    assert cde("report", run).code == 0


def test_a_link_is_not_followed(run: Path, cde: Cde) -> None:
    Path("secret.png").write_bytes(b"secret")
    os.symlink(Path("secret.png").absolute(), run / "plots/zz.png")
    renew_hashes(run)
    assert_refused(cde("report", run), "run/plots/zz.png: expected a file of the run; got a link.")


@pytest.mark.parametrize(
    "outputs",
    [None, [], {"posterior/../../secret": "0" * 64}, {"/etc/passwd": "0" * 64}, {"posterior/spec.json": "1"}],
    ids=str,
)
def test_a_manifest_without_proper_hashes_is_refused(outputs: object, run: Path, cde: Cde) -> None:
    edit_json(run / "manifest.json", lambda manifest: manifest.update(outputs=outputs))
    assert_refused(
        cde("info", run), "run/manifest.json: outputs: expected the SHA-256 of files of the run; got others."
    )


def test_a_file_without_a_hash_is_not_read(run: Path, cde: Cde, tiny_run: Any) -> None:
    edit_json(run / "manifest.json", lambda manifest: manifest["outputs"].pop("posterior/arrays.npz") and None)
    os.remove(run / SUMS)
    outcome = cde("predict", run, tiny_run.table, "--out", "out")
    assert_refused(outcome, "run/posterior/arrays.npz: expected its hash in manifest.json; got none.")
    assert not Path("out").exists()


# --- a model that somebody has made, with hashes that are right -------------------------------------------------------

BOMBS: dict[str, Callable[[Path], None]] = {
    "a header that asks for 8 TB": lambda path: write_entry(path, header_of((1 << 40,))),
    "a header with a negative size": lambda path: write_entry(path, header_of((-1, 8)) + bytes(64)),
    "a gigabyte that is compressed": lambda path: write_entry(
        path, header_of((1 << 24,)) + bytes(8 << 24), zipfile.ZIP_DEFLATED
    ),
    "no archive": lambda path: path.write_bytes(b"PK"),
    "an archive cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "a file that is no array": lambda path: write_entry(path, b"nodes"),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_arrays_take_no_more_memory_than_their_file(
    make: Callable[[Path], None], run: Path, cde: Cde, tiny_run: Any
) -> None:
    make(run / "posterior/arrays.npz")
    renew_hashes(run)
    outcome = cde("predict", run, tiny_run.table, "--out", "out")
    assert_refused(outcome, "run/posterior/arrays.npz: expected arrays; got ")
    assert not Path("out").exists()


def numbers_of(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of the leaves of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in items:
        if isinstance(item, dict | list):
            yield from numbers_of(item, (*path, key))
        else:
            yield (*path, key)


def replace_leaf(tree: Any, path: tuple[Any, ...], value: Any) -> None:
    *parents, last = path
    for key in parents:
        tree = tree[key]
    tree[last] = value


@pytest.mark.parametrize("name", ["posterior/spec.json", "columns.json"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), [], {}, "x" * 9], ids=str)
def test_a_value_of_another_type_or_no_number_is_refused(
    value: Any, name: str, run: Path, cde: Cde, tiny_run: Any
) -> None:
    content = (run / name).read_text()
    leaves = list(numbers_of(json.loads(content)))
    rng = np.random.default_rng(0)
    refused = 0
    for index in rng.permutation(len(leaves))[:12]:
        tree = json.loads(content)
        replace_leaf(tree, leaves[index], value)
        (run / name).write_text(json.dumps(tree))
        renew_hashes(run)
        outcome = cde("predict", run, tiny_run.table, "--out", "out", "--overwrite", "--quiet")
        assert outcome.code in (0, 3, RUN), (
            leaves[index],
            outcome.err,
        )  # a name of a column or a label may be anything
        refused += outcome.code == RUN
    assert refused >= (0 if isinstance(value, str) else 12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_or_do_no_harm(
    value: float, run: Path, cde: Cde, tiny_run: Any
) -> None:
    path = run / "posterior/arrays.npz"
    content = path.read_bytes()
    with np.load(path) as stored:
        names = [name for name in stored.files if stored[name].size and stored[name].dtype.kind == "f"]
    for name in names[:: max(1, len(names) // 8)]:

        def spoil(arrays: dict[str, np.ndarray], name: str = name) -> None:
            arrays[name].flat[0] = value

        path.write_bytes(content)
        edit_arrays(path, spoil)
        renew_hashes(run)
        outcome = cde("predict", run, tiny_run.table, "--out", "out", "--overwrite", "--quiet")
        if np.isnan(value):
            assert_refused(outcome, "run: expected a trained model; got one whose parts do not fit together")
        elif outcome.code == 0:  # a bound may be infinite, and a length-scale: then the input does not matter
            table = np.genfromtxt("out/summary.csv", delimiter=",", names=True, usecols=range(9))
            assert all(np.isfinite(table[column]).all() for column in table.dtype.names)
        else:
            assert outcome.code in (NUMERICAL, RUN), outcome.err


def test_arrays_that_are_missing_or_have_another_shape_are_refused(run: Path, cde: Cde, tiny_run: Any) -> None:
    path = run / "posterior/arrays.npz"
    content = path.read_bytes()
    with np.load(path) as stored:
        names = [name for name in stored.files if stored[name].ndim and stored[name].size > 1]
    edits: list[Callable[[dict[str, np.ndarray], str], Any]] = [
        lambda arrays, name: arrays.pop(name),
        lambda arrays, name: arrays.update({name: arrays[name][:-1]}),
        lambda arrays, name: arrays.update({name: arrays[name].astype(str)}),
    ]
    accepted = []
    for name in names[:: max(1, len(names) // 8)]:
        for number, edit in enumerate(edits):
            path.write_bytes(content)
            edit_arrays(path, lambda arrays, name=name, edit=edit: edit(arrays, name))
            renew_hashes(run)
            outcome = cde("predict", run, tiny_run.table, "--out", "out", "--overwrite", "--quiet")
            assert "bug" not in outcome.err
            assert outcome.code in (0, RUN), outcome.err
            accepted += [(name, number)] if outcome.code == 0 else []
    # Fewer rows may still be a model: a sample of the nodes, say.
    assert all(number == 1 for _, number in accepted), accepted


@pytest.mark.parametrize("edit", ["seed", "settings", "settings.predict", "warnings", "dropped_features"])
@pytest.mark.parametrize("command", ["info", "verify", "evaluate"])
def test_facts_of_another_form_are_refused(command: str, edit: str, run: Path, cde: Cde) -> None:
    def spoil(manifest: Any) -> None:
        replace_leaf(manifest, tuple(edit.split(".")), [1])

    edit_json(run / "manifest.json", spoil)
    os.remove(run / SUMS)
    assert_refused(cde(command, run), f"run/manifest.json: {edit.partition('.')[0]}: expected ")


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\udcff", '{"a": NaN}', "[1, 2]"], ids=lambda text: text[:9])
@pytest.mark.parametrize("name", ["posterior/spec.json", "columns.json", "metrics.json", "history.jsonl"])
def test_json_that_is_none_is_refused(text: str, name: str, run: Path, cde: Cde) -> None:
    (run / name).write_bytes(text.encode(errors="surrogateescape") + b"\n")
    renew_hashes(run)
    for command in ("evaluate", "report"):
        outcome = cde(command, run)
        assert "bug" not in outcome.err
        assert outcome.code in (0, RUN), outcome.err
    assert_refused(cde("verify", run))


# --- every command checks what it reads ------------------------------------------------------------------------------

STORED = Path(__file__).parent / "stored_runs"
SCORES, COLUMNS = "metrics.json", "columns.json"
WRONG_VALUES: dict[tuple[str, str], list[object]] = {
    (SCORES, "baselines.linear_gaussian.coverage"): ["", [1], {"0.9": 0.9}],
    (SCORES, "skill.linear_gaussian.energy_score"): [
        "x",
        None,
        {"value": "x", "se": None},
        {"value": 10**400, "se": 0},
    ],
    (SCORES, "crps.per_target.a"): [[], {"value": True, "se": None}, {"se": None}],
    (SCORES, "num_rows"): [-1, 1.5, None, "15"],
    (SCORES, "verdict"): [1, ["x"]],
    (SCORES, "reasons"): ["x", [1]],
    (SCORES, "local"): [[], {"sentences": "x"}, {"num_rows": 1}],
    (COLUMNS, "inputs.0.features.0"): [[], {}, {"name": "x", "centre": 0.0, "scale": 0.0, "fill": 0.0}],
    (COLUMNS, "inputs.0.features.0.fill"): [None, "x", 10**400],
    (COLUMNS, "inputs.1.kind"): ["oddity", None, "numeric"],
    (COLUMNS, "inputs.1.vocabulary"): ["east", [], [1]],
    (COLUMNS, "missing"): ["oddity", 1],
    (COLUMNS, "form.delimiter"): ["nan", 1],
    (COLUMNS, "form.gaps"): ["x", 1],
    (COLUMNS, "form.encoding"): [-1e-320, "oddity"],
    (COLUMNS, "units"): [[], "x"],
}
READERS = {SCORES: ["info", "report", "compare", "verify"], COLUMNS: ["compare", "report", "evaluate"]}


@pytest.fixture(scope="module")
def stored_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a stored run whose files are edited."""
    return Path(shutil.copytree(STORED / "format_5/conformal/run", tmp_path_factory.mktemp("edited") / "run"))


@pytest.fixture
def edited(stored_run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The copy, which is put back after a test."""
    monkeypatch.chdir(stored_run.parent)
    monkeypatch.setattr("cde_app.runs.run.SECONDS_TO_REPLACE", 0.0)
    before = {path: path.read_bytes() for path in stored_run.rglob("*") if path.is_file()}
    yield Path("run")
    for path, content in before.items():
        path.write_bytes(content)


@pytest.mark.parametrize(("name", "place"), WRONG_VALUES, ids=str)
def test_a_wrong_value_is_refused_by_all_that_read_it(name: str, place: str, edited: Path, cde: Cde) -> None:
    content, path = (edited / name).read_text(), tuple(int(key) if key.isdigit() else key for key in place.split("."))
    for command, value in zip(READERS[name] * 2, WRONG_VALUES[name, place], strict=False):
        tree = json.loads(content)
        replace_leaf(tree, path, value)
        (edited / name).write_text(json.dumps(tree))
        renew_hashes(edited)
        outcome = cde(command, edited)
        assert_refused(outcome, f"run/{name}: " if name == SCORES else "run: expected a trained model; got one whose")
        assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("place", ["inputs.0.features.0.name", "inputs.0.features.0.fill", "inputs.2.kind", "form"])
def test_columns_without_a_part_are_not_compared(place: str, edited: Path, cde: Cde) -> None:
    *parents, last = (int(key) if key.isdigit() else key for key in place.split("."))

    def spoil(tree: Any) -> None:
        for key in parents:
            tree = tree[key]
        del tree[last]

    edit_json(edited / COLUMNS, spoil)
    renew_hashes(edited)
    assert_refused(
        cde("compare", edited), "run: expected a trained model; got one whose parts do not fit together (Key"
    )


WRONG_ARRAYS: dict[str, tuple[str, str, str, Callable[[np.ndarray], np.ndarray | None]]] = {
    "no positions": ("compare", "split.npz", "test", lambda _: None),
    "positions that are fractions": ("compare", "split.npz", "test", lambda rows: rows + 0.5),
    "positions before the first": ("compare", "split.npz", "test", lambda rows: rows - 1000),
    "fingerprints that are none": ("evaluate", "split.npz", "fingerprints", lambda rows: rows.astype(float)),
    "no scales": ("compare", "baselines.npz", "scales", lambda _: None),
    "scales of no target": ("compare", "baselines.npz", "scales", lambda scales: scales[:1]),
    "huge means": ("evaluate", "baselines.npz", "climatology.means", lambda means: means * 1e200),
    "a tiny scale": ("evaluate", "baselines.npz", "linear_gaussian.scale", lambda scale: scale * 1e-200),
    "tiny scales": ("evaluate", "baselines.npz", "scales", lambda scales: scales * 1e-200),
    "weights of a row": ("evaluate", "baselines.npz", "climatology.weights", lambda weights: weights[None]),
    "codes of no label": ("drift", "reference.npz", "inputs", lambda inputs: inputs * [1, 1e200, 1]),
    "codes between labels": ("drift", "reference.npz", "inputs", lambda inputs: np.add(inputs, [0, 0.5, 0])),
    "inputs of other rows": ("drift", "reference.npz", "inputs", lambda inputs: inputs * [1e200, 1, 1]),
    "levels that are none": ("drift", "reference.npz", "levels", lambda levels: levels + 1),
    "huge densities": ("drift", "reference.npz", "log_density", lambda density: abs(density) * 1e300),
}


@pytest.mark.parametrize(("command", "name", "array", "edit"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_wrong_arrays_are_refused_without_a_warning(
    command: str, name: str, array: str, edit: Callable[[np.ndarray], np.ndarray | None], edited: Path, cde: Cde
) -> None:
    def spoil(arrays: dict[str, np.ndarray]) -> None:
        changed = edit(arrays.pop(array))
        arrays |= {} if changed is None else {array: changed}

    edit_arrays(edited / name, spoil)
    renew_hashes(edited)
    outcome = cde(command, edited, *([] if command == "compare" else [STORED / "table.csv"]))
    assert_refused(outcome)
    assert len(outcome.err.splitlines()) == 1


def test_a_run_that_was_not_edited_is_read(edited: Path, cde: Cde) -> None:
    renew_hashes(edited)
    for command in ("info", "report", "compare", "verify"):
        assert cde(command, edited).code == 0
