"""Run directories that are none, are damaged, or were changed by somebody who renewed the hashes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_input.cases import RUN, Case
from tests.storing import write_manifest

READING = (
    "evaluate run",
    "diagnose run",
    "explain run --out out --quiet",
    "drift run trained.csv",
    "plot run",
    "report run",
    "explore run",
    "info run",
    "compare run",
    "verify run",
    "predict run trained.csv --out out",
    "batch run trained.csv --out out --executor serial --quiet",
)
"""Every command that reads a run."""
SOME = ("predict run trained.csv --out out", "verify run")


def changed(prepare: Callable[[Path], None], *lines: str, commands: tuple[str, ...] = SOME) -> Case:
    """Return the case of a run that was changed."""
    return Case(commands, RUN, lines, prepare=lambda folder: prepare(folder / "run"))


def writes(name: str, content: bytes | str) -> Callable[[Path], None]:
    """Replace the content of a file."""
    return lambda run: (run / name).write_bytes(content.encode() if isinstance(content, str) else content) and None


def removes(name: str) -> Callable[[Path], None]:
    """Delete a file or a folder."""
    return lambda run: shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()


def states(**facts: Any) -> Callable[[Path], None]:
    """Change facts of the manifest, with right hashes of all files."""
    return lambda run: write_manifest(run, {**json.loads((run / "manifest.json").read_text()), **facts})


def flips(name: str) -> Callable[[Path], None]:
    """Flip a bit in the middle of a file."""

    def flip(run: Path) -> None:
        content = bytearray((run / name).read_bytes())
        content[len(content) // 2] ^= 1
        (run / name).write_bytes(content)

    return flip


def replaces(prepare: str) -> Callable[[Path], None]:
    """Put something else in the place of the run."""

    def replace(run: Path) -> None:
        shutil.rmtree(run)
        match prepare:
            case "folder":
                (run / "notes").mkdir(parents=True)
            case "file":
                run.write_text("x")
            case "loop":
                run.symlink_to("run")
            case "link":
                run.symlink_to("nowhere")

    return replace


def becomes_folder(name: str) -> Callable[[Path], None]:
    """Replace a file by a folder."""

    def become(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return become


def links_out(name: str) -> Callable[[Path], None]:
    """Replace a file by a link to a copy outside the run."""

    def link(run: Path) -> None:
        shutil.move(run / name, run.parent / "outside")
        (run / name).symlink_to("../outside" if "/" not in name else "../../outside")

    return link


CASES: dict[str, Case] = {
    "nothing": changed(
        replaces("nothing"),
        "run: expected a run directory; got nothing. Train one with: cde train CONFIG --out run",
        commands=READING,
    ),
    "file": changed(replaces("file"), "run: expected a run directory; got a file. Check the path.", commands=READING),
    "another folder": changed(
        replaces("folder"),
        "run: expected a run directory; got a folder without a valid STATUS. Check the path.",
        commands=READING,
    ),
    "dangling link": changed(
        replaces("link"), "run: expected a run directory; got nothing. Train one with: cde train CONFIG --out run"
    ),
    "without STATUS": changed(
        removes("STATUS"), "run: expected a run directory; got a folder without a valid STATUS. Check the path."
    ),
    "empty STATUS": changed(
        writes("STATUS", ""), "run: expected a run directory; got a folder without a valid STATUS. Check the path."
    ),
    "STATUS of another word": changed(
        writes("STATUS", "finished\n"),
        "run: expected a run directory; got a folder without a valid STATUS. Check the path.",
    ),
    "STATUS of a megabyte": changed(
        writes("STATUS", "done" * 2**18),
        "run: expected a run directory; got a folder without a valid STATUS. Check the path.",
    ),
    "STATUS is a folder": changed(
        becomes_folder("STATUS"), "run: expected a run directory; got a folder without a valid STATUS. Check the path."
    ),
    "failed": changed(
        writes("STATUS", "failed\n"),
        (
            "run: expected a finished run; got one that is failed. Resume with: cde train "
            "run/config.yaml --out run --resume"
        ),
    ),
    "interrupted": changed(
        writes("STATUS", "interrupted\n"),
        (
            "run: expected a finished run; got one that is interrupted. Resume with: cde train "
            "run/config.yaml --out run --resume"
        ),
    ),
    "killed": changed(
        writes("STATUS", "running\n"),
        (
            "run: expected a finished run; got one that is killed. Resume with: cde train "
            "run/config.yaml --out run --resume"
        ),
        commands=READING,
    ),
    "without manifest": changed(
        removes("manifest.json"),
        (
            "run: expected a finished run; got one that is done but has no manifest. Resume with: "
            "cde train run/config.yaml --out run --resume"
        ),
    ),
    "manifest is a folder": changed(
        becomes_folder("manifest.json"),
        ("run/manifest.json: expected JSON; got [Errno 21] Is a directory: 'run/manifest.json'. Train the run again."),
    ),
    "empty manifest": changed(
        writes("manifest.json", ""),
        ("run/manifest.json: expected JSON; got Expecting value: line 1 column 1 (char 0). Train the run again."),
    ),
    "manifest cut off": changed(
        writes("manifest.json", "{"),
        (
            "run/manifest.json: expected JSON; got Expecting property name enclosed in double "
            "quotes: line 1 column 2 (char 1). Train the run again."
        ),
    ),
    "manifest is a list": changed(
        writes("manifest.json", "[]"),
        "run/manifest.json: format_version: expected a number; got None. Train the run again.",
    ),
    "manifest of nothing": changed(
        writes("manifest.json", "{}"),
        "run/manifest.json: format_version: expected a number; got None. Train the run again.",
    ),
    "manifest not UTF-8": changed(
        writes("manifest.json", b'{"\xff": 1}'),
        (
            "run/manifest.json: expected JSON; got 'utf-8' codec can't decode byte 0xff in position "
            "2: invalid start byte. Train the run again."
        ),
    ),
    "manifest nested without end": changed(
        writes("manifest.json", "[" * 100_000),
        "run/manifest.json: expected JSON; got it is nested too deeply. Train the run again.",
    ),
    "newer format": changed(
        states(format_version=99),
        (
            "run/manifest.json: format_version: expected at most 5; got 99. The run was written by a "
            "newer cde; update cde."
        ),
        commands=READING,
    ),
    "older format": changed(
        states(format_version=3),
        (
            "run/manifest.json: format_version: expected at least 4; got 3. The run was written by an older "
            "cde, which stored its parts differently; train the run again."
        ),
    ),
    "format as text": changed(
        states(format_version="4"),
        "run/manifest.json: format_version: expected a number; got '4'. Train the run again.",
    ),
    "format below zero": changed(
        states(format_version=-1), "run/manifest.json: format_version: expected a number; got -1. Train the run again."
    ),
    "hashes of a file elsewhere": changed(
        states(outputs={"../secret": "0" * 64}),
        ("run/manifest.json: outputs: expected the SHA-256 of files of the run; got others. Train the run again."),
    ),
    "hashes of a device": changed(
        states(outputs={"/dev/zero": "0" * 64}),
        ("run/manifest.json: outputs: expected the SHA-256 of files of the run; got others. Train the run again."),
    ),
    "hash that is none": changed(
        states(outputs={"columns.json": "1"}),
        ("run/manifest.json: outputs: expected the SHA-256 of files of the run; got others. Train the run again."),
    ),
    "settings of nothing": changed(
        states(settings={}),
        (
            "run/manifest.json: settings: expected those of a training; got '2 validation errors for "
            "Config schema_version Field required [type=missing, input_value={}, input_type=dict] "
            "For further information visit https://errors.pydantic.dev/2.14/v/missing data Field "
            "require'. Train it again."
        ),
    ),
    "settings as text": changed(
        states(settings="x"), "run/manifest.json: settings: expected an object; got 'x'. Train the run again."
    ),
    "seed as text": changed(
        states(seed="x"), "run/manifest.json: seed: expected a number; got 'x'. Train the run again."
    ),
    "columns missing": changed(
        removes("columns.json"),
        "run/columns.json: expected a file of the run; got nothing. Train the run again.",
        commands=READING,
    ),
    "columns changed": changed(
        flips("columns.json"),
        (
            "run/columns.json: expected SHA-256 HASH...; got HASH.... The file has changed since the "
            "training; train the run again."
        ),
    ),
    "arrays missing": changed(
        removes("posterior/arrays.npz"),
        "run/posterior/arrays.npz: expected a file of the run; got nothing. Train the run again.",
    ),
    "arrays changed": changed(
        flips("posterior/arrays.npz"),
        (
            "run/posterior/arrays.npz: expected SHA-256 HASH...; got HASH.... The file has changed "
            "since the training; train the run again."
        ),
        commands=READING,
    ),
    "arrays are a folder": changed(
        becomes_folder("posterior/arrays.npz"),
        "run/posterior/arrays.npz: expected a file of the run; got nothing. Train the run again.",
    ),
    "posterior missing": changed(
        removes("posterior"),
        "run/posterior/arrays.npz: expected a file of the run; got nothing. Train the run again.",
        "run/posterior/spec.json: expected a file of the run; got nothing. Train the run again.",
    ),
    "split changed": changed(
        flips("split.npz"),
        (
            "run/split.npz: expected SHA-256 HASH...; got HASH.... The file has changed since the "
            "training; train the run again."
        ),
    ),
    "baselines cut off": changed(
        writes("baselines.npz", b"PK"),
        (
            "run/baselines.npz: expected SHA-256 HASH...; got HASH.... The file has changed since "
            "the training; train the run again."
        ),
    ),
    "reference missing": changed(
        removes("reference.npz"), "run/reference.npz: expected a file of the run; got nothing. Train the run again."
    ),
    "configuration changed": changed(
        flips("config.yaml"),
        (
            "run/config.yaml: expected SHA-256 HASH...; got HASH.... The file has changed since the "
            "training; train the run again."
        ),
    ),
    "arrays elsewhere": changed(
        links_out("posterior/arrays.npz"),
        ("run/posterior/arrays.npz: expected a file of the run; got a link. Put the file itself there."),
        commands=(*SOME[:1], "evaluate run"),
    ),
    "columns elsewhere": changed(
        links_out("columns.json"),
        "run/columns.json: expected a file of the run; got a link. Put the file itself there.",
        commands=(*SOME[:1], "evaluate run"),
    ),
    "scores changed": changed(
        flips("metrics.json"),
        (
            "run/metrics.json: expected SHA-256 HASH...; got HASH.... The file has changed since the "
            "training; train the run again."
        ),
        commands=("info run", "report run", "compare run", "verify run"),
    ),
    "history changed": changed(
        flips("history.jsonl"),
        (
            "run/history.jsonl: expected SHA-256 HASH...; got HASH.... The file has changed since "
            "the training; train the run again."
        ),
        commands=("plot run", "report run", "verify run"),
    ),
    "log changed": changed(
        flips("log.txt"),
        (
            "run/log.txt: expected SHA-256 HASH...; got HASH.... The file has changed since the "
            "training; train the run again."
        ),
        commands=("verify run",),
    ),
    "picture changed": changed(
        flips("plots/pit.png"),
        (
            "run/plots/pit.png: expected SHA-256 HASH...; got HASH.... The file has changed since "
            "the training; make it again with: cde plot run."
        ),
        commands=("report run", "verify run"),
    ),
    "list of hashes changed": changed(
        flips("SHA256SUMS"),
        (
            "run/plots/ecdf.png: expected SHA-256 HASH...; got HASH.... The file has changed since "
            "the training; make it again with: cde plot run."
        ),
        commands=("verify run",),
    ),
    "file that is no part": changed(
        writes("plots/more.png", b""),
        "run/plots/more.png: expected its hash in SHA256SUMS; got none. Remove the file.",
        commands=("verify run",),
    ),
    "picture of the user's own": changed(
        writes("plots/mine.png", b""),
        "run: expected only a run's files; got 'plots/mine.png'. Move it, or choose another --out.",
        commands=("train config.yaml --out run --overwrite --quiet",),
    ),
}
