"""`cde batch`: many partitions, the same bytes anywhere, and what is done stays done whatever happens."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cde_app.workflow.partitions import name_partitions
from tests.storing import write_manifest
from tests.test_same_bytes import contents, long_table

Cde = Callable[..., Any]


@pytest.fixture(autouse=True)
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four partitions, two of one name."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a.csv", "b.csv", "deep/a.csv", "c.parquet")):
        frame = long_table(60 + number, seed=number).fillna({"x": 0.0})
        path = Path("parts") / name
        path.parent.mkdir(exist_ok=True, parents=True)
        frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return Path("parts")


@pytest.fixture
def run(tiny_run: Any) -> Path:
    return Path(tiny_run.run)


def manifest_of(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "manifest.json").read_text())
    return found


def tables_of(folder: str) -> dict[str, bytes]:
    """All files of a batch but the manifests, by the path of their table and their name."""
    lines = manifest_of(folder)["partitions"]
    return {
        f"{line['path']}/{name}": content
        for line in lines
        for name, content in contents(Path(folder) / line["folder"]).items()
    }


def numbers(result: dict[str, Any]) -> tuple[int, int, int]:
    return result["predicted"], result["unchanged"], result["failed"]


def as_json(outcome: Any, code: int = 0) -> dict[str, Any]:
    assert outcome.code == code, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def test_every_partition_has_the_folder_that_predict_makes(run: Path, parts: Path, cde: Cde) -> None:
    outcome = cde("batch", run, parts, "--out", "out", "--samples", "2")
    assert (outcome.code, outcome.out) == (0, "out/manifest.json\n")
    assert re.fullmatch(
        r"4 of 4 tables predicted \(246 rows in [0-9.]+ s\), 0 unchanged \(0 rows\), 0 failed",
        outcome.err.splitlines()[-1],
    )
    lines = manifest_of("out")["partitions"]
    assert [Path(line["path"]).relative_to(parts.absolute()) for line in lines] == [
        Path(name) for name in ("a.csv", "b.csv", "c.parquet", "deep/a.csv")
    ]
    assert [line["folder"] for line in lines[:3]] == ["a", "b", "c"]
    assert lines[3]["folder"].startswith("a-")
    for line in lines:
        assert cde("predict", run, line["path"], "--out", "alone", "--samples", "2", "--overwrite").code == 0
        assert contents(Path("alone")) == contents(Path("out") / line["folder"])
        assert (line["state"], line["attempts"]) == ("done", 1)
    assert [line["rows"] for line in lines] == [60, 61, 63, 62]


@pytest.mark.parametrize(
    "executor",
    [
        ["processes", "--workers", "1"],
        ["processes", "--workers", "2"],
        pytest.param(["dask", "--workers", "2"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_the_bytes_do_not_depend_on_where_the_work_runs(executor: list[str], run: Path, parts: Path, cde: Cde) -> None:
    assert cde("batch", run, parts, "--out", "serial", "--executor", "serial").code == 0
    outcome = cde("batch", run, "parts/*.*", "parts/deep", "--out", "other", "--executor", *executor, "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert tables_of("other") == tables_of("serial")


def test_the_same_command_predicts_what_is_new_or_changed_or_damaged(run: Path, parts: Path, cde: Cde) -> None:
    command = ["batch", run, parts, "--out", "out", "--json"]
    assert numbers(as_json(cde(*command))) == (4, 0, 0)
    before = tables_of("out")
    assert numbers(as_json(cde(*command))) == (0, 4, 0)
    shutil.copy("parts/b.csv", "parts/d.csv")
    assert numbers(as_json(cde(*command))) == (1, 4, 0)
    Path("out/b/summary.csv").write_text("damaged")
    Path("out/c/samples.csv").unlink()
    Path("out/a/manifest.json").write_text("{")
    assert numbers(as_json(cde(*command))) == (3, 2, 0)
    assert {name: content for name, content in tables_of("out").items() if "d.csv" not in name} == before
    Path("parts/b.csv").write_text("x,region\n1,north\n")
    outcome = cde(*command)
    result = as_json(outcome)
    assert numbers(result) == (1, 4, 0)
    assert (result["rows"], result["rows_predicted"]) == (247, 1)
    assert re.search(
        r"1 of 5 tables predicted \(1 rows in [0-9.]+ s\), 4 unchanged \(246 rows\), 0 failed", outcome.err
    )
    assert [line["rows"] for line in result["partitions"] if line["is_new"]] == [1]
    assert numbers(as_json(cde(*command, "--overwrite"))) == (5, 0, 0)


def test_a_table_that_gets_a_namesake_keeps_its_folder(run: Path, parts: Path, cde: Cde) -> None:
    assert numbers(as_json(cde("batch", run, "parts/deep/a.csv", "--out", "out", "--json"))) == (1, 0, 0)
    assert numbers(as_json(cde("batch", run, parts, "--out", "out", "--json"))) == (3, 1, 0)
    folders = {line["path"]: line["folder"] for line in manifest_of("out")["partitions"]}
    assert folders[str((parts / "deep/a.csv").absolute())] == "a"
    assert len(set(folders.values())) == 4


def test_other_options_or_another_run_are_refused_unless_all_is_predicted_again(
    run: Path, parts: Path, cde: Cde
) -> None:
    assert cde("batch", run, parts, "--out", "out").code == 0
    outcome = cde("batch", run, parts, "--out", "out", "--samples", "7")
    assert outcome.code == 6
    assert outcome.err == (
        "error: out: expected samples 5, as in the predictions there; got 7. Choose another --out, or pass --overwrite "
        "to predict all again.\n"
    )
    shutil.copytree(run, "again")
    manifest = json.loads(Path("again/manifest.json").read_text())
    write_manifest(Path("again"), manifest | {"seconds": 1})
    outcome = cde("batch", "again", parts, "--out", "out")
    assert outcome.code == 6
    assert f"error: out: expected the run {run}, as in the predictions there; got " in outcome.err
    assert numbers(as_json(cde("batch", "again", "parts/b.csv", "--out", "out", "--overwrite", "--json"))) == (1, 0, 0)
    assert [line["folder"] for line in manifest_of("out")["partitions"]] == ["b"]
    assert sorted(os.listdir("out")) == ["b", "manifest.json"], "predictions of two runs are not mixed"


@pytest.mark.parametrize("name", ["c/notes.txt", "b/mine.png"])
def test_overwrite_is_refused_before_anything_starts_if_a_folder_has_files_of_others(
    name: str, run: Path, parts: Path, cde: Cde
) -> None:
    assert cde("batch", run, "parts/b.csv", "parts/c.parquet", "--out", "out", "--samples", "0").code == 0
    mine = Path("out") / name
    mine.write_text("mine")
    before = tables_of("out")
    command = ("batch", run, "parts/b.csv", "--out", "out", "--samples", "1", "--executor", "serial", "--overwrite")
    outcome = cde(*command)
    folder, _, inner = name.partition("/")
    assert (outcome.code, outcome.err) == (
        6,
        f"error: out/{folder}: expected only predictions; got {inner!r}. Move it, or choose another --out.\n",
    )
    assert tables_of("out") == before
    mine.unlink()
    assert cde(*command).code == 0
    assert sorted(os.listdir("out")) == ["b", "manifest.json"]


@pytest.mark.parametrize("folder", ["..", "", "/", "a/b", 1])
def test_a_manifest_with_a_folder_elsewhere_is_no_batch(folder: object, run: Path, parts: Path, cde: Cde) -> None:
    Path("out").mkdir()
    Path("out/manifest.json").write_text(json.dumps({"kind": "batch", "partitions": [{"path": "x", "folder": folder}]}))
    outcome = cde("batch", run, parts, "--out", "out", "--overwrite")
    assert outcome.err.startswith("error: out: expected nothing, or a folder of cde batch; got 'manifest.json'.")


def test_a_partition_with_a_fault_is_named_and_the_others_are_kept(run: Path, parts: Path, cde: Cde) -> None:
    Path("parts/b.csv").write_text("x,region\n1,north\nfar,south\n")
    outcome = cde("batch", run, parts, "--out", "out", "--json", "--quiet")
    result = as_json(outcome, code=7)
    assert numbers(result) == (3, 0, 1)
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: parts/b.csv: column 'x' ")
    assert [part["error"] for part in result["partitions"] if part["state"] == "failed"] == [
        line.removeprefix("error: ")
    ]
    assert sorted(os.listdir("out")) == sorted(
        ["manifest.json", *(part["folder"] for part in result["partitions"] if part["state"] == "done")]
    )
    Path("parts/b.csv").write_text("x,region\n1,north\n2,south\n")
    assert numbers(as_json(cde("batch", run, parts, "--out", "out", "--json"))) == (1, 3, 0)


def test_skipped_rows_are_told_by_partition(run: Path, parts: Path, cde: Cde) -> None:
    Path("parts/b.csv").write_text("x,region\n1,north\nfar,south\n")
    outcome = cde("batch", run, parts, "--out", "out", "--on-fault", "skip", "--quiet")
    assert outcome.code == 7
    (line,) = outcome.err.splitlines()
    assert line.endswith("parts/b.csv: 1 rows have faults and were skipped; out/b/manifest.json names them.")


def test_a_partition_that_cannot_be_read_is_named(run: Path, parts: Path, cde: Cde) -> None:
    Path("parts/d.parquet").write_bytes(Path("parts/c.parquet").read_bytes()[:100])
    Path("parts/e.csv").symlink_to("nowhere")
    outcome = cde("batch", run, parts, "--out", "out", "--quiet")
    assert outcome.code == 7
    first, second = outcome.err.splitlines()
    assert first.startswith("error: parts/d.parquet: must be a complete Parquet file; got ")
    assert second.startswith("error: parts/e.csv: must be a CSV or Parquet file; got no such file.")


def test_a_partition_that_vanishes_is_named(run: Path, parts: Path, cde: Cde, monkeypatch: pytest.MonkeyPatch) -> None:
    from cde_app.workflow import batch

    def vanish(path: Path) -> int:
        if path.name == "b.csv":
            path.unlink()
        return 1

    monkeypatch.setattr(batch, "size_of", vanish)  # is called after the partitions are found, before they are read
    outcome = cde("batch", run, parts, "--out", "out", "--quiet")
    assert outcome.code == 7
    assert outcome.err == "error: parts/b.csv: must be a CSV or Parquet file; got no such file. Correct the path.\n"


def test_a_full_disk_fails_its_partition_and_leaves_nothing_half_written(
    run: Path, parts: Path, cde: Cde, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if "/out/b/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        outcome = cde("batch", run, parts, "--out", "out", "--quiet")
    assert outcome.code == 7
    assert outcome.err == (
        f"error: parts/b.csv: {Path('out/b').absolute()}/.cde-next: expected a folder that can be written; got "
        "'No space left on device'.\n"
    )
    assert not Path("out/b").exists()
    assert numbers(as_json(cde("batch", run, parts, "--out", "out", "--json"))) == (1, 3, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["no/*.csv", "gone.csv"],
            3,
            "error: no/*.csv: must match a file; got none. Correct the glob.\nerror: gone.csv: ",
        ),
        (["empty"], 3, "error: empty: must hold tables (.csv, .tsv, .parquet, .pq); got none. Name the files"),
        (["-"], 2, "error: INPUTS: expected files, folders or globs; got '-'. Use cde predict for standard input."),
        (["parts", "--quantiles", "2"], 2, "error: --quantiles: expected numbers between 0 and 1"),
        (["parts", "--given", "z"], 2, "error: --given: expected some of the targets"),
        pytest.param(
            ["parts", "--scheduler", "http://x:y"],
            2,
            "error: --scheduler: expected the address of a Dask scheduler that",
            marks=pytest.mark.skipif(find_spec("distributed") is None, reason="needs Dask"),
        ),
        (
            ["parts", "--scheduler", "a:1", "--executor", "serial"],
            2,
            "error: --scheduler: expected with --executor dask",
        ),
    ],
)
def test_a_command_that_cannot_work_is_one_line_and_leaves_nothing(
    arguments: list[str], code: int, message: str, run: Path, cde: Cde
) -> None:
    Path("empty").mkdir()
    outcome = cde("batch", run, *arguments, "--out", "out")
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith(message)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("parts/out", "error: parts/out is inside the input folder parts, whose tables are predicted; choose another"),
        ("parts", "error: parts is inside the input folder parts, whose tables are predicted; choose another --out."),
        (".", "error: . holds the table parts/a.csv, which predictions may replace; choose another --out."),
        ("full", "error: full: expected nothing, or a folder of cde batch; got 'note.txt'. Choose another --out."),
        (
            "alone",
            "error: alone: expected nothing, or a folder of cde batch; got 'manifest.json'. Choose",
        ),
        ("file", "error: file exists and is not a folder; choose another --out."),
    ],
)
def test_a_folder_that_is_no_place_for_predictions_is_refused(out: str, message: str, run: Path, cde: Cde) -> None:
    Path("full").mkdir()
    Path("full/note.txt").write_text("mine")
    Path("file").write_text("mine")
    assert cde("predict", run, "parts/a.csv", "--out", "alone").code == 0
    for more in ([], ["--overwrite"]):
        outcome = cde("batch", run, "parts", "--out", out, *more)
        assert (outcome.code, outcome.err.startswith(message)) == (6, True), outcome.err
    assert Path("full/note.txt").read_text() == Path("file").read_text() == "mine"


def test_what_else_is_in_the_folder_is_left_alone(run: Path, parts: Path, cde: Cde) -> None:
    assert cde("batch", run, "parts/a.csv", "--out", "out").code == 0
    Path("out/b").mkdir()
    Path("out/b/note.txt").write_text("mine")
    assert cde("batch", run, parts, "--out", "out").code == 0
    assert os.listdir("out/b") == ["note.txt"]
    assert {line["folder"][:2] for line in manifest_of("out")["partitions"]} == {"a", "a-", "b-", "c"}


def test_a_folder_has_a_name_that_is_short_and_safe_and_its_own() -> None:
    paths = [Path(name) for name in ("/x/a b.csv", "/x/A_b.csv", "/x/manifest.json.csv", "/x/.csv", "/y/a.tar.csv.gz")]
    names = [partition.folder for partition in name_partitions(paths, {}, {"manifest.json"})]
    assert names[0] == "a_b"
    assert names[1].startswith("A_b-")
    assert names[2].startswith("manifest.json-")
    assert names[3:] == ["_csv", "a.tar"]
    assert len({name.casefold() for name in names}) == len(names)


def test_a_worker_loads_neither_tensorflow_nor_pictures(run: Path, parts: Path) -> None:
    code = (
        "import sys\n"
        "from cde_app.cli import main\n"
        f"code = main(['batch', {str(run)!r}, 'parts', '--out', 'out', '--executor', 'serial', '--quiet'])\n"
        "print(code, *({'tensorflow', 'gpflow', 'matplotlib', 'distributed'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "0", done.stderr


# --- whatever is killed -------------------------------------------------------------------------------------------


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cde_app", *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise TimeoutError


def many_parts(number: int, num_rows: int) -> Path:
    folder = Path("many")
    folder.mkdir()
    for n in range(number):
        long_table(num_rows, seed=n).fillna({"x": 0.0}).to_csv(folder / f"p{n:02}.csv", index=False)
    return folder


def finished(folder: str) -> set[str]:
    return {path.parent.name for path in Path(folder).glob("p*/manifest.json")}


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_a_command_that_is_killed_continues_with_what_is_left(executor: str, run: Path, cde: Cde) -> None:
    folder = many_parts(10, 900)
    command = ["batch", run, folder, "--out", "out", "--executor", executor, "--workers", "2", "--json"]
    for least in (1, 4):
        process = start(*command)
        try:
            wait_for(lambda least=least: len(finished("out")) >= least)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        done = finished("out")
        assert least <= len(done) < 10
    result = as_json(cde(*command))
    assert numbers(result)[2] == 0
    assert {line["folder"] for line in result["partitions"] if not line["is_new"]} >= done
    assert cde("batch", run, folder, "--out", "serial", "--executor", "serial").code == 0
    assert tables_of("out") == tables_of("serial")
    assert not list(Path("out").rglob(".cde-*"))


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_a_worker_that_is_killed_costs_its_partition_another_attempt(executor: str, run: Path, cde: Cde) -> None:
    psutil = pytest.importorskip("psutil")
    folder = many_parts(8, 900)
    process = start("batch", run, folder, "--out", "out", "--executor", executor, "--workers", "2", "--json")
    wait_for(lambda: len(finished("out")) >= 2)
    writers = {int(lock.read_text().split()[0]) for lock in Path("out").glob("p*/.lock") if lock.read_text().strip()}
    children = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    os.kill((writers & children or children).pop(), signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    attempts = [line["attempts"] for line in json.loads(out)["partitions"]]
    assert sorted(attempts) in ([1] * 8, [1] * 7 + [2])
    assert cde("batch", run, folder, "--out", "serial", "--executor", "serial").code == 0
    assert tables_of("out") == tables_of("serial")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_ctrl_c_keeps_what_is_finished(executor: str, run: Path, cde: Cde) -> None:
    folder = many_parts(10, 900)
    process = start("batch", run, folder, "--out", "out", "--executor", executor, "--workers", "2")
    wait_for(lambda: len(finished("out")) >= 2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-2:] == [
        "what is finished is kept; the same command continues (without --overwrite)",
        "interrupted",
    ]
    done = finished("out")
    assert {line["folder"] for line in manifest_of("out")["partitions"] if line["state"] == "done"} <= done
    result = as_json(cde("batch", run, folder, "--out", "out", "--json"))
    assert result["unchanged"] >= len(done)
