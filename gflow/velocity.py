"""What every flow is: a velocity field ``v(t, y)``. Knows no solver and no measure."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

from gflow.state import State

Time = float | Tensor
"""A Python float (what the solver passes), or a 0-d tensor (to differentiate in time)."""

S = TypeVar("S", bound=State)


@runtime_checkable
class VelocityField(Protocol[S]):
    """The right-hand side of ``dy/dt = v(t, y)``.

    Pure and deterministic; the result has the structure, shapes, dtype and device of ``y``;
    written with ``torch`` operations that ``torch.func`` can differentiate. gflow passes ``t`` as a
    Python float; library fields also accept a 0-d tensor.
    """

    def __call__(self, t: Time, y: S, /) -> S:
        """The velocity at time ``t`` in state ``y``."""
        ...


@runtime_checkable
class DifferentiableField(Protocol):
    """A field on particles (n, d) that knows its spatial Jacobian in closed form."""

    def __call__(self, t: Time, y: Tensor, /) -> Tensor:
        """The velocity (n, d)."""
        ...

    def jacobian(self, t: Time, y: Tensor, /) -> Tensor:
        """The Jacobian of each row, (n, d, d), ``[i, a, b] = d v(t, y)[i, a] / d y[i, b]``."""
        ...


@runtime_checkable
class StepwiseField(Protocol[S]):
    """A field that changes from step to step, such as a minibatch gradient.

    All stages and all rejected retries of step ``k`` see the same field ``at_step(k)``.
    """

    def at_step(self, k: int, /) -> VelocityField[S]:
        """The field of step ``k``."""
        ...
