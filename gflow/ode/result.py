"""How an integration ended, and what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Result(Enum):
    """The verdict; each value is the message, with the remedy."""

    SUCCESS = "the integration reached t1"
    """The end time was reached."""
    MAX_STEPS = "the step cap was reached before t1: raise max_steps or loosen the tolerance"
    """``max_steps`` steps were tried."""
    STEP_UNDERFLOW = (
        "the step fell below the spacing of floating-point times: the field is too stiff or singular for this "
        "tolerance; loosen rtol and atol, or stop earlier"
    )
    """The controller asked for a step that does not change the time."""
    NON_FINITE = "the state became NaN or infinite: take a smaller step, or check the field where it is named"
    """A step left the floating-point numbers."""
    STALLED = (
        "a step was rejected again and again although it got shorter: the error estimate does not fall with the step, "
        "as for a noisy or discontinuous field; smooth it, loosen rtol and atol, or use ConstantStep"
    )
    """Fifty rejections in a row."""
    UNSOLVED = "a step's implicit equation was not solved: take a smaller step, or give the method more iterations"
    """The method's own status, with how far it came."""
    STOPPED = "stop_when held, and the integration ended there"
    """Not a failure."""

    @property
    def ok(self) -> bool:
        """Whether the solution is what was asked for: all of the interval, or up to ``stop_when``."""
        return self in (Result.SUCCESS, Result.STOPPED)


@dataclass(frozen=True)
class Stats:
    """What an integration cost."""

    evaluations: int = 0
    """Evaluations of the field, those of rejected steps and of the first-step guess included."""
    accepted: int = 0
    """Steps taken."""
    rejected: int = 0
    """Steps tried again smaller."""
    smallest_step: float = math.inf
    """Smallest accepted step."""
    coupling: float | None = None
    """Largest ratio, over the accepted steps, of the worst particle's scaled error to that of the batch; None where
    the controller does not look at particles. At 1 no particle is held back by another."""


@dataclass
class Tally:
    """``Stats`` in the making, counted in place: a frozen value for each count would cost as much as Euler's step."""

    evaluations: int
    accepted: int
    rejected: int
    smallest_step: float
    coupling: float | None

    @classmethod
    def of(cls, stats: Stats) -> Tally:
        """Go on from there."""
        return cls(**vars(stats))

    @property
    def tried(self) -> int:
        """Steps accepted and rejected."""
        return self.accepted + self.rejected

    def accept(self, h: float, coupling: float | None) -> None:
        """Count an accepted step of size ``h``."""
        self.accepted += 1
        self.smallest_step = min(self.smallest_step, h)
        if coupling is not None:
            self.coupling = max(coupling, self.coupling or 0.0)

    def stats(self) -> Stats:
        """The count so far."""
        return Stats(**vars(self))


class SolveError(RuntimeError):
    """An integration that failed; ``solution`` holds what was computed until then."""

    def __init__(self, message: str, solution: Any) -> None:
        super().__init__(message)
        self.solution = solution

    def __reduce__(self) -> tuple[type[SolveError], tuple[str, Any]]:
        """Both arguments, so that the error survives the way back from a worker process."""
        return type(self), (str(self), self.solution)
