"""A sampler as the study integrates it: a field in sampling time, a start, and where the exact flow takes it."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gflow.ode import DOPRI5, ExplicitRK, PIController, solve_ivp
from gflow.velocity import VelocityField

_TIGHT = PIController(rtol=1e-14, atol=1e-14)


@dataclass(frozen=True)
class Sampler:
    """A field in sampling time with its start and where the exact flow takes it."""

    field: VelocityField[Tensor]
    x0: Float[Tensor, "n d"]
    span: float
    exact: Float[Tensor, "n d"]
    steps: tuple[int, ...]
    """Numbers of steps on which its order is measured."""


def tight(field: VelocityField[Tensor], x0: Float[Tensor, "n d"], span: float) -> Float[Tensor, "n d"]:
    """The exact flow, to a few 1e-14 where the field does not amplify: the finest errors measured are 1e-12."""
    return solve_ivp(field, x0, 0.0, span, method=ExplicitRK(DOPRI5), controller=_TIGHT).y1
