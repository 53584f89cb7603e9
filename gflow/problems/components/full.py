"""Components with general covariances."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from gflow.lipschitz.mixed import AffineMix
from gflow.problems.components.protocol import covariance
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class Full:
    """General components: ``C_k = U_k diag(l_k) U_k^T``, diagonalized once for all noise levels."""

    means: Float[Tensor, "k d"]
    values: Float[Tensor, "k d"]
    """Eigenvalues l."""
    axes: Float[Tensor, "k d d"]
    """Eigenvectors U, in columns."""

    def noised(self, alpha: Time, sigma: Time) -> Full:
        """Means times ``alpha``, eigenvalues ``alpha^2 l + sigma^2``, the same axes."""
        return Full(alpha * self.means, alpha * alpha * self.values + sigma * sigma, self.axes)

    def log_prob(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, " n"]:
        """The log-density."""
        return self._logits(x, log_weights)[0].logsumexp(0) - 0.5 * x.shape[1] * math.log(2.0 * math.pi)

    def score(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d"]:
        """``-sum gamma_k C_k^{-1} (x - m_k)``."""
        logits, scaled = self._logits(x, log_weights)
        weighted = logits.softmax(0).unsqueeze(1) * scaled
        return -(weighted.flatten(0, 1).mT @ self.axes.mT.flatten(0, 1))

    def hessian(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d d"]:
        """``-sum gamma_k C_k^{-1} + Cov_gamma(s_k)``."""
        logits, scaled = self._logits(x, log_weights)
        gamma = logits.softmax(0)
        pulls = self.axes @ scaled
        deviation = pulls - (gamma.unsqueeze(1) * pulls).sum(0)
        precisions = (self.axes / self.values.unsqueeze(1)) @ self.axes.mT
        mean_precision = (gamma.mT @ precisions.flatten(1)).reshape(len(x), *precisions.shape[1:])
        return covariance(gamma.mT, deviation.permute(2, 0, 1)) - mean_precision

    def affine_mix(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> AffineMix:
        """Scores ``-C_k^{-1} (x - m_k)``, slopes ``-C_k^{-1}``."""
        logits, scaled = self._logits(x, log_weights)
        scores = -(self.axes @ scaled).permute(2, 0, 1)
        precisions = (self.axes / self.values.unsqueeze(1)) @ self.axes.mT
        return AffineMix(logits.log_softmax(0).mT, scores, scores, -precisions, precisions)

    def width(self) -> int:
        """Numbers per point in the largest temporary of ``hessian``."""
        return self.means.numel()

    def covariances(self) -> Tensor:
        """(k, d, d)."""
        return (self.axes * self.values.unsqueeze(1)) @ self.axes.mT

    def draw(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """``m_i + U_i sqrt(l_i) z``."""
        scaled = (z * self.values[index].sqrt()).unsqueeze(2)
        return self.means[index] + (self.axes[index] @ scaled).squeeze(2)

    def _logits(self, x: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted log-densities (k, n) without the factor 2 pi, and ``l^{-1} U^T (x - m)`` (k, d, n)."""
        inverse = self.axes.mT
        offsets = inverse @ x.mT - inverse @ self.means.unsqueeze(2)
        scaled = offsets / self.values.unsqueeze(2)
        bias = log_weights - 0.5 * self.values.log().sum(1)
        return bias.unsqueeze(1) - 0.5 * (offsets * scaled).sum(1), scaled
