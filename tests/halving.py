"""Ends of solves with constant steps, fine references, and orders by halving the step: for tests of fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from gflow.ode import DOPRI5, ButcherTableau, ConstantStep, ExplicitRK, solve_ivp
from gflow.state import Layout, State
from gflow.velocity import VelocityField

S = TypeVar("S", bound=State)


def end(v: VelocityField[S], y0: S, t1: float, tableau: ButcherTableau, steps: int) -> S:
    """The state at t1 after equal steps from 0."""
    return solve_ivp(v, y0, 0.0, t1, method=ExplicitRK(tableau), controller=ConstantStep(abs(t1) / steps)).y1


def fine(v: VelocityField[S], y0: S, t1: float, steps: int) -> S:
    """A reference for ends at t1: order 5, on steps small enough for what it judges."""
    return end(v, y0, t1, DOPRI5, steps)


def gap(a: State, b: State) -> float:
    """The largest difference between entries."""
    layout = Layout.of(a)
    return float((layout.flatten(a) - layout.flatten(b)).abs().max())


def orders(error: Callable[[int], float], steps: Sequence[int]) -> list[float]:
    """log-log slopes of the error between successive numbers of steps."""
    found = [(n, error(n)) for n in steps]
    assert min(e for _, e in found) > 1e-10  # above the reference and round-off, or a slope means nothing
    return [math.log(e0 / e1) / math.log(n1 / n0) for (n0, e0), (n1, e1) in pairwise(found)]
