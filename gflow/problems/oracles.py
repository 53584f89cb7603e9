"""Closed forms that a solver can be compared with."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from gflow.problems.checks import require_points
from gflow.problems.gaussian import Gaussian
from gflow.problems.path import Path
from gflow.velocity import Time


def gaussian_flow_map(
    data: Gaussian, path: Path, t0: Time, t1: Time, x: Float[Tensor, "n d"], /
) -> Float[Tensor, "n d"]:
    """Where the probability flow takes ``x`` from path time t0 to t1, for Gaussian data and any path.

    ``x_t1 = alpha_1 m + (V_1 V_0^{-1})^{1/2} (x - alpha_0 m)`` with ``V_t = alpha_t^2 C + sigma_t^2 I``:
    the matrices of all times share their axes (ORC-9 of docs/theory). Either direction of time;
    dtype and device are those of the data.

    Raises:
        ValueError: ``x`` not (n, d), or a float time outside the path.
    """
    require_points(x, data.mu)
    start, end = data.at(path, t0), data.at(path, t1)
    offset = (x - start.mu) @ data.axes
    return end.mu + (offset * (end.values / start.values).sqrt()) @ data.axes.mT
