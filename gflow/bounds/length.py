"""The length of a vector over one step of time: what dominates it, from its values at a few nodes. Knows no flow.

The length of a smooth vector has kinks where the vector turns round, and quadrature of the length is
off there by per cents, in either direction. So the vector itself is interpolated, by a polynomial whose
length has an upper bound at every time: on each cell the Bernstein sum of the lengths of its control
points. What the polynomial misses is judged by the last coefficient of its Legendre series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.quadrature import Array, gauss_rule

_INNER = 6  # with fewer the last coefficient misses up to 8 % of a defect of order 3 or 4 on coarse steps
_CELLS = 8  # the control polygon is then at most 1 % longer
_PER_CELL = 3


@dataclass(frozen=True)
class LengthRule:
    """Nodes at which the vector is to be known, and times at which its length is bounded, both on [0, 1]."""

    nodes: Array
    """(p,), both ends among them."""
    times: Array
    """(m,)."""
    weights: Array
    """Of the times, (m,): Gauss weights on cells."""
    control: Array
    """From values at the nodes to Bernstein control points on each cell, (cells, p, p)."""
    basis: Array
    """Bernstein polynomials at the times of a cell, (m / cells, p)."""
    last: Array
    """From values at the nodes to the last Legendre coefficient, (p,)."""

    def majorant(self, values: Float[Tensor, "p n d"]) -> Float[Tensor, "m n"]:
        """At least the length of the polynomial through the values; the length itself where all are multiples >= 0."""
        control, basis = values.new_tensor(self.control), values.new_tensor(self.basis)
        lengths = torch.einsum("cjp,pnd->cjnd", control, values).norm(dim=3)
        majorant: Tensor = (basis @ lengths).flatten(0, 1)
        return majorant

    def unresolved(self, values: Float[Tensor, "p n d"]) -> Float[Tensor, " n"]:
        """Length of the last coefficient: at least the error where the coefficients beyond it halve each time."""
        size: Tensor = torch.einsum("p,pnd->nd", values.new_tensor(self.last), values).norm(dim=1)
        return size


@lru_cache(maxsize=1)
def length_rule() -> LengthRule:
    """The rule for one step: Gauss nodes and the ends, where a solver knows the field already."""
    inner, _, _ = gauss_rule(_INNER)
    nodes = np.concatenate(([0.0], inner, [1.0]))
    degree = len(nodes) - 1
    legendre = np.linalg.inv(_legendre(nodes, degree))
    even = np.linspace(0.0, 1.0, degree + 1)
    starts = np.arange(_CELLS)[:, None]
    to_cells = _legendre((starts + even) / _CELLS, degree) @ legendre
    to_control = np.linalg.inv(_bernstein(even, degree)) @ to_cells
    theta, weight, _ = gauss_rule(_PER_CELL)
    return LengthRule(
        nodes=nodes,
        times=((starts + theta) / _CELLS).ravel(),
        weights=np.tile(weight / _CELLS, _CELLS),
        control=np.asarray(to_control, dtype=np.float64),
        basis=_bernstein(theta, degree),
        last=np.asarray(legendre[-1], dtype=np.float64),
    )


def _legendre(x: Array, degree: int) -> Array:
    """Legendre polynomials of [0, 1], along a last axis."""
    return np.asarray(np.polynomial.legendre.legvander(2 * x - 1, degree), dtype=np.float64)


def _bernstein(x: Array, degree: int) -> Array:
    j = np.arange(degree + 1)
    count = np.array([float(math.comb(degree, k)) for k in range(degree + 1)])
    values: Array = count * x[..., None] ** j * (1 - x[..., None]) ** (degree - j)
    return values
