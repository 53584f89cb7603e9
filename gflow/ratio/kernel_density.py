"""The ratio of two kernel density estimates. Knows no critic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.problems import GaussianMixture
from gflow.ratio.critic import KnownLogRatio
from gflow.ratio.fitting import check_clouds
from gflow.ratio.selection import BLOCK, Choice, KernelFit, choose, normals, require_positive, squared


@dataclass(frozen=True)
class KernelDensityEstimator:
    """``log p_h - log q_h`` of Gaussian kernel density estimates, one bandwidth h for each cloud.

    The bandwidth maximizes the leave-one-out likelihood among multiples of Scott's ``s n^(-1/(d+4))``, s the root
    mean square of the standard deviations along the axes. Exact duplicates draw it to the smallest candidate. O(n^2).

    Raises:
        ValueError: factors that are none, or not positive and finite.
    """

    factors: tuple[float, ...]
    """Candidates, as multiples of Scott's bandwidth."""

    def __post_init__(self) -> None:
        """Check the factors."""
        require_positive("factors", self.factors)

    def fit(self, p: Float[Tensor, "n d"], q: Float[Tensor, "m d"], generator: Generator, /) -> KernelFit:  # noqa: ARG002
        """Choose both bandwidths; nothing is random.

        Raises:
            ValueError: as ``RatioEstimator``, one row, or a cloud of equal rows.
        """
        check_clouds(p, q, rows=2)
        laws, choices = zip(*(self._density(name, cloud) for name, cloud in (("p", p), ("q", q))), strict=True)
        return KernelFit(KnownLogRatio(*laws), choices)

    def _density(self, name: str, cloud: Tensor) -> tuple[GaussianMixture, Choice]:
        n, d = cloud.shape
        spread = float(cloud.double().var(0).mean().sqrt())
        if not spread:
            raise ValueError(f"{name}: all {n} rows are equal, so that no bandwidth has a scale")
        widths = [factor * spread * n ** (-1 / (d + 4)) for factor in self.factors]
        scores = _leave_one_out(cloud.double(), widths)
        chosen = choose(f"bandwidth of {name}", widths, scores, max(range(len(widths)), key=scores.__getitem__))
        return normals(cloud, cloud.new_full((n,), 1 / n), chosen.value), chosen


def _leave_one_out(cloud: Float[Tensor, "n d"], widths: Sequence[float]) -> list[float]:
    """The mean log-density of each row under the kernels of all others, for each bandwidth."""
    n, d = cloud.shape
    totals = [0.0] * len(widths)
    for rows in torch.split(torch.arange(n, device=cloud.device), max(1, BLOCK // n)):
        distances = squared(cloud[rows], cloud)
        distances[torch.arange(len(rows), device=cloud.device), rows] = math.inf
        for i, h in enumerate(widths):
            totals[i] += float((distances / (-2 * h**2)).logsumexp(1).sum())
    return [
        t / n - math.log(n - 1) - 0.5 * d * math.log(2 * math.pi * h**2) for t, h in zip(totals, widths, strict=True)
    ]
