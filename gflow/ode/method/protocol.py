"""What a one-step method is: a proposal for the next state, with what the solver needs to judge it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from gflow.state import Layout


@dataclass(frozen=True)
class FlatField:
    """v(t, y) on the flat state (size,), as the solver hands it to a method."""

    layout: Layout
    """Which part of the flat state is which tensor."""
    v: Callable[[float, Any], Any]
    """The field on structured states."""
    room: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Tensors that a method writes to again at each step of a solve, so as not to make them anew."""

    def __call__(self, t: float, y: Tensor, /) -> Tensor:
        """The velocity (size,), checked against the layout."""
        velocity = self.v(t, self.layout.unflatten(y))
        if self.layout.is_plain(velocity):
            return velocity.reshape(-1)
        return self.layout.flatten(velocity, what=f"velocity at t = {t:.6g}")


@dataclass(frozen=True)
class Carry:
    """What a step leaves to the next one, or a rejected step to its retry."""

    slope: Tensor | None = None
    """v(t, y) where the next step starts, if it is known. Dropped where the field changes with the step."""
    memory: Tensor | None = None
    """What the method itself remembers, (size,); None before its first step."""


NOTHING = Carry()
"""The carry of a first step."""


@dataclass(frozen=True)
class StepResult:
    """What one step proposes."""

    y: Tensor
    """Candidate state at t + h, (size,)."""
    error: Tensor | None
    """Estimate of the local error, (size,), or None."""
    slope: Tensor | None
    """v(t, y) at the start of the step, or None where a derivative has no meaning; the next step may write to it."""
    carry: Carry
    """For the next step; its slope is v(t + h, y1) where the method has it already (FSAL)."""
    evaluations: int
    """Evaluations of the field that this step spent; products with its Jacobian count as one each."""
    failure: str = ""
    """Why the step could not be taken, such as an implicit equation that was not solved; empty on success."""
    extension: Callable[[], Tensor] | None = None
    """Coefficients (degree, size) of the continuous extension y + sum_j x^(j+1) q_j; called for dense output only,
    before the next step."""


@runtime_checkable
class Method(Protocol):
    """A one-step method on flat states."""

    @property
    def order(self) -> int:
        """Order of convergence of the solution that is advanced."""
        ...

    @property
    def error_order(self) -> int | None:
        """Order of the embedded solution behind the error estimate, or None."""
        ...

    def step(self, v: FlatField, t: float, h: float, y: Tensor, carry: Carry, /) -> StepResult:
        """One step from (t, y) to t + h."""
        ...
