"""What is asked of the rows of a table, answered block by block: in this process, or of many rows in worker processes.

Two threads of one process answer 1.3 times as many rows as one, two processes twice as many: between two products of
a block Python holds its lock.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from cde_app.arrays import Array, BoolArray, IntArray
from cde_app.data.encoding import are_outside, encode_columns
from cde_app.data.fingerprints import fingerprint_rows
from cde_app.errors import RunError, UsageError
from cde_app.execution.choose import Execution
from cde_app.execution.executor import Worker
from cde_app.execution.processes import MOST_AHEAD
from cde_app.machine.memory import available_bytes, how_to_have_more, limit_memory, share
from cde_app.predictive.columns import LongTable
from cde_app.predictive.forecast import Forecast
from cde_app.runs.checks import hash_of_run
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.prediction_files import Chunk, Questions

BLOCK_ROWS = 1024
"""Positions in the table that are predicted together, so that no bit depends on how the rows are read."""
LEAST_ROWS_FOR_WORKERS = 20_000
"""Workers take about a second to start, in which this process answers some thousand rows."""
BYTES_PER_WORKER = 400 << 20
"""Memory of a worker: the libraries, a model, and a block of rows [bytes]."""
BYTES_PER_DRAW = 64
"""Memory of a draw of one target while it is drawn and written, text included [bytes]."""
BYTES_PER_POINT, BYTES_PER_COMPONENT = 200, 24
"""Memory of a point of `--grid` or `--at`, in each row and component [bytes]."""


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a table that can be predicted: all that an answer depends on."""

    row_numbers: IntArray
    """[N], numbers of the rows in the table, counted from 1."""
    values: Array
    """[N, inputs], as `input_values` reads them."""
    given: Mapping[str, Array] = field(default_factory=dict)
    """[N] of each target that is given."""
    targets: Array | None = None
    """[N, P], observations of the others, if the table has them."""
    limits: Mapping[str, Array] = field(default_factory=dict)
    """Columns that thresholds name, [N] each."""


@dataclass(frozen=True)
class Answer:
    """What the model says of a block."""

    outside: BoolArray
    """[N, inputs], cells outside the training range."""
    distance: Array | None
    """[N], distances from the training rows, if the model states them."""
    num_rough: int
    """Rows whose densities rest on few components, as something rare is given."""
    tables: list[LongTable]
    """The rows of each file."""
    forecast: Forecast | None
    """None from a worker, as it is large."""


def answer(model: TrainedModel, questions: Questions, block: Block) -> Answer:
    """Predict a block of rows, and compute all that is asked.

    Raises:
        UsageError: the draws or points of the block do not fit into the memory.
        NumericalError: a forecast has NaN.
    """
    contract = model.contract
    outside = are_outside(contract, block.values)
    features = model.predictor.features(encode_columns(contract, block.values))
    forecast = replace(model.predictor.forecast(features), names=contract.targets)
    if block.given:
        with warnings.catch_warnings(action="ignore"):  # rough rows are counted over the whole table
            forecast = forecast.given(block.given)
    check_room_for_draws(questions.num_samples, len(forecast), forecast.num_targets)
    check_room_for_points(questions.points, len(forecast), model.settings["predict"]["num_components"])
    chunk = Chunk(
        forecast,
        row_numbers=block.row_numbers,
        outside=outside.any(axis=1),
        distance=model.distance_of(features),
        targets=block.targets,
        limits=block.limits,
        seed=seed_of_block(questions.seed, block.values),
    )
    tables = [table(chunk) for table in questions.tables.values()]
    return Answer(outside, chunk.distance, forecast.num_rough, tables, forecast)


@dataclass(frozen=True)
class Answering:
    """A block to answer, as work for a worker."""

    block: Block
    questions: Questions
    run_path: Path
    """Absolute."""
    run_hash: str
    max_memory: int | None
    """Memory that its process may take [bytes]; None leaves that to the process."""

    @property
    def name(self) -> str:
        """The first row."""
        return f"the block from row {self.block.row_numbers[0]}"

    @property
    def kind(self) -> str:
        """Blocks for one model."""
        return self.run_hash

    def run(self, worker: Worker) -> Answer:
        """Answer the block by the model, which the worker loads once."""
        limit_memory(self.max_memory)
        model = model_of_worker(worker, self.run_path, self.run_hash)
        return replace(answer(model, self.questions, self.block), forecast=None)


def model_of_worker(worker: Worker, run_path: Path, run_hash: str) -> TrainedModel:
    """Return the model of a run, which a worker loads once.

    Raises:
        RunError: the run cannot be read, or has another hash than when the command began.
    """

    def load() -> TrainedModel:
        model = TrainedModel.load(Run.open(run_path), knows_rows=False)
        if hash_of_run(run_path) != run_hash:
            raise RunError(
                f"{run_path} must not change while it predicts; got another training. Repeat the command with "
                "--overwrite."
            )
        return model

    return worker.once("model", (run_path, run_hash), load)


def num_workers(num_rows: int, questions: Questions, *, num_targets: int, num_components: int) -> int:
    """Return in how many processes rows are answered; 1 is this one, as always if CDE_EXECUTOR is not `processes`.

    Args:
        num_rows: of the table.
        questions: what is asked, which takes memory.
        num_targets: that are predicted.
        num_components: of a mixture.
    """
    execution, num_blocks = Execution(), math.ceil(num_rows / BLOCK_ROWS)
    if num_rows < LEAST_ROWS_FOR_WORKERS or execution.resolved_kind() != "processes":
        return 1
    draws = bytes_of_draws(BLOCK_ROWS, num_targets) * questions.num_samples
    points = bytes_of_point(BLOCK_ROWS, num_components) * num_points(questions.points)
    # A worker holds a block while it is computed; this process holds answers ahead of their turn, each half of that at
    # most: of a draw of P targets 16 + 8 P bytes, of a point 32 and 4 for each letter of the target.
    blocks_each = 1 + MOST_AHEAD / 2
    return execution.most_workers(num_blocks, bytes_per_worker=BYTES_PER_WORKER + blocks_each * (draws + points))


def answers_in_order(
    model: TrainedModel,
    questions: Questions,
    blocks: Iterable[Block],
    run_path: Path,
    run_hash: str,
    *,
    workers: int,
) -> Generator[Answer, None, None]:
    """Yield the answers to blocks, in their order; workers answer the next ones meanwhile.

    Args:
        model: that of the run.
        questions: what is asked.
        blocks: taken when they are about to be answered.
        run_path: the run, from which workers load the model.
        run_hash: its hash.
        workers: the number of processes; 1 is this one.

    Raises:
        CdeError: as `answer`; or the run has changed, or a worker has died again and again.
    """
    if workers == 1:
        for block in blocks:
            yield answer(model, questions, block)
        return
    with Execution("processes", num_workers=workers).open(workers, bytes_per_worker=BYTES_PER_WORKER) as executor:
        executor.import_early(__name__)
        max_memory = share(workers + 1)  # this process holds answers, too
        units = (Answering(block, questions, run_path.absolute(), run_hash, max_memory) for block in blocks)
        with closing(executor.run_in_order(units)) as answers:
            yield from answers


def bytes_of_draws(num_rows: int, num_targets: int) -> int:
    """Return the memory of one draw of each row [bytes]."""
    return BYTES_PER_DRAW * num_rows * num_targets


def bytes_of_point(num_rows: int, num_components: int) -> int:
    """Return the memory of one point of a target [bytes]."""
    return BYTES_PER_POINT * num_rows + BYTES_PER_COMPONENT * num_components


def num_points(points: Mapping[str, Array]) -> int:
    """Return the number of points of all targets."""
    return sum(len(values) for values in points.values())


def check_room_for_draws(num_samples: int, num_rows: int, num_targets: int) -> None:
    """Check that the draws of a block of rows fit into the memory.

    Raises:
        UsageError: they do not.
    """
    bytes_each = bytes_of_draws(num_rows, num_targets)
    if num_samples * bytes_each > (room := available_bytes()):
        raise UsageError(
            f"--samples: expected at most {room // bytes_each}, for which there is memory; got {num_samples}. "
            f"Lower it, predict fewer rows at a time, or {how_to_have_more()}."
        )


def check_room_for_points(points: Mapping[str, Array], num_rows: int, num_components: int) -> None:
    """Check that the densities of a block of rows at the points of each target fit into the memory.

    Raises:
        UsageError: they do not.
    """
    bytes_each, number = bytes_of_point(num_rows, num_components), num_points(points)
    if number * bytes_each > (room := available_bytes()):
        raise UsageError(
            f"--grid, --at: expected at most {room // bytes_each} points of all targets, for which there is memory; "
            f"got {number}. Lower it, predict fewer rows at a time, or {how_to_have_more()}."
        )


def seed_of_block(seed: int, values: Array) -> int:
    """Return the seed of the draws of a block of rows.

    A draw depends on the seed of the run, on the row's position and on the inputs of its block. The same rows have the
    same draws wherever they are predicted, and two partitions of a table, whose positions are the same, have
    independent ones.

    Args:
        seed: of the prediction.
        values: [N, inputs], as `input_values` reads them, before any arithmetic that machines may round differently.
    """
    content = hashlib.blake2b(fingerprint_rows(values).astype("<u8").tobytes(), digest_size=8).digest()
    return seed << 64 | int.from_bytes(content, "little")
