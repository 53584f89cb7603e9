"""The one converter between path time and sampling time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from gflow.velocity import Time, VelocityField


@dataclass(frozen=True)
class Reversed:
    """``b_s(x) = -v(T - s, x)``: the field v run down from T. Made by ``reverse``."""

    velocity: VelocityField[Tensor]
    """The field in its own time."""
    T: float
    """The time of v where s = 0."""
    jacobian: Callable[[Time, Tensor], Tensor] = field(init=False, repr=False, compare=False)
    """``(s, x) -> (n, d, d)``; present exactly when the field has a ``jacobian``."""

    def __post_init__(self) -> None:
        """Pass on the Jacobian if there is one."""
        if hasattr(self.velocity, "jacobian"):
            object.__setattr__(self, "jacobian", self._jacobian)

    def __call__(self, s: Time, x: Tensor, /) -> Tensor:
        """The velocity at sampling time s."""
        return -self.velocity(self.T - s, x)

    def _jacobian(self, s: Time, x: Tensor, /) -> Tensor:
        inner: Tensor = self.velocity.jacobian(self.T - s, x)  # type: ignore[attr-defined]  # set only when it exists
        return -inner


def reverse(field: VelocityField[Tensor], T: float) -> Reversed:
    """The field in sampling time, ``b_s(x) = -field(T - s, x)`` with s from 0.

    ``T`` is the path time of the noise for VP and VE; applied twice with the same T it gives the
    field back. The result has a ``jacobian`` exactly when the field has one.
    """
    return Reversed(field, T)
