"""Where an integration stands after a step: what observers see, and what a run goes on from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from gflow.ode.method import NOTHING, Carry
from gflow.ode.result import Stats
from gflow.state import State

S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class StepRecord(Generic[S]):
    """All that the rest of an integration depends on, beside the field, the method and the controller."""

    k: int
    """Accepted steps so far; the next step sees ``at_step(k)``."""
    t: float
    y: S
    """The state at ``t``; views of one tensor that the solver does not write to again."""
    h: float
    """Size of the next attempt, positive."""
    carry: Carry = NOTHING
    """What the last step leaves to the next one."""
    memory: float = 1.0
    """Memory of the controller."""
    grid: tuple[float, int, float] = (0.0, 0, 0.0)
    """Origin, its step count and h of the running grid of equal steps, so that times go on to the last bit."""
    stats: Stats = Stats()
