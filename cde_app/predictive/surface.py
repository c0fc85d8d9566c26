"""Functions of the inner layers' noise, interpolated between some of a row's nodes by polynomials.

Letters: N rows, C nodes, Q inner GPs, G GPs of a term, R anchors, K checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import combinations_with_replacement
from math import comb

import numpy as np

from cde_app.arrays import Array, IndexArray

MOST_TERMS = 21
"""R at most: all quadratic terms of the five inner GPs of a default model."""
HIGHEST_DEGREE = 5
NUM_CHECKS = 4
"""K: where the terms of the next degree are worst."""
WORTHWHILE = 0.5
"""Polynomials are used if R + K is at most this share of C; so is a plane, compared with the R + K of the other one."""
TOLERANCE = 1e-2
"""The largest error at a check, relative to the component's standard deviation (means) or variance (variances)."""


@dataclass(frozen=True)
class Surface:
    """Polynomials in Q noise coordinates through some of the C nodes, the simplest first."""

    places: IndexArray
    """Nodes: a polynomial of R terms goes through the first R of them, and the next K check it."""
    weights: tuple[Array, ...]
    """[C, R] for each polynomial: its values at all nodes are these times those at its anchors."""

    def moments(
        self, evaluate: Callable[[Array], tuple[Array, Array]], points: Array, rest: Array
    ) -> tuple[Array, Array]:
        """Return the means and variances of GPs at all nodes.

        A row has those of the first polynomial that is accurate at its checks; if none is, they are evaluated.

        Args:
            evaluate: returns the moments at points, [n, c, D] to two [n, c, G].
            points: the nodes of every row, [N, C, D], of which the moments are smooth functions.
            rest: variances that are added to those of the GPs, [N or 1, 1 or C, G] or [1].

        Returns:
            Two [N, C, G].
        """
        rows, seen = np.arange(len(points)), 0
        known = np.stack(evaluate(points[:, :0]))  # [2, n, places seen, G]
        found = np.empty((*known.shape[:2], points.shape[1], known.shape[3]))
        rest = np.broadcast_to(rest, found.shape[1:])
        for weights in self.weights:
            num_anchors = weights.shape[1]
            used = self.places[: num_anchors + NUM_CHECKS]
            new = np.stack(evaluate(points[rows[:, None], used[seen:]]))
            known, seen = np.concatenate([known, new], axis=2), len(used)
            values = np.matmul(weights, known[:, :, :num_anchors])
            np.maximum(values[1], 0.0, out=values[1])
            found[:, rows] = values
            checks = used[num_anchors:]
            errors = values[:, :, checks] - known[:, :, num_anchors:]
            total = values[1][:, checks] + rest[rows[:, None], checks]
            is_off = (errors[0] ** 2 > TOLERANCE**2 * total) | (np.abs(errors[1]) > TOLERANCE * total)
            off = np.flatnonzero(is_off.any(axis=(1, 2)))
            rows, known = rows[off], known[:, off]
            if not len(rows):
                return found[0], found[1]
        found[:, rows] = evaluate(points[rows])
        return found[0], found[1]


def surface_through(noise: Array) -> Surface | None:
    """Choose the polynomial of the highest degree with at most `MOST_TERMS` terms, a plane, and their nodes.

    Degree by degree, anchors are chosen where that which lower degrees leave of the terms is largest and most
    different, by a QR factorisation with pivots of these remainders at the nodes. (Sommariva and Vianello 2009,
    "Computing approximate Fekete points by QR factorizations of Vandermonde matrices", take all terms at once.) The
    first anchors of a degree are thus the best checks of the polynomial below it.

    Args:
        noise: [C, Q], standard normal.

    Returns:
        None if polynomials save no time.
    """
    num_nodes, dim = noise.shape
    if dim == 0 or dim + 1 > MOST_TERMS:
        return None
    sizes = [comb(dim + degree, degree) for degree in range(HIGHEST_DEGREE + 1)]
    highest = max(degree for degree, size in enumerate(sizes) if size <= MOST_TERMS)
    if sizes[highest] + NUM_CHECKS > WORTHWHILE * num_nodes:
        return None
    has_plane = sizes[1] + NUM_CHECKS <= WORTHWHILE * (sizes[highest] + NUM_CHECKS)
    terms, weights, places = np.empty((num_nodes, 0)), np.empty((num_nodes, 0)), np.empty(0, np.intp)
    polynomials = []
    for degree in range(highest + 1):
        own = _terms(noise, degree)
        places = np.concatenate([places, _pivots(own - weights @ own[places], own.shape[1])])
        terms = np.concatenate([terms, own], axis=1)
        weights = np.linalg.lstsq(terms[places].T, terms.T, rcond=None)[0].T
        if degree == highest or (degree == 1 and has_plane):
            polynomials.append(weights)
    next_degrees = range(highest + 1, highest + 1 + (NUM_CHECKS if dim == 1 else 1))  # one coordinate: a term each
    beyond = np.concatenate([_terms(noise, degree) for degree in next_degrees], axis=1)
    checks = _pivots(beyond - weights @ beyond[places], NUM_CHECKS)
    return Surface(np.concatenate([places, checks]), tuple(polynomials))


def _terms(noise: Array, degree: int) -> Array:
    """Return all products of a number of coordinates, [C, terms]."""
    ones = np.ones(len(noise))
    products = combinations_with_replacement(noise.T, degree)
    return np.stack([reduce(np.multiply, product, ones) for product in products], axis=1)


def _pivots(rows: Array, count: int) -> IndexArray:
    """Choose rows, each time the one with the largest part orthogonal to those before; [C, T] to [count or less]."""
    rest, chosen = rows.copy(), []
    smallest = 1e-10 * np.einsum("ct,ct->c", rest, rest).max(initial=0.0)
    for _ in range(count):
        sizes = np.einsum("ct,ct->c", rest, rest)
        best = int(np.argmax(sizes))
        if sizes[best] <= smallest:
            break
        chosen.append(best)
        direction = rest[best] / np.sqrt(sizes[best])
        rest -= np.outer(rest @ direction, direction)
    return np.array(chosen, dtype=np.intp)
