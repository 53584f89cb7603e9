"""The exact velocity of flow matching between mixtures of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.lipschitz.ball import check_balls
from gflow.lipschitz.mixed import AffineMix, mixed_log_norm
from gflow.lipschitz.sampled import check_direction
from gflow.problems.checks import require_points
from gflow.problems.components import BLOCK
from gflow.problems.gaussian import Gaussian
from gflow.problems.mixture import GaussianMixture
from gflow.problems.path import Path
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class RectifiedFlow:
    """``v_t(x) = E[sigma' x_0 + alpha' x_1 | x_t = x]`` for ``x_t = sigma x_0 + alpha x_1``, x_0 and x_1 independent.

    Time is the path's: with LINEAR, p0 at t = 0 and p1 at t = 1, and the ODE carries p0 to p1
    (Liu et al. 2023; ORC-6 of docs/theory). ``alpha`` goes with p1, the data. Each pair
    of components is diagonalized once, so a time costs no factorization; dtype and device are
    those of the laws.

    Raises:
        ValueError: laws of different dimension, dtype or device.
        TypeError: a law that is no Gaussian or GaussianMixture.
    """

    path: Path
    """Weights of the two ends."""
    p0: Gaussian | GaussianMixture
    """The law at the noise end, where alpha = 0."""
    p1: Gaussian | GaussianMixture
    """The law at the data end, where sigma = 0."""
    _pairs: _Pairs = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the laws fit, and diagonalize all pairs of components."""
        w0, m0, c0 = _parameters("p0", self.p0)
        w1, m1, c1 = _parameters("p1", self.p1)
        if self.p0.dim != self.p1.dim:
            raise ValueError(f"p1: must have the dimension of p0, got {self.p1.dim} and {self.p0.dim}")
        if m0.dtype != m1.dtype or m0.device != m1.device:
            raise ValueError(
                f"p1: must share dtype and device with p0, got {m1.dtype, m1.device}, {m0.dtype, m0.device}"
            )
        object.__setattr__(self, "_pairs", _Pairs.of((w0, m0, c0), (w1, m1, c1)))

    def __call__(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The velocity at path time t."""
        require_points(x, self._pairs.start)
        logits, velocities, _ = self._pairs.at(self.path, t, x)
        return (logits.softmax(0).unsqueeze(1) * velocities).sum(0).mT

    def jacobian(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d d"]:
        """``sum gamma K + Cov_gamma(v_k, s_k)`` with the pairs' affine velocities v_k, slopes K and scores s_k."""
        require_points(x, self._pairs.start)
        logits, velocities, scores = self._pairs.at(self.path, t, x)
        gamma = logits.softmax(0)
        mean = (gamma.unsqueeze(1) * velocities).sum(0)
        # E s is not subtracted: E (v - E v)(s - E s)^T = E (v - E v) s^T.
        weighted = gamma.unsqueeze(1) * (velocities - mean)
        slopes = self._pairs.slopes(self.path, t)
        spread = weighted.permute(2, 1, 0) @ scores.permute(2, 0, 1)
        return (gamma.mT @ slopes.flatten(1)).reshape(spread.shape) + spread

    def ball_log_norm(
        self, t: Time, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``log_norm(direction * Dv)`` on each ball at path time t, up to round-off.

        The field mixes the pairs' affine velocities by their responsibilities (``lipschitz.mixed``).
        Bounded over all radii where all pairs share one covariance at t.

        Raises:
            ValueError: bad balls, or a direction other than +1 and -1.
        """
        check_direction(direction)
        check_balls(centres, radii)
        require_points(centres, self._pairs.start)
        rows = max(1, BLOCK // self._pairs.start.numel())
        blocks = zip(torch.split(centres, rows), torch.split(radii, rows), strict=True)
        parts = [mixed_log_norm(self._pairs.mix(self.path, t, x).times(direction), r) for x, r in blocks]
        return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """All pairs (i, j) of components, k of them: ``A = W W^T`` and ``B = W diag(b) W^T`` at once."""

    log_weights: Float[Tensor, " k"]
    start: Float[Tensor, "k d"]
    end: Float[Tensor, "k d"]
    ratios: Float[Tensor, "k d"]
    """b: eigenvalues of A^{-1} B."""
    frame: Float[Tensor, "k d d"]
    """W."""
    inverse: Float[Tensor, "k d d"]
    """W^{-1}."""

    @classmethod
    def of(cls, p0: tuple[Tensor, Tensor, Tensor], p1: tuple[Tensor, Tensor, Tensor]) -> _Pairs:
        """Pair and diagonalize ``(weights, means, covariances)`` of both laws."""
        i, j = torch.cartesian_prod(*(torch.arange(len(p[0]), device=p[0].device) for p in (p0, p1))).unbind(1)
        factor = torch.linalg.cholesky(p0[2])[i]
        half = torch.linalg.solve_triangular(factor, p1[2][j], upper=False)
        whitened = torch.linalg.solve_triangular(factor, half.mT, upper=False)
        ratios, rotation = torch.linalg.eigh((whitened + whitened.mT) / 2)
        eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)
        inverse = rotation.mT @ torch.linalg.solve_triangular(factor, eye, upper=False)
        # log det W belongs to the logits: it differs between the pairs.
        log_det = factor.diagonal(0, 1, 2).log().sum(1)
        log_weights = p0[0].log()[i] + p1[0].log()[j] - log_det
        return cls(log_weights, p0[1][i], p1[1][j], ratios, factor @ rotation, inverse)

    def at(self, path: Path, t: Time, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (k, n), the pairs' velocities (k, d, n) and scores (k, d, n) at ``x`` (n, d)."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        means = sigma * self.start + alpha * self.end
        offsets = self.inverse @ (x.mT - means.unsqueeze(2))
        values = (alpha * alpha * self.ratios + sigma * sigma).unsqueeze(2)
        scaled = offsets / values
        logits = self.log_weights.unsqueeze(1) - 0.5 * (offsets * scaled + values.log()).sum(1)
        drift = (path.d_sigma(t) * self.start + path.d_alpha(t) * self.end).unsqueeze(2)
        velocities = drift + self.frame @ (self._rates(path, t).unsqueeze(2) * scaled)
        return logits, velocities, -(self.inverse.mT @ scaled)

    def mix(self, path: Path, t: Time, x: Tensor) -> AffineMix:
        """The field at ``x`` by its parts; slopes and covariances that all pairs share are kept once."""
        logits, velocities, scores = self.at(path, t, x)
        alpha, sigma = path.alpha(t), path.sigma(t)
        values = alpha * alpha * self.ratios + sigma * sigma
        precisions = (self.inverse.mT / values.unsqueeze(1)) @ self.inverse
        slopes = self.slopes(path, t)
        return AffineMix(
            logits.log_softmax(0).mT,
            velocities.permute(2, 0, 1),
            scores.permute(2, 0, 1),
            _common(slopes),
            _common((precisions + precisions.mT) / 2),
        )

    def slopes(self, path: Path, t: Time) -> Float[Tensor, "k d d"]:
        """The matrices of the pairs' affine velocities."""
        alpha, sigma = path.alpha(t), path.sigma(t)
        rates = self._rates(path, t) / (alpha * alpha * self.ratios + sigma * sigma)
        return (self.frame * rates.unsqueeze(1)) @ self.inverse

    def _rates(self, path: Path, t: Time) -> Float[Tensor, "k d"]:
        """``alpha alpha' b + sigma sigma'``."""
        return path.alpha(t) * path.d_alpha(t) * self.ratios + path.sigma(t) * path.d_sigma(t)


def _common(matrices: Tensor) -> Tensor:
    """One matrix (1, d, d) in place of k that agree to rounding."""
    gap, size = (matrices - matrices[0]).abs().max(), matrices[0].abs().max()
    return matrices[:1] if float(gap) <= 100 * torch.finfo(matrices.dtype).eps * float(size) else matrices


def _parameters(name: str, law: Gaussian | GaussianMixture) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (k,), means (k, d), covariances (k, d, d)."""
    if isinstance(law, Gaussian):
        return law.mu.new_ones(1), law.mu.unsqueeze(0), law.C.unsqueeze(0)
    if isinstance(law, GaussianMixture):
        return law.weights, law.means, law.covariance_matrices()
    raise TypeError(f"{name}: expected a Gaussian or a GaussianMixture, got {type(law).__name__}")
