"""What an integration returns: the trajectory, its cost and its verdict. Computes no step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from torch import Tensor

from gflow.ode.interpolation import DenseOutput
from gflow.ode.result import Result, Stats
from gflow.state import State

S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Solution(Generic[S]):
    """A trajectory: ``ys`` at ``ts``, and how it was computed."""

    ts: tuple[float, ...]
    """Saved times, from t0 on."""
    ys: S
    """The saved states, stacked along a leading time axis: (T, *shape) for each tensor."""
    stats: Stats
    result: Result
    detail: str = ""
    """What went wrong and where, in words; empty on success."""
    dense: DenseOutput | None = field(default=None, repr=False)

    @property
    def y1(self) -> S:
        """The last saved state."""
        return cast(S, _last(self.ys))

    def interpolate(self, t: float) -> S:
        """The interpolant (``DenseOutput``) at the step that holds ``t``; of a failed solution, where it got to.

        Raises:
            ValueError: the solution was computed without ``dense=True``, or ``t`` lies outside.
        """
        return cast(S, self._dense().state(t))

    def defect(self, t: float) -> S:
        """Derivative of the interpolant minus the field there (W2B-10), in the structure of the state.

        Costs one evaluation, which ``stats`` does not count. Raises like ``interpolate``.
        """
        return cast(S, self._dense().defect(t))

    def _dense(self) -> DenseOutput:
        if self.dense is None:
            raise ValueError("Solution: no dense output; call solve_ivp(..., dense=True)")
        return self.dense


def _last(ys: State) -> State:
    return ys[-1] if isinstance(ys, Tensor) else {key: _last(sub) for key, sub in ys.items()}
