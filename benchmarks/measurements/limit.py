"""How near the training step comes to what this machine's matrix product can do, and where the step's time goes."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

from cde_app.model.moments import FORMS
from cde_app.training.loop import Trainer
from measurements.models import Sizes, configured, configured_trainer, our_trainer, synthetic_rows
from measurements.processes import Options, in_turn, seconds
from measurements.record import Bar, Comparison, Profile, Record

STEPS = 25
SQUARE = 2048
SINGLE = ", single precision"
REPEATED = 3
"""Products that are clocked together."""
OPERATION = re.compile(r"[^:]+:(\w+)")
"""The profiler's name of an operation; the executor's own events, such as ExecutorState::Process, hold operations."""
HALF = Bar("at least", 0.5)
PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "_FusedMatMul"}
FACTORISATIONS = {"Cholesky", "MatrixTriangularSolve", "MatrixInverse"}
DRAWS = ("Random", "StatelessRandom", "Ndtri")
VARIABLES = ("ReadVariableOp", "Assign", "_ReadVariables")
MOVES = (
    *(
        "Broadcast",
        "Cast",
        "Concat",
        "Const",
        "ExpandDims",
        "Fill",
        "Gather",
        "Identity",
        "MatrixBandPart",
        "MatrixDiag",
    ),
    *("OnesLike", "Pack", "Pad", "Reshape", "Reverse", "Shape", "Slice", "Split", "Squeeze", "StridedSlice"),
    *("TensorArray", "TensorList", "Tile", "Transpose", "Unpack", "ZerosLike", "_MklTranspose"),
)


def measure(options: Options) -> list[Record]:
    """Clock the step of the model of `training_step`, and of the default one, beside dgemm of NumPy and TensorFlow."""
    sizes = Sizes()
    X, Y = synthetic_rows(sizes.num_rows, sizes.num_features, seed=1)
    default = configured_trainer(configured(sizes.num_features, {}, {"warm_start": {"max_steps": 20}}), X, Y)
    steps = {"of_limit": our_trainer(X, Y, sizes), "default": default}
    what = {
        "of_limit": f"the model of training_step (M = {sizes.num_inducing}, {sizes.num_features + 1} inner GPs)",
        "default": f"the default model and objective (K = {default.settings.objective.num_samples})",
    }
    records: list[Record] = []
    for name, trainer in steps.items():
        trainer.advance(STEPS)
        raw = in_turn(
            {
                "step [s]": lambda trainer=trainer: seconds(lambda: trainer.advance(STEPS)) / STEPS,
                **product_rates("dgemm", np.float64),
                **product_rates("sgemm", np.float32),
            },
            options.repeats,
        )
        times = raw["step [s]"]
        limit, single_limit = (
            max(median(rates) for side, rates in raw.items() if kind in side) for kind in ("dgemm", "sgemm")
        )
        flops = matrix_flops(traced_step(trainer), trainer.schedule.batch_size)
        total = sum(flops.values())
        single = sum(count for kind, count in flops.items() if kind.endswith(SINGLE))
        at_limit = (total - single) / limit + single / single_limit
        records += [
            Comparison(
                f"step_{name}",
                f"the step's matrix products, {total / 1e9:.3f} Gflop by their count, in Gflop/s / the fastest dgemm "
                f"of this run, {limit:.3g} Gflop/s; {what[name]}, batch {sizes.batch_size}, all cores",
                [total / 1e9 / time / limit for time in times],
                unit="of dgemm",
                raw=raw,
                bar=HALF if name == "of_limit" else None,
            ),
            Comparison(
                f"step_{name}_by_precision",
                f"the time of the step's matrix products, each at the fastest of its precision, {limit:.3g} Gflop/s in "
                f"double and {single_limit:.3g} in single, / the step's; {single / 1e9:.3f} Gflop are in single; "
                f"{what[name]}",
                [at_limit / 1e9 / time for time in times],
                unit="of dgemm and sgemm",
                bar=HALF if name == "of_limit" else None,
            ),
            Profile(f"step_{name}_flops", f"operations of {what[name]}", "Mflop per step", scaled(flops, 1e-6)),
            Profile(
                f"step_{name}_time",
                f"thread time of {what[name]}, by TensorFlow's profiler",
                "ms per step",
                profiled(trainer),
            ),
        ]
    return records


def product_rates(name: str, dtype: type[np.floating]) -> dict[str, Callable[[], float]]:
    """Return what clocks products [Gflop/s]: one large, and one of the step's own sizes, by NumPy and by TensorFlow.

    The step stacks the matrices of a layer's GPs, here those of `training_step`. Since a training loop has been built
    in this process, TensorFlow gives a product one thread.
    """
    random, sizes = np.random.default_rng(0), Sizes()
    square = random.standard_normal((SQUARE, SQUARE)).astype(dtype)
    stack = random.standard_normal(((sizes.num_features + 1) * sizes.num_inducing, sizes.num_inducing)).astype(dtype)
    K = random.standard_normal((sizes.num_inducing, sizes.batch_size)).astype(dtype)

    def rate(product: Callable[[Any, Any], Any], left: Any, right: Any) -> float:
        flops = 2 * REPEATED * left.shape[0] * left.shape[1] * right.shape[1]
        return flops / 1e9 / seconds(lambda: np.asarray([product(left, right) for _ in range(REPEATED)][-1]))

    return {
        f"{library} {name} {left.shape} {right.shape} [Gflop/s]": partial(rate, product, convert(left), convert(right))
        for left, right in ((square, square), (stack, K))
        for library, product, convert in (("NumPy", np.matmul, np.asarray), ("TensorFlow", tf.matmul, tf.constant))
    }


def traced_step(trainer: Trainer) -> tf.Graph:
    """Return the graph of one training step, all shapes known."""
    batch_size = trainer.schedule.batch_size
    number = tf.TensorSpec([], tf.float64)
    batch = [tf.TensorSpec([batch_size, part.shape[1]], tf.float64) for part in (trainer.X, trainer.Y)]
    step = tf.function(trainer._one_step, autograph=False).get_concrete_function(
        *batch, tf.TensorSpec([], tf.int64), number
    )
    return step.graph


def matrix_flops(graph: tf.Graph, rows: int) -> dict[str, float]:
    """Count the floating-point operations of a step's matrix products and factorisations, forward and backward.

    Counted are the nodes of the step's own graph, by the usual rules: 2 a b c for [a, b] [b, c], M^3 / 3 for a Cholesky
    factor, M^2 k for a triangular solve with k right-hand sides, 2 M^3 for an inverse; each times the matrices in a
    stack. A product with a triangular or symmetric factor counts as the full one, which is what dgemm does. Everything
    elementwise, exponentials included, counts nothing.

    Args:
        graph: of one step; all shapes known.
        rows: of the batch; a product over a multiple of so many points is one over rows.

    Returns:
        Operations by the shape of the product, those in single precision apart.
    """
    flops: Counter[str] = Counter()
    for node in nodes(graph):
        if node.type in PRODUCTS:
            left, out = node.inputs[0].shape, node.outputs[0].shape
            adjoint = node.get_attr("transpose_a" if node.type == "MatMul" else "adj_x")
            inner = left[-2] if adjoint else left[-1]
            kind = "quadratic forms, M x M x rows" if FORMS in node.name else kind_of([*out[-2:], inner], rows)
            precision = SINGLE if node.outputs[0].dtype == tf.float32 else ""
            flops[kind + precision] += 2.0 * out.num_elements() * inner
        elif node.type == "Einsum":
            flops["products written as einsum"] += einsum_flops(node)
        elif node.type == "Cholesky":
            flops["Cholesky factors and triangular solves"] += (
                node.outputs[0].shape.num_elements() * node.outputs[0].shape[-1] / 3
            )
        elif node.type == "MatrixTriangularSolve":
            flops["Cholesky factors and triangular solves"] += (
                node.outputs[0].shape.num_elements() * node.inputs[0].shape[-1]
            )
        elif node.type == "MatrixInverse":
            flops["inverses"] += 2.0 * node.outputs[0].shape.num_elements() * node.outputs[0].shape[-1]
    return dict(flops)


def nodes(graph: tf.Graph) -> Iterator[tf.Operation]:
    """Yield the operations of a graph and of the functions that it calls."""
    yield from graph.get_operations()
    for function in graph._functions.values():
        inner = getattr(function, "graph", None)
        if inner is not None and any(op.type in PRODUCTS | FACTORISATIONS for op in inner.get_operations()):
            yield from inner.get_operations()


def kind_of(dimensions: list[int], rows: int) -> str:
    """Name a product by its three dimensions."""
    over_rows = [size for size in dimensions if size >= rows and size % rows == 0]
    small = [size for size in dimensions if size < 32]
    if over_rows:
        return "products with few columns: k(Z, X), means, encoder" if small else "whitening, M x M x rows"
    return "products with few columns: k(Z, Z), weights" if small else "M x M x M per GP"


def einsum_flops(node: tf.Operation) -> float:
    """Return 2 times the product of all indices."""
    operands = node.get_attr("equation").decode().partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for letters, operand in zip(operands, node.inputs, strict=True):
        sizes |= dict(zip(letters, operand.shape, strict=True))
    return 2.0 * float(np.prod(list(sizes.values())))


def profiled(trainer: Trainer) -> dict[str, float]:
    """Return the milliseconds of one step by kind of operation, summed over the threads that ran them."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        elapsed = seconds(lambda: trainer.advance(STEPS))
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        for file in Path(folder).rglob("*.xplane.pb"):
            space.MergeFromString(file.read_bytes())
    parts: Counter[str] = Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                if found := OPERATION.fullmatch(plane.event_metadata[event.metadata_id].name):
                    parts[part_of(found[1])] += event.duration_ps / 1e9 / STEPS
    return {**parts, "(wall time, profiler on)": 1e3 * elapsed / STEPS}


def part_of(operation: str) -> str:
    """Return what an operation is for."""
    if operation in PRODUCTS or operation == "Einsum":
        return "matrix products"
    if operation in FACTORISATIONS:
        return "Cholesky factors and triangular solves"
    if operation.startswith(DRAWS):
        return "draws"
    if any(word in operation for word in VARIABLES):
        return "reading and writing variables"
    return "moving and reshaping" if operation.startswith(MOVES) else "elementwise and sums"


def scaled(parts: dict[str, float], factor: float) -> dict[str, float]:
    """Return every part times a factor."""
    return {name: factor * value for name, value in parts.items()}
