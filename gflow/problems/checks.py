"""Validation shared by the distributions: one clear error that names the argument."""

from __future__ import annotations

import torch
from torch import Tensor


def require_finite(name: str, x: Tensor) -> None:
    """Raise unless ``x`` is a floating tensor without NaN or infinity.

    Raises:
        TypeError: not a tensor.
        ValueError: not floating point, or NaN or infinite entries (how many, the first row).
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise ValueError(f"{name}: needs a floating-point dtype, got {x.dtype}")
    bad = ~torch.isfinite(x)
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0]) if x.ndim else 0
        raise ValueError(f"{name}: {int(bad.sum())} of {x.numel()} entries are NaN or infinite, first in row {row}")


def require_shape(name: str, x: Tensor, expected: tuple[int, ...], what: str) -> None:
    """Raise ValueError unless ``x`` has the shape ``expected``, written ``what`` in the message."""
    if tuple(x.shape) != expected:
        raise ValueError(f"{name}: expected shape {what} = {expected}, got {tuple(x.shape)}")


def require_like(name: str, x: Tensor, other: Tensor, other_name: str) -> None:
    """Raise ValueError unless ``x`` shares dtype and device with ``other``."""
    if x.dtype != other.dtype or x.device != other.device:
        raise ValueError(
            f"{name}: must share dtype and device with {other_name} ({other.dtype} on {other.device}), "
            f"got {x.dtype} on {x.device}"
        )


def require_points(x: Tensor, reference: Tensor) -> None:
    """Raise ValueError unless ``x`` is (n, d) in the dimension, dtype and device of ``reference`` (..., d).

    Called at every evaluation, so it looks at no entry.
    """
    if x.ndim != 2 or x.shape[1] != reference.shape[-1]:
        raise ValueError(f"x: expected points of shape (n, {reference.shape[-1]}), got {tuple(x.shape)}")
    require_like("x", x, reference, "the distribution")


def require_chunk(chunk: int | None) -> None:
    """Raise ValueError unless ``chunk`` is None or a positive number of rows."""
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk: needs at least 1 row, got {chunk}")


def spectrum(name: str, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., d) and axes (..., d, d) of symmetric positive definite matrices.

    Raises:
        ValueError: not symmetric to rounding, or not positive definite.
    """
    scale = float(covariance.abs().max())
    gap = float((covariance - covariance.mT).abs().max())
    eps = torch.finfo(covariance.dtype).eps
    if gap > 100 * eps * scale:
        raise ValueError(f"{name}: must be symmetric, got |C - C^T| up to {gap:.3g}")
    values, axes = torch.linalg.eigh((covariance + covariance.mT) / 2)
    smallest = float(values.min())
    if smallest <= eps * scale:
        raise ValueError(f"{name}: must be positive definite, got smallest eigenvalue {smallest:.3g}")
    return values, axes
