"""Mixtures of Gaussians, at every noise level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.estimate import Estimate
from gflow.lipschitz.ball import check_balls
from gflow.lipschitz.sampled import check_direction
from gflow.problems.ball import score_log_norm
from gflow.problems.checks import require_chunk, require_finite, require_like, require_points, require_shape, spectrum
from gflow.problems.components import BLOCK, Components, Full, Isotropic, SharedVariance
from gflow.problems.distribution import normal
from gflow.problems.gaussian import Gaussian
from gflow.problems.osl import shared_variance_hessian_lipschitz, shared_variance_osl
from gflow.problems.path import Path
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """``sum_k w_k N(m_k, C_k)``; dtype and device are those of the means.

    Isotropic components, given by variances (k,), are evaluated without any d x d matrix, and
    fastest when they share one variance. General covariances are diagonalized once here: a noise
    level costs no factorization. Means and scores agree with ORC-9 of docs/theory.

    Raises:
        ValueError: NaN or infinite entries, mismatched shapes, dtypes or devices, weights that are
            not positive or do not sum to 1, variances not positive, covariances not symmetric
            positive definite.
    """

    weights: Float[Tensor, " k"]
    """Positive, sum 1."""
    means: Float[Tensor, "k d"]
    """The centres."""
    covariances: Tensor
    """(k, d, d), or (k,) variances of isotropic components."""
    chunk: int | None = None
    """At most this many rows of x at a time; None bounds each temporary to 64 MiB (float64)."""
    components: Components = field(init=False, repr=False)
    """The densities without their weights."""
    log_weights: Float[Tensor, " k"] = field(init=False, repr=False)
    """The logarithm of the weights, normalized."""

    def __post_init__(self) -> None:
        """Check the parameters and choose the kind of components."""
        self._check()
        log_weights = self.weights.log() - self.weights.sum().log()
        object.__setattr__(self, "log_weights", log_weights)
        object.__setattr__(self, "components", _components(log_weights.exp(), self.means, self.covariances))

    @classmethod
    def of(
        cls, weights: Tensor, log_weights: Tensor, components: Components, chunk: int | None = None
    ) -> GaussianMixture:
        """A mixture of ready components, without checks: for laws made from checked ones."""
        law = object.__new__(cls)
        object.__setattr__(law, "weights", weights)
        object.__setattr__(law, "log_weights", log_weights)
        object.__setattr__(law, "components", components)
        object.__setattr__(law, "chunk", chunk)
        object.__setattr__(law, "means", components.means)
        object.__setattr__(law, "covariances", components.covariances())
        return law

    @property
    def dim(self) -> int:
        """The dimension d."""
        return self.means.shape[1]

    def sample(self, n: int, generator: Generator, /) -> Float[Tensor, "n d"]:
        """Independent points (n, d); drawn on the generator's device."""
        z = normal(n, self.means, generator)
        index = torch.multinomial(self.weights.to(generator.device), n, replacement=True, generator=generator)
        return self.components.draw(index.to(self.means.device), z)

    def log_prob(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """The log-density."""
        return self._blockwise(self.components.log_prob, x, len(self.weights))

    def score(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The gradient of the log-density."""
        return self._blockwise(self.components.score, x, len(self.weights))

    def hessian(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d d"]:
        """The Hessian of the log-density."""
        return self._blockwise(self.components.hessian, x, self.components.width())

    def score_osl(self) -> Estimate:
        """``sup_x lambda_max(Hess log p)`` of components with one isotropic variance v.

        Exact (bias ``none``) when the means are affinely independent, such as any one or two modes,
        or form a product grid of such pairs with product weights; otherwise the certified upper
        bound of ``problems.osl`` (bias ``up``).

        Raises:
            ValueError: components that do not share one isotropic variance: no closed form is known.
        """
        if isinstance(self.components, SharedVariance):
            return shared_variance_osl(self.weights, self.components.spread, float(self.components.variance))
        if len(self.weights) == 1:
            return Gaussian(self.means[0], self.covariance_matrices()[0]).score_osl()
        raise ValueError(
            "score_osl: no closed form is known unless all components share one isotropic variance; "
            "use a sampled estimator of gflow.lipschitz"
        )

    def hessian_lipschitz(self) -> Estimate:
        """Lipschitz constant of ``x -> Hess log p`` for components with one isotropic variance v.

        Exact where ``score_osl`` is, else the certified upper bound of ``problems.osl``.

        Raises:
            ValueError: components that do not share one isotropic variance: the Hessian is not Lipschitz.
        """
        if isinstance(self.components, SharedVariance):
            variance = float(self.components.variance)
            return shared_variance_hessian_lipschitz(self.weights, self.components.spread, variance)
        if len(self.weights) == 1:
            return Estimate.exact(0.0)
        raise ValueError(
            "hessian_lipschitz: no constant over all space is known unless all components share one isotropic "
            "variance; ball_log_norm bounds the Hessian over balls"
        )

    def ball_log_norm(
        self, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``lambda_max(direction * Hess log p)`` on each ball, up to round-off.

        For components of any covariance (``lipschitz.mixed``). With one isotropic variance it is sharper
        (``problems.ball``) and, for direction +1, never above ``score_osl``: there it is the supremum for
        one or two modes, and for grids of pairs with product weights.

        Raises:
            ValueError: bad balls, or a direction other than +1 and -1.
        """
        check_direction(direction)
        check_balls(centres, radii)
        require_points(centres, self.means)
        rows = self._rows(self.means.numel())
        blocks = zip(torch.split(centres, rows), torch.split(radii, rows), strict=True)
        return torch.cat([score_log_norm(self.components, self.log_weights, x, r, direction) for x, r in blocks])

    def covariance_matrices(self) -> Float[Tensor, "k d d"]:
        """The components' covariances as matrices, also where they are isotropic."""
        if self.covariances.ndim == 3:
            return self.covariances
        return self.covariances[:, None, None] * torch.eye(self.dim, dtype=self.means.dtype, device=self.means.device)

    def mean(self) -> Float[Tensor, " d"]:
        """``sum w_k m_k``."""
        return self.weights @ self.means

    def covariance(self) -> Float[Tensor, "d d"]:
        """``sum w_k (C_k + (m_k - m)(m_k - m)^T)``."""
        offsets = self.means - self.mean()
        within = (self.weights[:, None, None] * self.covariance_matrices()).sum(0)
        return within + (self.weights.unsqueeze(1) * offsets).mT @ offsets

    def second_moment(self) -> float:
        """``sum w_k (|m_k|^2 + tr C_k)``."""
        traces = (
            self.dim * self.covariances if self.covariances.ndim == 1 else self.covariances.diagonal(0, 1, 2).sum(1)
        )
        return float(self.weights @ ((self.means * self.means).sum(1) + traces))

    def at(self, path: Path, t: Time, /) -> GaussianMixture:
        """The law of ``alpha x + sigma z``: the same weights and axes, no factorization."""
        components = self.components.noised(path.alpha(t), path.sigma(t))
        return GaussianMixture.of(self.weights, self.log_weights, components, self.chunk)

    def _blockwise(self, f: Callable[[Tensor, Tensor], Tensor], x: Tensor, width: int) -> Tensor:
        """A rowwise map whose temporaries hold ``width`` numbers per point."""
        require_points(x, self.means)
        rows = self._rows(width)
        if len(x) <= rows:
            return f(x, self.log_weights)
        return torch.cat([f(block, self.log_weights) for block in torch.split(x, rows)])

    def _rows(self, width: int) -> int:
        rows = max(1, BLOCK // width)
        return rows if self.chunk is None else min(rows, self.chunk)

    def _check(self) -> None:
        for name in ("weights", "means", "covariances"):
            require_finite(name, getattr(self, name))
        if self.means.ndim != 2 or not self.means.numel():
            raise ValueError(f"means: expected shape (k, d) with k, d >= 1, got {tuple(self.means.shape)}")
        k, d = self.means.shape
        require_shape("weights", self.weights, (k,), "(k,)")
        if self.covariances.ndim == 1:
            require_shape("covariances", self.covariances, (k,), "(k,)")
        else:
            require_shape("covariances", self.covariances, (k, d, d), "(k, d, d)")
        require_like("weights", self.weights, self.means, "means")
        require_like("covariances", self.covariances, self.means, "means")
        total = float(self.weights.sum())
        if float(self.weights.min()) <= 0.0 or abs(total - 1.0) > 1e-6:
            raise ValueError(f"weights: must be positive and sum to 1, got {self.weights.tolist()} with sum {total}")
        require_chunk(self.chunk)


def _components(weights: Tensor, means: Tensor, covariances: Tensor) -> Components:
    """The cheapest representation of the components."""
    if covariances.ndim == 3:
        return Full(means, *spectrum("covariances", covariances))
    if float(covariances.min()) <= 0.0:
        raise ValueError(f"covariances: variances must be positive, got {covariances.tolist()}")
    centre = weights @ means
    if bool((covariances == covariances[0]).all()):
        return SharedVariance.about(centre, means, float(covariances[0]))
    return Isotropic(centre, means - centre, covariances)
