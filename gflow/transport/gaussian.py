"""Closed forms between Gaussians: the Bures-Wasserstein distance and the optimal linear map."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_RANK = 1e-14  # of the largest eigenvalue: below, an eigenvalue is rounding
_SYMMETRY = 1e-6
_REACHED = 1e-6


def bures_squared(
    mean0: Float[Tensor, " d"],
    covariance0: Float[Tensor, "d d"],
    mean1: Float[Tensor, " d"],
    covariance1: Float[Tensor, "d d"],
) -> float:
    """W2 squared between N(mean0, covariance0) and N(mean1, covariance1); also called Frechet distance squared.

    ``|m0 - m1|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)`` (Olkin and Pukelsheim 1982), computed as
    ``|m0 - m1|^2 + min over orthogonal Q of |A^1/2 - B^1/2 Q|^2``: no cancellation, never negative,
    right for singular covariances. Float64 on the CPU whatever the input; not differentiable.

    Raises:
        ValueError: shapes that do not fit, NaN or infinity, a covariance that is not symmetric or
            not positive semi-definite.
    """
    first, second = _factors(covariance0, covariance1)
    shift = float((_mean("mean0", mean0, len(first)) - _mean("mean1", mean1, len(first))).square().sum())
    return shift + float((first - second @ _procrustes(first, second)).square().sum())


def bures_map(covariance0: Float[Tensor, "d d"], covariance1: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Symmetric M for which ``x -> m1 + M (x - m0)`` is optimal from N(m0, covariance0) to N(m1, covariance1).

    ``A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2`` (Peyre and Cuturi 2019, eq. 2.40), with the pseudo-inverse
    for a singular A. Computed in float64, returned in the dtype and on the device of ``covariance0``.

    Raises:
        ValueError: as ``bures_squared``, or no map exists because covariance1 has directions that
            covariance0 cannot reach.
    """
    first, second = _factors(covariance0, covariance1)
    image = second @ _procrustes(first, second)
    matrix: Tensor = image @ torch.linalg.pinv(first, rtol=_RANK**0.5)
    target = second @ second.mT
    missed = (matrix @ first @ first.mT @ matrix.mT - target).abs().max()
    if missed > _REACHED * target.abs().max():
        raise ValueError("covariance0: its rank is too low for any map to reach covariance1")
    return ((matrix + matrix.mT) / 2).to(covariance0)


def _procrustes(first: Float[Tensor, "d d"], second: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The orthogonal Q that brings ``second Q`` closest to ``first``: a polar factor."""
    left, _, right = torch.linalg.svd(second.mT @ first)
    rotation: Tensor = left @ right
    return rotation


def _factors(covariance0: Tensor, covariance1: Tensor) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
    """L0, L1 with ``L L^T`` the covariances."""
    if covariance0.shape != covariance1.shape:
        raise ValueError(
            f"covariance1: expected shape {tuple(covariance0.shape)} as covariance0 has, got {tuple(covariance1.shape)}"
        )
    return _factor("covariance0", covariance0), _factor("covariance1", covariance1)


def _factor(name: str, covariance: Tensor) -> Float[Tensor, "d d"]:
    """``U sqrt(eigenvalues)``, columns of rounding size set to 0."""
    c = covariance.detach().to("cpu", torch.float64)
    if c.ndim != 2 or c.shape[0] != c.shape[1] or not len(c):
        raise ValueError(f"{name}: expected a square matrix (d, d), got shape {tuple(c.shape)}")
    if not torch.isfinite(c).all():
        raise ValueError(f"{name}: holds NaN or infinity")
    size = float(c.abs().max())
    if float((c - c.mT).abs().max()) > _SYMMETRY * size:
        raise ValueError(f"{name}: expected a symmetric matrix, got asymmetry {float((c - c.mT).abs().max()):.1e}")
    values, vectors = torch.linalg.eigh((c + c.mT) / 2)
    if float(values[0]) < -_SYMMETRY * size:
        raise ValueError(f"{name}: expected no negative eigenvalue, got {float(values[0]):.3g}")
    kept = torch.where(values > _RANK * len(c) * values[-1], values, 0.0)
    factor: Tensor = vectors * kept.sqrt()
    return factor


def _mean(name: str, mean: Tensor, d: int) -> Float[Tensor, " d"]:
    """A checked mean in float64 on the CPU."""
    if mean.shape != (d,):
        raise ValueError(f"{name}: expected shape ({d},), got {tuple(mean.shape)}")
    if not torch.isfinite(mean).all():
        raise ValueError(f"{name}: holds NaN or infinity")
    return mean.detach().to("cpu", torch.float64)
