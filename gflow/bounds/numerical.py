"""A numerical solution beside the exact flow of its field: the pair that a discretization term climbs along."""

from __future__ import annotations

import bisect
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

from gflow.ode import DOPRI5, ExplicitRK, PIController, solve_ivp
from gflow.ode.interpolation import DenseOutput
from gflow.velocity import VelocityField


class NumericalPair:
    """The numerical solution u and the exact flow y, solved from one node of u to the next.

    An interpolant of y at the nodes of u would bring its own error, of alternating sign: the lengths
    of the increments of u - y add up, and so would that error, to a floor that no step of u lowers.
    """

    def __init__(
        self, g: VelocityField[Tensor], y: Float[Tensor, "n d"], u: DenseOutput, tol: float, max_steps: int
    ) -> None:
        steps = _FirstWhole(rtol=tol, atol=tol)
        self.u, self.shape = u, y.shape
        self.cells: list[DenseOutput] = []
        for a, b in pairwise(u.ts):
            cell = solve_ivp(g, y, a, b, method=ExplicitRK(DOPRI5), controller=steps, dense=True, max_steps=max_steps)
            assert cell.dense is not None
            self.cells.append(cell.dense)
            y = cell.y1
        self.grid = (u.ts[0], *(s for cell in self.cells for s in cell.ts[1:]))

    def __call__(self, s: float) -> tuple[Tensor, Tensor, Tensor]:
        """(u, y, u') at s."""
        cell = self.cells[min(bisect.bisect_right(self.u.ts, s), len(self.cells)) - 1]
        value, slope = self.u.at(s)
        return value.reshape(self.shape), cell.at(s)[0].reshape(self.shape), slope.reshape(self.shape)


class _FirstWhole(PIController):
    """Tries the whole interval first: right where an interval is one step of another solver."""

    def first_step(self, y: Float[Tensor, " size"], slope: Float[Tensor, " size"], span: float, /) -> float:  # noqa: ARG002
        """``span``."""
        return span
