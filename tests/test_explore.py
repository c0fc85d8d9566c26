"""`cde report` with its explorer, and `cde explore`: the files, the server and what it answers."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from cde_app.machine.loopback import BadRequestError
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.explore import MOST_ALONG, answer
from cde_app.workflow.explorer import Surroundings, moved_rows, surroundings_of
from cde_app.workflow.scoring import table_to_judge_by
from tests.conftest import Outcome, TrainedTiny
from tests.storing import write_manifest

Cde = Callable[..., Outcome]


@pytest.fixture
def explored(tiny_run: TrainedTiny) -> tuple[TrainedModel, Surroundings]:
    run = Run.open(tiny_run.run)
    model = TrainedModel.load(run)
    with table_to_judge_by(run, model, None) as table:
        around = surroundings_of(model, table)
    assert around is not None
    return model, around


def test_the_page_has_rows_of_the_table_only_with_the_explorer(line_run: TrainedTiny, tmp_path: Path, cde: Cde) -> None:
    run = shutil.copytree(line_run.run, tmp_path / "run")
    assert cde("report", run).code == 0
    assert 'id="explorer-data"' in (run / "report.html").read_text()
    assert cde("report", run, "--no-explorer").code == 0
    assert "<script" not in (run / "report.html").read_text()


def test_without_its_table_a_run_has_a_report_and_a_warning_says_what_is_missing(
    line_run: TrainedTiny, tmp_path: Path, cde: Cde
) -> None:
    run = shutil.copytree(line_run.run, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["inputs"] = dict.fromkeys(manifest["inputs"], "0" * 64)
    write_manifest(run, manifest)
    outcome = cde("report", run, "--json")
    assert outcome.code == 0
    assert "the report has no explorer" in json.loads(outcome.out)["warnings"][0]
    assert "expected the table that" in outcome.err
    assert "explorer-data" not in (run / "report.html").read_text()
    refused = cde("explore", run)
    assert refused.code == 6
    assert "expected the table that" in refused.err


def test_a_table_that_has_moved_can_be_named(line_run: TrainedTiny, tmp_path: Path, cde: Cde) -> None:
    run, moved = shutil.copytree(line_run.run, tmp_path / "run"), tmp_path / "elsewhere.csv"
    assert cde("report", run).code == 0
    page = (run / "report.html").read_bytes()
    shutil.copy(line_run.table, moved)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["settings"]["data"]["path"] = str(tmp_path / "gone.csv")
    write_manifest(run, manifest)
    assert "no explorer" in cde("report", run).err
    found = cde("report", run, moved, "--json")
    assert found.code == 0
    assert "warnings" not in json.loads(found.out)
    data = [part.partition(b"</script>")[0] for part in (page, (run / "report.html").read_bytes())]
    assert data[0].partition(b'id="explorer-data"')[2] == data[1].partition(b'id="explorer-data"')[2] != b""


@pytest.mark.parametrize("command", ["report", "explore"])
def test_another_table_is_not_explored(command: str, line_run: TrainedTiny, tmp_path: Path, cde: Cde) -> None:
    run, other = shutil.copytree(line_run.run, tmp_path / "run"), tmp_path / "other.csv"
    other.write_bytes(line_run.table.read_bytes() + line_run.table.read_bytes().splitlines(keepends=True)[-1])
    refused = cde(command, run, other)
    assert refused.code == 6
    assert refused.err == (
        f"error: {other}: expected the table that {run} was trained on; got different content. Name that "
        "table, whose files have the same bytes.\n"
    )
    missing = cde(command, run, tmp_path / "missing.csv")
    assert missing.code == 3
    assert "missing.csv" in missing.err
    assert not (run / "report.html").exists()


def test_a_report_without_an_explorer_needs_no_table(line_run: TrainedTiny, cde: Cde) -> None:
    refused = cde("report", line_run.run, line_run.table, "--no-explorer")
    assert refused.code == 2
    assert "Leave out one of them" in refused.err


def test_the_rows_shown_are_those_of_the_table_held_out_first(
    explored: tuple[TrainedModel, Surroundings], tiny_run: TrainedTiny
) -> None:
    model, around = explored
    table = pd.read_csv(tiny_run.table)
    assert np.allclose(around.values[:, 0], table["x"].to_numpy()[around.rows], atol=1e-12)
    labels = np.array(["north", "south"])[around.values[:, 1].astype(int)]
    assert (labels == table["region"].to_numpy()[around.rows]).all()
    assert np.allclose(around.targets, table[["a", "b"]].to_numpy()[around.rows])
    assert set(around.rows[: around.num_held_out]) == set(model.split.test)


def test_rows_are_moved_in_at_most_two_inputs_and_within_the_sliders(
    explored: tuple[TrainedModel, Surroundings],
) -> None:
    _, around = explored
    moved = moved_rows(around, 500, 0, 1)
    assert np.array_equal(moved, moved_rows(around, 500, 0, 1))
    assert (moved >= around.low).all()
    assert (moved <= around.high).all()
    assert set(moved[:, 1]) == {0.0, 1.0}
    same = (moved[:, None] == around.values).all(axis=2).any(axis=1).mean()
    assert 0.3 < same < 0.7, "a third is not moved, and some moves change nothing"


def test_an_answer_is_the_models_forecast(explored: tuple[TrainedModel, Surroundings]) -> None:
    model, around = explored
    body = json.dumps({"values": [0.4, 1], "along": [[-1.0, 0], [1.0, 0]]}).encode()
    content = json.loads(answer(model, around, body))
    forecast = model.predict(pd.DataFrame({"x": [0.4, -1.0, 1.0], "region": ["south", "north", "north"]}))
    for p, part in enumerate(content["parts"]):
        mixture = forecast[:1].marginal(p)
        means, log_sds = np.split(np.array(part["values"]), 2)
        assert np.array_equal(part["weights"], mixture.weights)
        assert np.allclose(means, mixture.means[0, :, 0], rtol=1e-10, atol=1e-12)
        assert np.allclose(np.exp(2 * log_sds), mixture.variances[0, :, 0], rtol=1e-10)
    exact = np.moveaxis(forecast[1:].quantile([0.05, 0.25, 0.5, 0.75, 0.95]), 0, 2)
    assert np.allclose(content["bands"], exact, rtol=1e-10)


def test_the_joint_map_integrates_to_the_mass_between_its_ends(explored: tuple[TrainedModel, Surroundings]) -> None:
    """All but 4 x 0.002 of the probability at most, and the error of sums over a fine grid."""
    model, around = explored
    found = json.loads(answer(model, around, b'{"values": [0.4, 1], "along": []}'))["map"]
    density = np.array(found["density"])
    cell = np.prod([(high - low) / (len(density) - 1) for low, high in found["ends"]])
    assert density.sum() * cell == pytest.approx(1, abs=0.02)
    (a, b), (c, d) = found["ends"]
    z = np.array([[0.5 * (a + b), 0.5 * (c + d)]])
    transforms = model.predictor.transforms
    y = np.array([[t.inverse(v)[0] for t, v in zip(transforms, z.T, strict=True)]])
    slope = sum(float(t.log_jacobian_at(v)[0]) for t, v in zip(transforms, z.T, strict=True))
    forecast = model.predict(pd.DataFrame({"x": [0.4], "region": ["south"]}))
    middle = len(density) // 2
    assert density[middle, middle] == pytest.approx(float(np.exp(forecast.log_prob(y)[0] - slope)), rel=1e-4)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "expected JSON"),
        (b"[" * 50_000, "expected JSON"),
        (b"[1]", "the keys 'values' and 'along'"),
        (b'{"values": [0, 0], "along": [], "more": 1}', "the keys 'values' and 'along'"),
        (b'{"values": [0], "along": []}', "rows of 2 numbers"),
        (b'{"values": "ab", "along": []}', "rows of 2 numbers"),
        (b'{"values": [0, 0], "along": 3}', f"at most {MOST_ALONG} rows"),
        (json.dumps({"values": [0, 0], "along": [[0, 0]] * (MOST_ALONG + 1)}).encode(), f"at most {MOST_ALONG} rows"),
        (b'{"values": ["0", 0], "along": []}', "a number for 'x'"),
        (b'{"values": [true, 0], "along": []}', "a number for 'x'"),
        (b'{"values": [NaN, 0], "along": []}', "a number for 'x'"),
        (b'{"values": [1e999, 0], "along": []}', "a number for 'x'"),
        (b'{"values": [0, 2], "along": []}', "the index of a label for 'region'"),
        (b'{"values": [0, 0.5], "along": []}', "the index of a label for 'region'"),
    ],
)
def test_a_wrong_request_is_refused(explored: tuple[TrainedModel, Surroundings], body: bytes, message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        answer(*explored, body)


def test_a_table_of_gaps_has_nothing_to_explore(tiny_run: TrainedTiny) -> None:
    run = Run.open(tiny_run.run)
    model = TrainedModel.load(run)
    with table_to_judge_by(run, model, None) as table:
        unknown = table.values[:].copy()
        unknown[:, 1] = -1  # a label that the training has not seen
        assert surroundings_of(model, replace(table, values=unknown)) is None
        unknown[:, 1] = np.nan
        assert surroundings_of(model, replace(table, values=unknown)) is None
        assert surroundings_of(model, table) is not None, "the control"


# --- the command ---------------------------------------------------------------------------------------------------


@contextmanager
def exploring(run: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `cde explore`; yield the process and the address that it prints."""
    command = [sys.executable, "-m", "cde_app", "explore", str(run), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def post(address: str, content: object, count: int = 1) -> list[int]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    found = []
    for _ in range(count):
        connection.request("POST", parts.path, json.dumps(content), {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        found.append(response.status)
    return found


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_the_command_prints_an_address_answers_and_ends_on_ctrl_c(line_run: TrainedTiny) -> None:
    before = {path: path.stat().st_mtime_ns for path in line_run.run.rglob("*")}
    with exploring(line_run.run) as (process, address):
        assert urlsplit(address).hostname == "127.0.0.1"
        assert post(address, {"values": [1.0], "along": [[2.0]]}) == [200]
        assert post(address, {"values": []}) == [400]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert "Ctrl-C" in errors
    assert {path: path.stat().st_mtime_ns for path in line_run.run.rglob("*")} == before, "it writes nothing"


def test_a_port_that_is_taken_is_one_line(line_run: TrainedTiny, cde: Cde) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        outcome = cde("explore", line_run.run, "--port", port)
    assert outcome.code == 2
    assert f"--port: expected a port of this machine that is free; got {port}: " in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_thousand_requests_leave_the_memory_flat(line_run: TrainedTiny) -> None:
    """After 100 requests as warm-up; a leak of one answer, 20 kB, per request would be 20 MB."""

    def own_memory(pid: int) -> float:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        own = ("RssAnon", "VmSwap")  # a busy machine drops and reads again the pages of files
        return sum(int(line.split()[1]) for line in lines if line.startswith(own)) / 1024

    with exploring(line_run.run, "--threads", "1") as (process, address):
        content = {"values": [1.0], "along": [[float(x)] for x in np.linspace(0, 10, 41)]}
        assert post(address, content, 100) == [200] * 100
        before = own_memory(process.pid)
        assert post(address, content, 1000) == [200] * 1000
        assert own_memory(process.pid) - before < 8
