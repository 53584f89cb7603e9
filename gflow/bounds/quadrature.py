"""Composite Gauss quadrature in time that also integrates to the end: what a Gronwall bound needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_NODES = 8


@dataclass(frozen=True)
class Panels:
    """Gauss-Legendre panels on [s0, s1], 8 nodes each: spectral order for smooth integrands.

    Raises:
        ValueError: fewer than two edges, or edges that do not increase.
    """

    edges: tuple[float, ...]
    """Ends of the panels, increasing."""

    def __post_init__(self) -> None:
        """Check the edges."""
        if len(self.edges) < 2 or any(not a < b < math.inf for a, b in pairwise(self.edges)):
            raise ValueError(f"Panels: edges must increase and be at least 2, got {self.edges}")

    @classmethod
    def uniform(cls, s0: float, s1: float, panels: int) -> Panels:
        """Panels of equal length.

        Raises:
            ValueError: ``s1 <= s0`` or ``panels < 1``.
        """
        _check_span(s0, s1, panels, 1)
        return cls(tuple(float(s) for s in np.linspace(s0, s1, panels + 1)))

    @classmethod
    def graded(cls, s0: float, s1: float, panels: int, *, last: float) -> Panels:
        """Panels whose distance to ``s1`` shrinks geometrically to ``last``: for fields stiff at the data end.

        Raises:
            ValueError: ``s1 <= s0``, ``panels < 2``, or ``last`` outside (0, s1 - s0).
        """
        _check_span(s0, s1, panels, 2)
        if not 0 < last < s1 - s0:
            raise ValueError(f"last: must lie in (0, s1 - s0 = {s1 - s0}), got {last}")
        ratio = (last / (s1 - s0)) ** (1.0 / (panels - 1))
        return cls((*(float(s1 - (s1 - s0) * ratio**k) for k in range(panels)), s1))

    @property
    def nodes(self) -> Array:
        """All nodes in order, (panels * 8,)."""
        theta, _, _ = gauss_rule(_NODES)
        return np.concatenate([a + (b - a) * theta for a, b in self._spans()])

    @property
    def weights(self) -> Array:
        """Weights of the nodes."""
        _, weight, _ = gauss_rule(_NODES)
        return np.concatenate([(b - a) * weight for a, b in self._spans()])

    def tail(self, values: Array) -> Array:
        """Integral from each node to s1 of the function with these values at the nodes."""
        _, weight, to_end = gauss_rule(_NODES)
        parts = np.asarray(values, dtype=np.float64).reshape(len(self.edges) - 1, _NODES)
        lengths = np.diff(self.edges)[:, None]
        whole = (parts * weight).sum(1) * lengths[:, 0]
        later = np.concatenate([np.cumsum(whole[::-1])[::-1][1:], [0.0]])
        result: Array = (later[:, None] + lengths * (parts @ to_end.T)).reshape(-1)
        return result

    def integral(self, values: Array) -> float:
        """Integral over [s0, s1]."""
        return float(np.dot(self.weights, values))

    def map(self, function: Callable[[float], float]) -> Array:
        """Values of a scalar function at the nodes."""
        return np.array([function(float(s)) for s in self.nodes])

    def _spans(self) -> Sequence[tuple[float, float]]:
        return list(pairwise(self.edges))


def _check_span(s0: float, s1: float, panels: int, least: int) -> None:
    if not s1 > s0:
        raise ValueError(f"s1: must be larger than s0 = {s0}, got {s1}")
    if panels < least:
        raise ValueError(f"panels: needs at least {least}, got {panels}")


@lru_cache(maxsize=8)
def gauss_rule(count: int) -> tuple[Array, Array, Array]:
    """Gauss-Legendre nodes, weights on [0, 1], and the matrix of int_{node}^1 on the interpolant through the nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2, to_end(count, (nodes + 1) / 2)


def to_end(count: int, starts: Array) -> Array:
    """Row i: int_{starts[i]}^1 of the interpolant through ``count`` Gauss nodes, from its values there."""
    nodes, _ = np.polynomial.legendre.leggauss(count)
    series = np.linalg.inv(np.polynomial.legendre.legvander(nodes, count - 1))
    matrix = np.empty((len(starts), count))
    for j in range(count):
        primitive = np.polynomial.legendre.legint(series[:, j])
        at = np.polynomial.legendre.legval
        matrix[:, j] = (at(1.0, primitive) - at(2 * starts - 1, primitive)) / 2
    return matrix


def last_coefficient(count: int) -> Array:
    """The last Legendre coefficient of the interpolant through ``count`` Gauss nodes, from its values there."""
    nodes, _ = np.polynomial.legendre.leggauss(count)
    row: Array = np.linalg.inv(np.polynomial.legendre.legvander(nodes, count - 1))[-1]
    return row
