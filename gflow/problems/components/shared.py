"""Isotropic components with one variance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gflow.lipschitz.mixed import AffineMix
from gflow.problems.components.protocol import BLOCK, covariance
from gflow.problems.time import log
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class SharedVariance:
    """Isotropic components with one variance: the fast case, and that of a noised point cloud."""

    centre: Float[Tensor, " d"]
    """Subtracted from everything: squares of the offset would cost digits."""
    spread: Float[Tensor, "k d"]
    """Means minus ``centre``."""
    radius: Time
    """The largest distance of a mean from ``centre``."""
    variance: Time

    @classmethod
    def about(cls, centre: Float[Tensor, " d"], means: Float[Tensor, "k d"], variance: float) -> SharedVariance:
        """Components with their squares taken about ``centre``."""
        spread = means - centre
        return cls(centre, spread, float(spread.norm(dim=1).max()), variance)

    @property
    def means(self) -> Float[Tensor, "k d"]:
        """The centres."""
        return self.centre + self.spread

    def noised(self, alpha: Time, sigma: Time) -> SharedVariance:
        """Means times ``alpha``, variance ``alpha^2 v + sigma^2``."""
        variance = alpha * alpha * self.variance + sigma * sigma
        return SharedVariance(alpha * self.centre, alpha * self.spread, alpha * self.radius, variance)

    def log_prob(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, " n"]:
        """The log-density."""
        y = x - self.centre
        norm = 0.5 * x.shape[1] * log(2.0 * math.pi * self.variance)
        return self._logits(y, log_weights).logsumexp(0) - (y * y).sum(1) / (2.0 * self.variance) - norm

    def score(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d"]:
        """``(E_gamma m - x) / v``."""
        y = x - self.centre
        gamma = self._logits(y, log_weights).softmax(0)
        return (gamma.mT @ self.spread - y) / self.variance

    def hessian(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d d"]:
        """``-I/v + Cov_gamma(m)/v^2``."""
        gamma = self._logits(x - self.centre, log_weights).softmax(0).mT
        mean = gamma @ self.spread
        if self._moments_are_safe():
            second = torch.einsum("ka,kb->kab", self.spread, self.spread)
            cov = (gamma @ second.flatten(1)).reshape(len(x), *second.shape[1:]) - mean.unsqueeze(2) * mean.unsqueeze(1)
        else:
            cov = covariance(gamma, self.spread - mean.unsqueeze(1))
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return (cov / self.variance - eye) / self.variance

    def affine_mix(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> AffineMix:
        """Scores ``m_k / v`` up to their common part, slopes ``-I / v``."""
        log_gamma = self._logits(x - self.centre, log_weights).log_softmax(0).mT
        scores = (self.spread / self.variance).expand(len(x), *self.spread.shape)
        precision = (torch.eye(x.shape[1], dtype=x.dtype, device=x.device) / self.variance).unsqueeze(0)
        return AffineMix(log_gamma, scores, scores, -precision, precision)

    def width(self) -> int:
        """Numbers per point in the largest temporary of ``hessian``."""
        k, d = self.spread.shape
        return max(k, d * d) if self._moments_are_safe() else k * d

    def _moments_are_safe(self) -> bool:
        """Whether E m m^T - E m E m^T, one matrix product, keeps all but 12 bits and fits in memory.

        Its rounding error is eps radius^2 / v^2 beside a Hessian of size 1/v.
        """
        if isinstance(self.variance, Tensor) or isinstance(self.radius, Tensor):
            return False
        k, d = self.spread.shape
        return self.radius**2 <= 2.0**12 * self.variance and k * d * d <= BLOCK

    def covariances(self) -> Tensor:
        """(k,) variances."""
        return self.spread.new_ones(len(self.spread)) * self.variance

    def draw(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """``m_i + sqrt(v) z``."""
        return self.means[index] + z * self.variance**0.5

    def _logits(self, y: Tensor, log_weights: Tensor) -> Tensor:
        """Weighted log-densities (k, n) at ``y = x - centre`` up to what all components share."""
        slopes = self.spread / self.variance
        bias = log_weights - 0.5 * (self.spread * slopes).sum(1)
        return torch.addmm(bias.unsqueeze(1), slopes, y.mT)
