"""Closed forms that a solver can be compared with."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.problems.checks import require_like, require_points, require_shape
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


def gaussian_jko_step(target: Gaussian, law: Gaussian, h: float, /) -> Gaussian:
    """The minimiser over q of ``W2^2(q, law) / (2 h) + KL(q || target)``: one implicit step (WGF-4, ORC-15).

    Per axis of the target, with variance p: ``m+ = (p m + h mu) / (p + h)`` and s+ the positive root of
    ``(1 + h / p) s^2 - s_0 s - h = 0``. Jordan, Kinderlehrer and Otto (1998).

    Raises:
        ValueError: ``h`` not positive and finite, laws of other dimensions, dtypes or devices, or
            covariances that do not commute to rounding: then there is no closed form.
    """
    if not 0.0 < h < math.inf:
        raise ValueError(f"h: must be positive and finite, got {h}")
    require_shape("law.mu", law.mu, (target.dim,), "(d,)")
    require_like("law.mu", law.mu, target.mu, "the target")
    within = target.axes.mT @ law.C @ target.axes
    variances = within.diagonal()
    stray = float((within - torch.diag(variances)).abs().max())
    if stray > 64 * torch.finfo(within.dtype).eps * float(within.abs().max()):
        raise ValueError(f"law: expected a covariance diagonal in the target's axes, got entries of {stray:.3g} off it")
    p, s = target.values, variances.sqrt()
    grown = (s + (s * s + 4 * h * (1 + h / p)).sqrt()) / (2 * (1 + h / p))
    offset = ((law.mu - target.mu) @ target.axes) * (p / (p + h))
    return Gaussian(target.mu + offset @ target.axes.mT, (target.axes * grown.square()) @ target.axes.mT)


def langevin_stationary(target: Gaussian, h: float, /) -> Gaussian:
    """The stationary law of ``x + h grad log p(x) + sqrt(2 h) z``: variance ``s^2 / (1 - h / (2 s^2))`` per axis.

    The unadjusted Langevin algorithm with step h; its bias is of order 1 in h (WGF-5, ORC-14).

    Raises:
        ValueError: ``h`` outside (0, 2 lambda_min): the iteration diverges beyond.
    """
    least = float(target.values.min())
    if not 0.0 < h < 2.0 * least:
        raise ValueError(f"h: expected a step in (0, 2 lambda_min = {2 * least:.6g}), got {h}")
    values = target.values / (1 - h / (2 * target.values))
    return Gaussian(target.mu, (target.axes * values) @ target.axes.mT)
