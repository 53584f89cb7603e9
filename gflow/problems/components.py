"""Densities, scores and Hessians of weighted sums of Gaussians, one class per kind of covariance.

Nothing is factorised at a noise level: every class is closed under ``C -> alpha^2 C + sigma^2 I``.
With responsibilities ``gamma`` and component scores ``s_k = -C_k^{-1}(x - m_k)``, the score is
``sum gamma_k s_k`` and its Jacobian ``-sum gamma_k C_k^{-1} + Cov_gamma(s_k)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gflow.velocity import Time

# Numbers in the largest temporary of one block of rows: 64 MiB in float64.
BLOCK = 2**23


class Components(Protocol):
    """k Gaussians in R^d; the mixture's log-weights (k,) come with each call."""

    @property
    def means(self) -> Float[Tensor, "k d"]:
        """The centres."""
        ...

    def noised(self, alpha: Time, sigma: Time) -> Components:
        """The components of ``alpha x + sigma z``."""
        ...

    def log_prob(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, " n"]:
        """The log-density."""
        ...

    def score(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d"]:
        """The gradient of the log-density."""
        ...

    def hessian(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d d"]:
        """The Hessian of the log-density."""
        ...

    def covariances(self) -> Tensor:
        """(k,) variances where isotropic, else (k, d, d)."""
        ...

    def draw(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Samples of the components ``index`` from standard normal ``z``."""
        ...


@dataclass(frozen=True, eq=False)
class SharedVariance:
    """Isotropic components with one variance: the fast case, and that of a noised point cloud."""

    centre: Float[Tensor, " d"]
    """Subtracted from everything: squares of the offset would cost digits."""
    spread: Float[Tensor, "k d"]
    """Means minus ``centre``."""
    variance: Time
    rows: int | None = None
    """Points per block; None: from ``BLOCK``."""

    @property
    def means(self) -> Float[Tensor, "k d"]:
        """The centres."""
        return self.centre + self.spread

    def noised(self, alpha: Time, sigma: Time) -> SharedVariance:
        """Means times ``alpha``, variance ``alpha^2 v + sigma^2``."""
        variance = alpha * alpha * self.variance + sigma * sigma
        return SharedVariance(alpha * self.centre, alpha * self.spread, variance, self.rows)

    def log_prob(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, " n"]:
        """The log-density."""
        bias, slopes = self._affine(log_weights)
        norm = -0.5 * x.shape[1] * _log(2.0 * math.pi * self.variance)

        def block(y: Tensor) -> Tensor:
            return torch.addmm(bias, y, slopes).logsumexp(1) - (y * y).sum(1) / (2.0 * self.variance) + norm

        return _blockwise(block, x - self.centre, self._rows(1))

    def score(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d"]:
        """``(E_gamma m - x) / v``."""
        bias, slopes = self._affine(log_weights)

        def block(y: Tensor) -> Tensor:
            return (torch.addmm(bias, y, slopes).softmax(1) @ self.spread - y) / self.variance

        return _blockwise(block, x - self.centre, self._rows(1))

    def hessian(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d d"]:
        """``-I/v + Cov_gamma(m)/v^2``."""
        bias, slopes = self._affine(log_weights)
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device) / self.variance

        def block(y: Tensor) -> Tensor:
            gamma = torch.addmm(bias, y, slopes).softmax(1)
            deviation = (self.spread - (gamma @ self.spread).unsqueeze(1)) / self.variance
            return weighted_gram(gamma, deviation, deviation) - eye

        return _blockwise(block, x - self.centre, self._rows(x.shape[1]))

    def covariances(self) -> Tensor:
        """(k,) variances."""
        return self.spread.new_ones(len(self.spread)) * self.variance

    def draw(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """``m_i + sqrt(v) z``."""
        return self.means[index] + z * self.variance**0.5

    def _affine(self, log_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the responsibilities as an affine map of ``x - centre``; |x|^2 is common to all."""
        slopes = self.spread / self.variance
        return log_weights - 0.5 * (self.spread * slopes).sum(1), slopes.mT

    def _rows(self, width: int) -> int:
        fit = max(1, BLOCK // (len(self.spread) * width))
        return fit if self.rows is None else min(fit, self.rows)


@dataclass(frozen=True, eq=False)
class Isotropic:
    """Isotropic components, each with its own variance."""

    means: Float[Tensor, "k d"]
    variances: Float[Tensor, " k"]

    def noised(self, alpha: Time, sigma: Time) -> Isotropic:
        """Means times ``alpha``, variances ``alpha^2 v + sigma^2``."""
        return Isotropic(alpha * self.means, alpha * alpha * self.variances + sigma * sigma)

    def log_prob(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, " n"]:
        """The log-density."""
        return self._logits(x, log_weights)[0].logsumexp(1) - 0.5 * x.shape[1] * math.log(2.0 * math.pi)

    def score(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d"]:
        """``sum gamma_k (m_k - x) / v_k``."""
        logits, scores = self._logits(x, log_weights)
        return (logits.softmax(1).unsqueeze(2) * scores).sum(1)

    def hessian(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d d"]:
        """``-sum gamma_k I / v_k + Cov_gamma(s_k)``."""
        logits, scores = self._logits(x, log_weights)
        gamma = logits.softmax(1)
        deviation = scores - (gamma.unsqueeze(2) * scores).sum(1, keepdim=True)
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return weighted_gram(gamma, deviation, deviation) - (gamma @ (1.0 / self.variances))[:, None, None] * eye

    def covariances(self) -> Tensor:
        """(k,) variances."""
        return self.variances

    def draw(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """``m_i + sqrt(v_i) z``."""
        return self.means[index] + z * self.variances[index].sqrt().unsqueeze(1)

    def _logits(self, x: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted log-densities (n, k) without the factor 2 pi, component scores (n, k, d)."""
        offsets = self.means - x.unsqueeze(1)
        scores = offsets / self.variances.unsqueeze(1)
        constants = log_weights - 0.5 * x.shape[1] * self.variances.log()
        return constants - 0.5 * (offsets * scores).sum(2), scores


@dataclass(frozen=True, eq=False)
class Full:
    """General components: ``C_k = U_k diag(l_k) U_k^T``, diagonalised once for all noise levels."""

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
        return self._logits(x, log_weights)[0].logsumexp(1) - 0.5 * x.shape[1] * math.log(2.0 * math.pi)

    def score(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d"]:
        """``-sum gamma_k C_k^{-1} (x - m_k)``."""
        logits, scaled = self._logits(x, log_weights)
        weighted = logits.softmax(1).unsqueeze(2) * scaled
        return -(weighted.flatten(1) @ self.axes.mT.flatten(0, 1))

    def hessian(self, x: Float[Tensor, "n d"], log_weights: Float[Tensor, " k"]) -> Float[Tensor, "n d d"]:
        """``-sum gamma_k C_k^{-1} + Cov_gamma(s_k)``."""
        logits, scaled = self._logits(x, log_weights)
        gamma = logits.softmax(1)
        scores = -(self.axes @ scaled.unsqueeze(3)).squeeze(3)
        deviation = scores - (gamma.unsqueeze(2) * scores).sum(1, keepdim=True)
        precisions = (self.axes / self.values.unsqueeze(1)) @ self.axes.mT
        mean_precision = (gamma @ precisions.flatten(1)).reshape(deviation.shape[0], *precisions.shape[1:])
        return weighted_gram(gamma, deviation, deviation) - mean_precision

    def covariances(self) -> Tensor:
        """(k, d, d)."""
        return (self.axes * self.values.unsqueeze(1)) @ self.axes.mT

    def draw(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """``m_i + U_i sqrt(l_i) z``."""
        scaled = (z * self.values[index].sqrt()).unsqueeze(2)
        return self.means[index] + (self.axes[index] @ scaled).squeeze(2)

    def _logits(self, x: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted log-densities (n, k) without the factor 2 pi, ``l^{-1} U^T (x - m)`` (n, k, d)."""
        k, d = self.means.shape
        axes = self.axes.permute(1, 0, 2).reshape(d, k * d)
        offsets = (x @ axes).reshape(len(x), k, d) - (self.means.unsqueeze(1) @ self.axes).squeeze(1)
        scaled = offsets / self.values
        constants = log_weights - 0.5 * self.values.log().sum(1)
        return constants - 0.5 * (offsets * scaled).sum(2), scaled


def weighted_gram(
    gamma: Float[Tensor, "n k"], a: Float[Tensor, "n k d"], b: Float[Tensor, "n k d"]
) -> Float[Tensor, "n d d"]:
    """``sum_k gamma_k a_k b_k^T``: a covariance when a and b are deviations, without cancellation."""
    return (gamma.unsqueeze(2) * a).mT @ b


def _log(x: Time) -> Time:
    return x.log() if isinstance(x, Tensor) else math.log(x)


def _blockwise(f: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Tensor:
    """``f`` of a rowwise map, ``rows`` points at a time."""
    if len(x) <= rows:
        return f(x)
    return torch.cat([f(block) for block in torch.split(x, rows)])
