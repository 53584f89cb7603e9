"""Isotropic components with their own variances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gflow.lipschitz.mixed import AffineMix
from gflow.problems.components.protocol import covariance
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class Isotropic:
    """Isotropic components, each with its own variance."""

    centre: Float[Tensor, " d"]
    """Subtracted from everything: squares of the offset would cost digits."""
    spread: Float[Tensor, "k d"]
    """Means minus ``centre``."""
    variances: Float[Tensor, " k"]

    @property
    def means(self) -> Float[Tensor, "k d"]:
        """The centres."""
        return self.centre + self.spread

    def noised(self, alpha: Time, sigma: Time) -> Isotropic:
        """Means times ``alpha``, variances ``alpha^2 v + sigma^2``."""
        variances = alpha * alpha * self.variances + sigma * sigma
        return Isotropic(alpha * self.centre, alpha * self.spread, variances)

    def log_prob(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, " n"]:
        """The log-density."""
        logits = self._logits(x - self.centre, log_weights)[0]
        return logits.logsumexp(0) - 0.5 * x.shape[1] * math.log(2.0 * math.pi)

    def score(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d"]:
        """``sum gamma_k (m_k - x) / v_k``."""
        y = x - self.centre
        logits, slopes = self._logits(y, log_weights)
        gamma = logits.softmax(0).mT
        return gamma @ slopes - y * (gamma @ self.variances.reciprocal()).unsqueeze(1)

    def hessian(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d d"]:
        """``-sum gamma_k I / v_k + Cov_gamma(s_k)``."""
        y = (x - self.centre).mT
        gamma = self._logits(y.mT, log_weights)[0].softmax(0)
        precisions = self.variances.reciprocal()
        scores = (self.spread.unsqueeze(2) - y) * precisions[:, None, None]
        deviation = scores - (gamma.unsqueeze(1) * scores).sum(0)
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return covariance(gamma.mT, deviation.permute(2, 0, 1)) - (gamma.mT @ precisions)[:, None, None] * eye

    def affine_mix(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> AffineMix:
        """Scores ``(m_k - x) / v_k``, slopes ``-I / v_k``."""
        y = x - self.centre
        log_gamma = self._logits(y, log_weights)[0].log_softmax(0).mT
        scores = (self.spread - y.unsqueeze(1)) / self.variances.unsqueeze(1)
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        precisions = eye / self.variances[:, None, None]
        return AffineMix(log_gamma, scores, scores, -precisions, precisions)

    def width(self) -> int:
        """Numbers per point in the largest temporary of ``hessian``."""
        return self.spread.numel()

    def covariances(self) -> Tensor:
        """(k,) variances."""
        return self.variances

    def draw(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """``m_i + sqrt(v_i) z``."""
        return self.means[index] + z * self.variances[index].sqrt().unsqueeze(1)

    def _logits(self, y: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted log-densities (k, n) at ``y = x - centre`` without the factor 2 pi; means / v (k, d)."""
        precisions = self.variances.reciprocal()
        slopes = self.spread * precisions.unsqueeze(1)
        bias = log_weights - 0.5 * ((self.spread * slopes).sum(1) + y.shape[1] * self.variances.log())
        squares = (y * y).sum(1)
        return torch.addmm(bias.unsqueeze(1), slopes, y.mT) - 0.5 * precisions.unsqueeze(1) * squares, slopes
