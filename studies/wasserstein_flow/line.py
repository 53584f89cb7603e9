"""Flows of laws on the line, by finite volumes: the box, the solve and its times."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.fields import FiniteVolumeFlow, Grid
from gflow.ode import BOSH3, ExplicitRK, PIController, Solution, solve_ivp
from gflow.problems import Gaussian
from gflow.velocity import Time

F64 = torch.float64
# Of log-masses, hence relative: laws come out to 1e-7, far below the error of the cells.
_TOLERANCE = 1e-6


def box(low: float, high: float, cells: int) -> Grid:
    """An interval in equal cells, float64."""
    return Grid(torch.tensor([low], dtype=F64), torch.tensor([high], dtype=F64), (cells,))


def normal(mean: float, variance: float) -> Gaussian:
    """A normal law on the line, float64."""
    return Gaussian(torch.tensor([mean], dtype=F64), torch.tensor([[variance]], dtype=F64))


def laws(
    flow: FiniteVolumeFlow, start: Float[Tensor, " cells"], times: Sequence[float]
) -> Float[Tensor, "times cells"]:
    """The masses at increasing times, the first of them 0.

    The state is the logarithm of the masses: they stay positive in every stage, and the far tails, where the
    log-ratio is largest, are as accurate as the middle.
    """
    found = _solve(flow, start, times[-1], throw=True)
    return torch.stack([found.interpolate(t).softmax(0) for t in times])


def reach(flow: FiniteVolumeFlow, start: Float[Tensor, " cells"], end: float) -> float:
    """The time up to which the flow can be followed, at most ``end``: an ill-posed one asks for steps of size 0."""
    return _solve(flow, start, end, throw=False).ts[-1]


def _solve(flow: FiniteVolumeFlow, start: Float[Tensor, " cells"], end: float, *, throw: bool) -> Solution[Tensor]:
    """The logarithms of the masses from 0 to ``end``, with dense output."""

    def of_logarithms(t: Time, u: Tensor) -> Tensor:
        masses = u.exp()
        return flow(t, masses) / masses

    # No relative tolerance: that of a logarithm means nothing.
    control = PIController(rtol=1e-14, atol=_TOLERANCE)
    method = ExplicitRK(BOSH3)
    return solve_ivp(of_logarithms, start.log(), 0.0, end, method=method, controller=control, dense=True, throw=throw)
