"""Pairs of laws whose log-ratio is known: two mixtures, one ratio hidden in d dimensions, two normals, digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor

from gflow.problems import VE, Empirical, Gaussian, GaussianMixture, digits
from gflow.ratio import KnownLogRatio
from studies.density_ratio.config import Case

F64 = torch.float64
_ROTATION = 20_261  # seed of the axes of ``hidden``: part of the problem, not of a repeat


def pair(case: Case, device: torch.device) -> KnownLogRatio:
    """The data p and the model q of a case, in float64."""
    return KnownLogRatio(*_PAIRS[case.problem](case, device))


def _planar(case: Case, device: torch.device) -> tuple[GaussianMixture, GaussianMixture]:  # noqa: ARG001
    """The mixtures of ``benchmarks.critic_fit``: three modes of width .6 against two of width .8."""
    p = _mixture(device, (0.4, 0.4, 0.2), ((-1.5, 0.0), (1.5, 0.0), (0.0, 1.5)), 0.36)
    return p, _mixture(device, (0.5, 0.5), ((-1.0, -0.5), (1.0, 0.8)), 0.64)


def _mixture(
    device: torch.device, weights: tuple[float, ...], means: tuple[tuple[float, float], ...], variance: float
) -> GaussianMixture:
    w, m = (torch.tensor(values, dtype=F64, device=device) for values in (weights, means))
    return GaussianMixture(w, m, w.new_full((len(w),), variance))


def _hidden(case: Case, device: torch.device) -> tuple[GaussianMixture, Gaussian]:
    """Two modes against a wide normal along one axis, equal normals along the others, all axes rotated.

    log r depends on that one coordinate: its law under p and under q, and so every f-divergence between them, is
    the same in every dimension. What grows is only the space in which it is to be found.
    """
    axes = torch.linalg.qr(torch.randn(case.dim, case.dim, generator=Generator().manual_seed(_ROTATION), dtype=F64))[0]
    axes = axes.to(device)
    weights, along = (torch.tensor(values, dtype=F64, device=device) for values in ((0.7, 0.3), (-1.0, 1.5)))
    means = along[:, None] * axes[:, 0]
    p = GaussianMixture(weights, means, _stretched(axes, 0.36).expand(2, -1, -1))
    return p, Gaussian(torch.zeros(case.dim, dtype=F64, device=device), _stretched(axes, 1.69))


def _stretched(axes: Tensor, variance: float) -> Tensor:
    """The covariance with a variance along the first axis and 1 along the others."""
    first = axes[:, :1]
    return torch.eye(len(axes), dtype=F64, device=axes.device) + (variance - 1.0) * (first @ first.mT)


def _shifted(case: Case, device: torch.device) -> tuple[Gaussian, Gaussian]:
    """N(m, 1) and N(0, 1): D* = m x - m^2/2 (RATIO-7)."""
    one = torch.ones(1, dtype=F64, device=device)
    return Gaussian(case.shift * one, one.diag()), Gaussian(0.0 * one, one.diag())


def _digits(case: Case, device: torch.device) -> tuple[GaussianMixture, Gaussian]:
    """The digits under noise, and the isotropic normal law with their mean and mean variance."""
    law = Empirical(digits().to(device=device, dtype=F64)).at(VE(10.0), case.noise)
    eye = torch.eye(law.dim, dtype=F64, device=device)
    return law, Gaussian(law.mean(), law.covariance().diagonal().mean() * eye)


_PAIRS: Mapping[str, Callable[[Case, torch.device], tuple[GaussianMixture | Gaussian, GaussianMixture | Gaussian]]] = {
    "planar": _planar,
    "hidden": _hidden,
    "shifted": _shifted,
    "digits": _digits,
}
