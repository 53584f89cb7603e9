"""Fields of torchdiffeq here, and gflow's fields under ``torchdiffeq.odeint`` as the reference solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode.method import FlatField
from gflow.state import Layout, State
from gflow.velocity import Time, VelocityField


def from_torchdiffeq(func: Callable[[Tensor, Tensor], Tensor]) -> VelocityField[Tensor]:
    """A torchdiffeq field ``func(t, y)`` as a field of gflow: it gets t as a 0-d float64 tensor on the device of y."""

    def field(t: Time, y: Tensor, /) -> Tensor:
        return func(torch.as_tensor(t, dtype=torch.float64, device=y.device), y)

    return field


@dataclass(frozen=True)
class ForTorchdiffeq:
    """A field of gflow as ``odeint(this, this.y0, ts)`` takes it; made by ``for_torchdiffeq``."""

    field: FlatField
    y0: Float[Tensor, " size"]
    """The initial state, flat."""

    def __call__(self, t: Tensor, y: Float[Tensor, " size"], /) -> Float[Tensor, " size"]:
        """The velocity at the 0-d tensor ``t``."""
        return self.field(float(t), y)

    def state(self, ys: Float[Tensor, "T size"]) -> State:
        """What ``odeint`` returned, in the structure of the state with a leading time axis."""
        return self.field.layout.unflatten(ys)


def for_torchdiffeq(v: VelocityField[State], y0: State) -> ForTorchdiffeq:
    """Any field of gflow and its initial state for ``torchdiffeq.odeint``: an independent reference for ``solve_ivp``.

    Raises:
        ValueError: an empty state, mixed dtypes or devices.
        TypeError: something that is no state.
    """
    layout = Layout.of(y0, what="y0")
    return ForTorchdiffeq(FlatField(layout, v), layout.flatten(y0, what="y0"))
