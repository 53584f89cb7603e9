"""Fields with known Jacobians."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

seeds = st.integers(0, 2**31 - 1)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Sine:
    """v(t, x) = t sin(x W): Jacobian t diag(cos(x W)) W^T."""

    def __init__(self, d: int, seed: int, dtype: torch.dtype = torch.float64) -> None:
        self.w = normal(d, d, seed=seed, dtype=dtype)

    def __call__(self, t, x):
        return t * torch.sin(x @ self.w)

    def exact(self, t, x):
        return t * torch.cos(x @ self.w)[:, :, None] * self.w.T


class Closed(Sine):
    """The same with a closed form, scaled so that a test sees which one was used."""

    def jacobian(self, t, x):
        return 2 * self.exact(t, x)


class Affine:
    def __init__(self, d, seed):
        self.a, self.b = normal(d, d, seed=seed), normal(d, seed=seed + 1)

    def __call__(self, t, x):
        return x @ self.a.T + self.b
