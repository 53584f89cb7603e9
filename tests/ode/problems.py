"""What the tests of gflow.ode share: tableaux, a nonlinear problem with a known solution, counting fields."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gflow.ode import (
    BOSH3,
    DOPRI5,
    EULER,
    EXTRAGRADIENT,
    HEUN,
    HEUN_EULER,
    MIDPOINT,
    RK4,
    RK4_38,
    TSIT5,
)

TABLEAUX = [EULER, MIDPOINT, HEUN, EXTRAGRADIENT, RK4, RK4_38, HEUN_EULER, BOSH3, DOPRI5, TSIT5]
EMBEDDED = [HEUN_EULER, BOSH3, DOPRI5, TSIT5]
CONTINUOUS = [DOPRI5, TSIT5]


def named(tableaux):
    """Parametrization ids."""
    return {"argvalues": tableaux, "ids": [tableau.name for tableau in tableaux]}


def limit_cycle(t: float, y: Tensor) -> Tensor:
    """r' = r (1 - r^2), angle' = 1 + cos t, in Cartesian coordinates (n, 2): nonlinear and time-dependent."""
    radius = 1 - (y**2).sum(-1, keepdim=True)
    turned = torch.stack((-y[..., 1], y[..., 0]), -1)
    return y * radius + (1 + math.cos(t)) * turned


def limit_cycle_exact(y0: Tensor, t0: float, t1: float) -> Tensor:
    """The solution of ``limit_cycle`` at t1 from y0 at t0."""
    r0 = (y0**2).sum(-1, keepdim=True)
    r1 = 1 / (1 + (1 / r0 - 1) * math.exp(-2 * (t1 - t0)))
    angle = t1 - t0 + math.sin(t1) - math.sin(t0)
    turned = torch.stack((-y0[..., 1], y0[..., 0]), -1)
    return (r1 / r0).sqrt() * (math.cos(angle) * y0 + math.sin(angle) * turned)


def bilinear(t: float, y: dict[str, Tensor]) -> dict[str, Tensor]:
    """min over theta, max over phi of theta . phi: a centre at 0 (STAB-1)."""
    return {"theta": -y["phi"], "phi": y["theta"]}


def flat_bilinear(t: float, y: Tensor) -> Tensor:
    """The same game on (theta, phi) as one tensor (2,): y' = i y."""
    return torch.stack((-y[1], y[0]))


def start() -> Tensor:
    return torch.tensor([[0.2, 0.0], [0.3, -0.4], [-0.5, 0.4]], dtype=torch.float64)


class Counted:
    """A field that counts its evaluations and notes their times."""

    def __init__(self, v: Callable[[float, Tensor], Tensor]) -> None:
        self.v, self.times = v, []

    def __call__(self, t, y):
        self.times.append(t)
        return self.v(t, y)
