"""Where on a ball is the logarithmic norm largest? Sampled, then climbed, so that a bound too small is caught."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def unit(n: int, d: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    u = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return u / u.norm(dim=1, keepdim=True)


def largest_on_balls(
    value: Callable[[Tensor], Tensor], centres: Tensor, radii: Tensor, *, seed: int, starts: int = 4, steps: int = 5
) -> Tensor:
    """The largest ``value`` (n,) found on each ball: random points in it and on its sphere, then Frank and Wolfe."""
    n, d = centres.shape
    best = value(centres).detach()
    for start in range(starts):
        offset = unit(n, d, seed + 7 * start, centres.dtype) * radii[:, None]
        offset = offset * (0.5 if start % 2 else 1.0)
        for step in range(steps):
            x = (centres + offset).requires_grad_()
            found = value(x) + 0 * x.sum()  # a constant Jacobian has no gradient of its own
            best = torch.maximum(best, found.detach())
            (slope,) = torch.autograd.grad(found.sum(), x)
            slope = slope.nan_to_num()  # eigenvalues that meet have no gradient
            far = radii[:, None] * slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-30)
            offset = offset + (far - offset) * (1.0 if step == 0 else 2.0 / (step + 1))
    return best
