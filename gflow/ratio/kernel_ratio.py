"""A kernel fit of the ratio itself (uLSIF): one linear solve, in closed form in the log domain. Knows no critic.

Solved in float64; the result keeps the clouds' dtype.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.problems import GaussianMixture
from gflow.ratio.fitting import check_clouds, shuffled
from gflow.ratio.selection import BLOCK, KernelFit, choose, normals, require_positive, squared


@dataclass(frozen=True)
class KernelRatioEstimator:
    """uLSIF: ``r(x) = sum_l a_l exp(-|x - c_l|^2 / (2 h^2))``, centres c from p (Kanamori, Hido and Sugiyama 2009).

    The coefficients minimize ``E_q r^2 / 2 - E_p r + ridge |a|^2 / 2``, one linear solve, then negative ones are
    cut to 0, as the paper does. What is left is positive everywhere: far from all centres log r falls like
    minus the squared distance from the nearest. h and the ridge minimize the same loss on folds held out.

    Raises:
        ValueError: factors or ridges that are none or not positive and finite, ``centres < 1``, ``folds < 2``.
    """

    factors: tuple[float, ...]
    """Candidates for h, as multiples of the median distance between centres."""
    ridges: tuple[float, ...]
    """Candidates for the ridge."""
    centres: int
    """Most rows of p that serve as centres, drawn without replacement."""
    folds: int
    """Parts of either cloud in the cross-validation."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        require_positive("factors", self.factors)
        require_positive("ridges", self.ridges)
        if self.centres < 1 or self.folds < 2:
            raise ValueError(f"centres and folds: need 1 and 2 at least, got {self.centres} and {self.folds}")

    def fit(self, p: Float[Tensor, "n d"], q: Float[Tensor, "m d"], generator: Generator, /) -> KernelFit:
        """Draw centres and folds, choose, and solve on all rows.

        Raises:
            ValueError: as ``RatioEstimator``, fewer rows than folds, centres that are all equal, or no positive
                coefficient.
        """
        check_clouds(p, q, rows=self.folds)
        p, q = shuffled(p, generator), shuffled(q, generator)
        centres = p[: self.centres]
        middle = _median_distance(centres.double())
        widths = [factor * middle for factor in self.factors]
        parts = [_Moments.of(p.double(), q.double(), centres.double(), h, self.folds) for h in widths]
        scores = [[each.cross_validated(ridge) for ridge in self.ridges] for each in parts]
        i, j = min(
            ((i, j) for i in range(len(widths)) for j in range(len(self.ridges))), key=lambda at: scores[at[0]][at[1]]
        )
        choices = (
            choose("bandwidth", widths, [row[j] for row in scores], i),
            choose("ridge", self.ridges, scores[i], j),
        )
        return KernelFit(KernelLogRatio.of(centres, parts[i].solve(self.ridges[j]), widths[i]), choices)


@dataclass(frozen=True, eq=False)
class KernelLogRatio:
    """``log sum_l a_l exp(-|x - c_l|^2 / (2 h^2))`` as a multiple of a mixture's density."""

    mixture: GaussianMixture
    """Normal laws about the centres of positive coefficient."""
    log_mass: float
    """The logarithm of ``int r(x) dx``."""

    @classmethod
    def of(cls, centres: Float[Tensor, "b d"], coefficients: Float[Tensor, " b"], bandwidth: float) -> KernelLogRatio:
        """From coefficients that are not negative; those of 0 are left out.

        Raises:
            ValueError: no positive coefficient.
        """
        total = float(coefficients.sum())
        if not total > 0.0:
            raise ValueError("p and q: no coefficient of the fit is positive, the estimated ratio is 0 everywhere")
        weights = (coefficients / total).to(centres.dtype)
        used = weights > 0
        log_mass = math.log(total) + 0.5 * centres.shape[1] * math.log(2 * math.pi * bandwidth**2)
        return cls(normals(centres[used], weights[used], bandwidth), log_mass)

    def __call__(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """The log-ratio at the rows of ``x``."""
        return self.mixture.log_prob(x) + self.log_mass

    def gradient(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """Its gradient."""
        return self.mixture.score(x)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Means over folds: ``H_k = E_q k k^T`` and ``h_k = E_p k`` of the kernel vector k, with the folds' shares."""

    H: Float[Tensor, "k b b"]
    h: Float[Tensor, "k b"]
    shares: tuple[tuple[float, ...], tuple[float, ...]]
    """Of q and of p."""

    @classmethod
    def of(cls, p: Tensor, q: Tensor, centres: Tensor, bandwidth: float, folds: int) -> _Moments:
        def vectors(part: Tensor) -> Iterator[Tensor]:
            for block in torch.split(part, max(1, BLOCK // len(centres))):
                yield (squared(block, centres) / (-2 * bandwidth**2)).exp()

        q_folds, p_folds = torch.tensor_split(q, folds), torch.tensor_split(p, folds)
        H = torch.stack([_total(k.mT @ k for k in vectors(part)) / len(part) for part in q_folds])
        h = torch.stack([_total(k.sum(0) for k in vectors(part)) / len(part) for part in p_folds])
        q_shares, p_shares = (
            tuple(len(part) / len(cloud) for part in split) for split, cloud in ((q_folds, q), (p_folds, p))
        )
        return cls(H, h, (q_shares, p_shares))

    def solve(self, ridge: float, without: int | None = None) -> Float[Tensor, " b"]:
        """Coefficients, cut at 0, from all folds or all but one."""
        H, h = (_mean(x, share, without) for x, share in zip((self.H, self.h), self.shares, strict=True))
        eye = torch.eye(len(h), dtype=h.dtype, device=h.device)
        found: Tensor = torch.linalg.solve(H + ridge * eye, h)
        return found.clamp_min(0.0)

    def cross_validated(self, ridge: float) -> float:
        """The mean over folds of ``E_q r^2 / 2 - E_p r``, r fitted to the others."""
        losses = []
        for k in range(len(self.h)):
            a = self.solve(ridge, without=k)
            losses.append(float(0.5 * a @ self.H[k] @ a - self.h[k] @ a))
        return math.fsum(losses) / len(losses)


def _mean(parts: Tensor, shares: Sequence[float], without: int | None) -> Tensor:
    """The mean of the folds' means by their shares, one left out."""
    weights = parts.new_tensor(shares)
    if without is not None:
        weights[without] = 0.0
    mean: Tensor = torch.tensordot(weights / weights.sum(), parts, 1)
    return mean


def _total(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)


def _median_distance(points: Float[Tensor, "b d"]) -> float:
    distances = torch.nn.functional.pdist(points)
    middle = float(distances.median()) if len(distances) else 0.0
    if not middle:
        raise ValueError(
            f"p: half of the pairs of its {len(points)} centres are equal, so that no bandwidth has a scale"
        )
    return middle
