"""Toy laws and clouds of generative modelling, in the plane unless said otherwise."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.problems.mixture import GaussianMixture


def ring_mixture(
    modes: int, radius: float, std: float, *, dtype: torch.dtype = torch.float64, device: torch.device | None = None
) -> GaussianMixture:
    """Equal isotropic modes, evenly spaced on a circle, the first at angle 0.

    Raises:
        ValueError: ``modes < 1``, or radius or std not positive.
    """
    _require_positive(modes=modes, radius=radius, std=std)
    angles = torch.arange(modes, dtype=dtype, device=device) * (2.0 * math.pi / modes)
    means = radius * torch.stack([angles.cos(), angles.sin()], 1)
    return _equal_mixture(means, std)


def eight_gaussians(
    radius: float = 1.0,
    std: float = 0.01,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> GaussianMixture:
    """Eight modes on a circle; the defaults are those of Mescheder, Nowozin and Geiger (2017)."""
    return ring_mixture(8, radius, std, dtype=dtype, device=device)


def grid_mixture(
    side: int,
    spacing: float,
    std: float,
    *,
    dim: int = 2,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> GaussianMixture:
    """``side**dim`` equal isotropic modes on a centred grid: 4 or 5 a side give the 16 and 25 modes.

    Raises:
        ValueError: an argument not positive.
    """
    _require_positive(side=side, spacing=spacing, std=std, dim=dim)
    axis = spacing * (torch.arange(side, dtype=dtype, device=device) - (side - 1) / 2.0)
    means = torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
    return _equal_mixture(means, std)


def moons(n: int, generator: Generator, noise: float, *, dtype: torch.dtype = torch.float64) -> Float[Tensor, "n 2"]:
    """Two interleaved half circles of radius 1 with Gaussian noise, each point on either at random.

    Raises:
        ValueError: ``n < 1`` or ``noise < 0``.
    """
    angle = math.pi * _uniform(n, generator, dtype)
    lower = torch.randint(2, (n,), generator=generator, device=generator.device).to(dtype)
    sign = 1.0 - 2.0 * lower
    points = torch.stack([sign * angle.cos() + lower, sign * angle.sin() + 0.5 * lower], 1)
    return _noisy(points, noise, generator)


def swiss_roll(
    n: int, generator: Generator, noise: float, *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "n 2"]:
    """The planar spiral ``r = angle / (4.5 pi)``, angle from 1.5 pi to 4.5 pi, with Gaussian noise.

    Raises:
        ValueError: ``n < 1`` or ``noise < 0``.
    """
    turns = 1.5 + 3.0 * _uniform(n, generator, dtype)
    angle = math.pi * turns
    points = (turns / 4.5).unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], 1)
    return _noisy(points, noise, generator)


def checkerboard(
    n: int, generator: Generator, cells: int = 4, *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "n 2"]:
    """Uniform on the squares of a ``cells x cells`` board on [-1, 1)^2 whose indices have an even sum.

    Raises:
        ValueError: ``n < 1``, or ``cells`` odd or not positive.
    """
    if cells < 2 or cells % 2:
        raise ValueError(f"cells: needs an even number of at least 2, got {cells}")
    across = _uniform(n, generator, dtype) * cells
    row = torch.randint(cells // 2, (n,), generator=generator, device=generator.device)
    height = 2 * row + across.floor().long() % 2 + _uniform(n, generator, dtype)
    return torch.stack([across, height], 1) * (2.0 / cells) - 1.0


def _equal_mixture(means: Float[Tensor, "k d"], std: float) -> GaussianMixture:
    k = len(means)
    return GaussianMixture(means.new_full((k,), 1.0 / k), means, means.new_full((k,), std * std))


def _uniform(n: int, generator: Generator, dtype: torch.dtype) -> Float[Tensor, " n"]:
    if n < 1:
        raise ValueError(f"n: needs at least one sample, got {n}")
    return torch.rand(n, generator=generator, device=generator.device, dtype=dtype)


def _noisy(points: Float[Tensor, "n 2"], noise: float, generator: Generator) -> Float[Tensor, "n 2"]:
    if not 0.0 <= noise < math.inf:
        raise ValueError(f"noise: must be finite and not negative, got {noise}")
    z = torch.randn(points.shape, generator=generator, device=points.device, dtype=points.dtype)
    return points + noise * z


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: must be positive and finite, got {value}")
