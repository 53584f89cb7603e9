"""MonoFlow leaves the Gaussian family (MONO-4): cumulants of a law that starts normal, on the way to a normal law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from gflow.fields import FiniteVolumeFlow, Grid
from gflow.ratio import GeneratorLoss, generator_loss
from studies.wasserstein_flow.config import Case, Config
from studies.wasserstein_flow.line import F64, box, laws, normal

if TYPE_CHECKING:
    from gflow.study import Context

HORIZON = 3.0
_WALL = 6.0  # distance of the walls from the nearer mean
_TIMES = 49
_NODES = 80  # of Gauss-Hermite quadrature


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: rates of mean, variance and third cumulant at the start, two ways, and cumulants over time."""
    loss, shift = generator_loss(case.problem), config.shift
    fine, coarse = (_rates_on_cells(_flow(loss, shift, n)) for n in (config.cells, config.cells // 2))
    flow = _flow(loss, shift, config.cells // 2)
    times = torch.linspace(0.0, HORIZON, _TIMES, dtype=F64)
    masses = laws(flow, flow.grid.masses(normal(0.0, 1.0).log_prob), times.tolist())
    mean, variance, third = (torch.stack(c) for c in zip(*(_cumulants(flow.grid, m) for m in masses), strict=True))
    skewness = third / variance**1.5
    peak = int(skewness.abs().argmax())
    return {
        # The error on cells is of order 2 in their width: two widths give order 4.
        "cells": ((4.0 * fine - coarse) / 3.0).tolist(),
        "cells_once": fine.tolist(),
        "exact": _exact_rates(loss, shift),
        "width": float(flow.grid.widths[0]),
        "skewness": float(skewness[peak]),
        "at": float(times[peak]),
        "end": [float(mean[-1]), float(variance[-1]), float(skewness[-1])],
        "arrays": context.save_arrays("family", t=times, mean=mean, variance=variance, skewness=skewness),
    }


def _flow(loss: GeneratorLoss, shift: float, cells: int) -> FiniteVolumeFlow:
    """The flow towards N(shift, 1)."""
    return FiniteVolumeFlow(box(-_WALL, shift + _WALL, cells), normal(shift, 1.0).log_prob, loss)


def _rates_on_cells(flow: FiniteVolumeFlow) -> Float[Tensor, " 3"]:
    """Rates of the first three cumulants at N(0, 1), from the rate of every mass."""
    x, v = flow.grid.centres[:, 0], flow(0.0, flow.grid.masses(normal(0.0, 1.0).log_prob))
    mean, second, third = (v @ x**k for k in (1, 2, 3))
    # At mean 0 and variance 1, dk2 = dE x^2 and dk3 = dE x^3 - 3 dmean.
    return torch.stack((mean, second, third - 3.0 * mean))


def _exact_rates(loss: GeneratorLoss, m: float) -> list[float]:
    """``m E h'``, ``2 m^2 E h''`` and ``3 m E (z^2 - 1) h'`` at d = m z - m^2/2, by quadrature (MONO-4)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    z, w = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    d = m * z - m * m / 2.0
    slope, curvature = loss.h_prime(d), jvp(loss.h_prime, (d,), (torch.ones_like(d),))[1]
    rates = (m * slope, 2.0 * m * m * curvature, 3.0 * m * (z * z - 1.0) * slope)
    return [float(w @ rate) for rate in rates]


def _cumulants(grid: Grid, masses: Float[Tensor, " cells"]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and third cumulant of a law."""
    x = grid.centres[:, 0]
    mean = masses @ x
    return mean, masses @ (x - mean) ** 2, masses @ (x - mean) ** 3
