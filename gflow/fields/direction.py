"""The one converter between path time and sampling time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from gflow.estimate import Estimate
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

    def jacobian_lipschitz(self, s: Time, /) -> Estimate:
        """The Lipschitz constant of the field's Jacobian at T - s.

        Raises:
            TypeError: the field has no ``jacobian_lipschitz``.
        """
        constant: Estimate = method_of(self.velocity, "jacobian_lipschitz", "field")(self.T - s)
        return constant

    def ball_log_norm(
        self, s: Time, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``log_norm(direction * Db_s)`` on each ball: the field's own, turned round (W2B-2).

        Raises:
            TypeError: the field has no ``ball_log_norm``.
        """
        bound: Tensor = method_of(self.velocity, "ball_log_norm", "field")(
            self.T - s, centres, radii, direction=-direction
        )
        return bound

    def _jacobian(self, s: Time, x: Tensor, /) -> Tensor:
        inner: Tensor = self.velocity.jacobian(self.T - s, x)  # type: ignore[attr-defined]  # set only when it exists
        return -inner


def reverse(field: VelocityField[Tensor], T: float) -> Reversed:
    """The field in sampling time, ``b_s(x) = -field(T - s, x)`` with s from 0.

    ``T`` is the path time of the noise for VP and VE; applied twice with the same T it gives the
    field back. The result has a ``jacobian`` exactly when the field has one.
    """
    return Reversed(field, T)


def method_of(owner: object, name: str, role: str) -> Callable[..., Any]:
    """The method of a field that is built on another one; ``role`` names the other one in the message.

    Raises:
        TypeError: the owner has no such method.
    """
    if not hasattr(owner, name):
        raise TypeError(f"{name}: the {role} must have a method {name}, got {type(owner).__name__}")
    method: Callable[..., Any] = getattr(owner, name)
    return method
