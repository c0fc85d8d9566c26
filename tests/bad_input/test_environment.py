"""What surrounds a command: closed streams, pipes, interruptions; where it writes, with which modes, and no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bad_input.cases import CONFIG, ROWS, text
from tests.conftest import LINE_CONFIG, TrainedTiny, needs_tensorflow

Cde = Callable[..., Any]
FEW = ("--rows", "8", "--repeats", "1", "--shares", "0", "--quiet")


def in_shell(line: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell, in which `$@` is `cde` with the arguments."""
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "cde_app", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_closed_standard_output_is_refused_before_the_work(tiny_run: TrainedTiny, tmp_path: Path) -> None:
    done = in_shell('"$@" >&-', tmp_path, "predict", tiny_run.run, tiny_run.table, "--out", "out")
    line = "error: standard output: expected one that is open; got none. Send it to a file, or to /dev/null.\n"
    assert (done.returncode, done.stderr) == (2, line)
    assert not (tmp_path / "out").exists()


def test_no_file_takes_the_place_of_a_closed_standard_error(tiny_run: TrainedTiny, tmp_path: Path) -> None:
    done = in_shell('"$@" 2>&-', tmp_path, "predict", tiny_run.run, tiny_run.table, "--out", "out", "--samples", "0")
    assert done.returncode == 0
    assert (tmp_path / "out/summary.csv").read_text().startswith("row,")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_help_for_a_full_disk_is_no_bug(tmp_path: Path) -> None:
    done = in_shell('"$@" >/dev/full', tmp_path, "--help")
    line = "error: standard output: expected room for the result; got 'No space left on device'.\n"
    assert (done.returncode, done.stderr) == (6, line)


def test_a_named_pipe_that_nobody_writes_to_is_an_empty_configuration(cde: Cde, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    outcome = cde("check", tmp_path / "pipe")
    assert outcome.code == 2
    assert "got an empty file." in outcome.err


def test_a_configuration_comes_through_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text(ROWS))
    (tmp_path / "config.yaml").write_text(CONFIG.replace("table.csv", str(tmp_path / "table.csv")))
    done = in_shell('cat config.yaml | "$@"', tmp_path, "check", "/dev/stdin")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("moment", ["write_explanation", "write_json"])
def test_an_interrupted_explanation_leaves_nothing(
    moment: str, tiny_run: TrainedTiny, cde: Cde, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cde_app.workflow import explain

    original = getattr(explain, moment)

    def interrupted(*arguments: Any) -> None:
        if moment == "write_explanation":
            original(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(explain, moment, interrupted)
    monkeypatch.setattr(explain, "explanation_pictures", lambda *_: {})
    outcome = cde("explain", tiny_run.run, tiny_run.table, "--out", tmp_path / "deep/out", *FEW)
    assert (outcome.code, outcome.err) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_explanation_keeps_the_earlier_one(
    tiny_run: TrainedTiny, cde: Cde, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cde_app.workflow import explain

    monkeypatch.setattr(explain, "explanation_pictures", lambda *_: {})
    command = ("explain", tiny_run.run, tiny_run.table, "--out", tmp_path / "out", *FEW)
    assert cde(*command).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*")}

    def full(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(explain, "write_table", lambda path, *_, **__: full(path))
    outcome = cde(*command)
    line = f"error: {tmp_path}/out: expected a folder that can be written; got 'No space left on device'.\n"
    assert (outcome.code, outcome.err) == (6, line)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*")} == before


def test_a_simulated_table_appears_with_its_truth_or_not_at_all(cde: Cde, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = cde("simulate", "ring", "--out", tmp_path / "t.csv", "--truth", tmp_path / "file/truth.csv")
    assert outcome.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- where a command writes, and that it opens no socket --------------------------------------------------------------

WATCHED = """\
import json, os, sys
own, commands = sys.argv[1], json.loads(sys.argv[2])
os.umask(0o027)
found = []

def hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, (str, bytes)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            found.append(("write", os.path.abspath(os.fsdecode(path))))
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink"):
        paths = [path for path in arguments if isinstance(path, (str, bytes))]
        found.extend((event, os.path.abspath(os.fsdecode(path))) for path in paths)
    elif event.startswith("socket.") and event.partition(".")[2] in ("connect", "bind", "sendto", "getaddrinfo"):
        found.append((event, str(arguments[1:])))

sys.addaudithook(hook)
from cde_app.cli import main
for command in commands:
    assert main(command) == 0, command
if sys.argv[3:]:
    import socket
    open(sys.argv[3], "w").close()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
outside = [(event, path) for event, path in found if not path.startswith((own + os.sep, os.devnull))]
print(json.dumps(sorted(set(outside))), file=sys.stderr)
"""


def watched(folder: Path, *commands: tuple[object, ...], control: str = "") -> tuple[list[list[str]], Path]:
    """Run commands in a process that watches itself, with the umask 027; return what it did outside of `own`."""
    own = folder / "own"
    (own / "temporary").mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(own / "temporary"), "PYTHONDONTWRITEBYTECODE": "1"}
    lines = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(own), lines, *([control] if control else [])],
        cwd=own,
        env={**environment, "MPLCONFIGDIR": str(own / "temporary")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1]), own


def assert_modes(folder: Path) -> None:
    """Check that the umask 027 decides about everything in a folder."""
    paths = [folder, *folder.rglob("*")]
    assert len(paths) > 1
    for path in paths:
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


def test_predictions_are_written_in_their_folder_with_the_modes_of_the_umask(
    tiny_run: TrainedTiny, tmp_path: Path
) -> None:
    asked = ("--samples", "2", "--components", "--grid", "3", "--hdi", "0.9", "--modes", "--total", "--quiet")
    outside, own = watched(
        tmp_path,
        ("predict", tiny_run.run, tiny_run.table, "--out", "csv", *asked),
        ("predict", tiny_run.run, tiny_run.table, "--out", "parquet", "--format", "parquet", "--quiet"),
        ("batch", tiny_run.run, tiny_run.table, "--out", "batch", "--executor", "serial", "--samples", "0", "--quiet"),
        ("evaluate", tiny_run.run, "--json"),
        ("verify", tiny_run.run),
        ("info", tiny_run.run, "--json"),
    )
    assert outside == []
    for name in ("csv", "parquet", "batch"):
        assert_modes(own / name)


def test_what_is_done_elsewhere_is_seen(tmp_path: Path) -> None:
    """The control."""
    outside, _ = watched(tmp_path, ("--version",), control=str(tmp_path / "elsewhere"))
    assert [event for event, _ in outside] == ["socket.bind", "write"]


@pytest.mark.slow
def test_what_is_drawn_is_written_in_its_folder_with_the_modes_of_the_umask(
    tiny_run: TrainedTiny, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    shutil.copytree(tiny_run.run, tmp_path / "own/run")
    outside, own = watched(
        tmp_path,
        ("report", "run", "--quiet"),
        ("plot", "run"),
        ("plot", "run", tiny_run.table, "--out", "plots"),
        ("explain", "run", tiny_run.table, "--out", "explained", *FEW),
        ("drift", "run", tiny_run.table, "--quiet"),
        ("diagnose", "run"),
        ("evaluate", "run", "--threshold", "a>0", "--out", "reliability", "--quiet"),
        ("verify", "run"),
    )
    assert outside == []
    for name in ("plots", "explained", "reliability"):
        assert_modes(own / name)
    for path in [own / "run" / name for name in ("report.html", "report.json", "SHA256SUMS", "plots/pit.png")]:
        assert path.stat().st_mode & 0o777 == 0o640, path


@pytest.mark.slow
@needs_tensorflow
def test_a_training_is_written_in_its_folder_with_the_modes_of_the_umask(line_run: TrainedTiny, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/config.yaml").write_text(LINE_CONFIG.replace("table.csv", str(line_run.table)))
    outside, own = watched(
        tmp_path, ("train", "config.yaml", "--out", "runs/a", "--executor", "serial", "--quiet"), ("verify", "runs/a")
    )
    looks_for_ipv6 = ["socket.bind", "(('::1', 0),)"]  # urllib3, which TensorFlow imports; nothing is sent
    assert [found for found in outside if found != looks_for_ipv6] == []
    assert_modes(own / "runs/a")
