"""Fields with closed Jacobians, clouds with exact moments, and Gaussians moved by affine flows."""

from __future__ import annotations

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

F64 = torch.float64


def normal(*shape: int, seed: int, scale: float = 1.0, dtype: torch.dtype = F64) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Affine:
    """v(s, x) = A x + b."""

    def __init__(self, A, b=None, dtype=F64):
        self.A = torch.as_tensor(A, dtype=dtype)
        self.b = torch.zeros(len(self.A), dtype=dtype) if b is None else torch.as_tensor(b, dtype=dtype)

    def __call__(self, s, x):
        return x @ self.A.T + self.b

    def jacobian(self, s, x):
        return self.A.expand(len(x), *self.A.shape)


class Shifted:
    """Another field plus size(s) along a fixed direction."""

    def __init__(self, field, direction, size):
        self.field, self.size = field, size
        self.direction = torch.as_tensor(direction, dtype=F64)

    def __call__(self, s, x):
        return self.field(s, x) + self.size(s) * self.direction.to(x.dtype)


class Ridges:
    """v(s, x) = sum_j a_j tanh(w_j.x + c_j + p_j s): smooth, bounded, not a gradient."""

    def __init__(self, d, seed, k=4, strength=1.0, dtype=F64):
        self.a = normal(k, d, seed=seed, scale=strength, dtype=dtype)
        self.w = normal(k, d, seed=seed + 1, dtype=dtype)
        self.c, self.p = normal(k, seed=seed + 2, dtype=dtype), normal(k, seed=seed + 3, dtype=dtype)

    def __call__(self, s, x):
        return torch.tanh(x @ self.w.T + self.c + self.p * s) @ self.a

    def jacobian(self, s, x):
        slope = 1 - torch.tanh(x @ self.w.T + self.c + self.p * s) ** 2
        return torch.einsum("nk,ka,kb->nab", slope, self.a, self.w)


class Hidden:
    """The same field without its closed Jacobian."""

    def __init__(self, field):
        self.field = field

    def __call__(self, s, x):
        return self.field(s, x)


def sigma_points(mean, covariance):
    """2 d points with exactly this mean and covariance, so that means of quadratics are exact."""
    d = len(mean)
    values, axes = torch.linalg.eigh(covariance)
    arms = (axes * (d * values.clamp_min(0)).sqrt()).mT
    return torch.cat((mean + arms, mean - arms))


def moved_gaussian(A, b, mean, covariance, s):
    """Mean and covariance at time s of N(mean, covariance) moved by x' = A x + b, by matrix exponentials."""
    d = len(mean)
    augmented = np.zeros((d + 1, d + 1))
    augmented[:d, :d], augmented[:d, d] = A, b
    flow = torch.as_tensor(linalg.expm(augmented * s), dtype=F64)
    phi = flow[:d, :d]
    return phi @ mean + flow[:d, d], phi @ covariance @ phi.mT


def largest_rate(A):
    """lambda_max(sym A) by numpy."""
    A = np.asarray(A)
    return float(np.linalg.eigvalsh((A + A.T) / 2)[-1])
