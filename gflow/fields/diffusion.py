"""Reverse-time diffusions as fields: the probability flow and the family of reverse SDEs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.estimate import Estimate
from gflow.fields.direction import method_of
from gflow.lipschitz.sampled import check_direction
from gflow.problems.path import Path
from gflow.velocity import Time, VelocityField

Jacobian = Callable[[Time, Tensor], Tensor]


@dataclass(frozen=True)
class ReverseDrift:
    """Drift of ``dx = [f x - (1 + rho) g^2/2 score] dt + sqrt(rho) g dw``, in path time.

    Run from the noise to the data, with fresh noise in that direction, every ``rho >= 0`` has the
    marginals p_t when the score is exact (W2B-17 of docs/theory): 0 is the probability flow, 1 the
    reverse SDE (Song et al. 2021, eq. 6 and 13). f and g^2 are those of the path; where g^2 < 0
    (linear path, noise at t = 0) the same formula holds for increasing t. ``gflow.fields.reverse``
    turns it to sampling time.

    Raises:
        ValueError: ``rho`` negative or not finite.
    """

    path: Path
    """The noising path."""
    score: VelocityField[Tensor]
    """``(t, x) -> (n, d)`` in path time, exact or learned."""
    rho: float = 0.0
    """Noise of the sampler as a share of g^2."""
    jacobian: Jacobian = field(init=False, repr=False, compare=False)
    """``(t, x) -> (n, d, d)``; present exactly when the score has a ``jacobian``."""

    def __post_init__(self) -> None:
        """Check rho, and pass on the score's Jacobian if there is one."""
        if not 0.0 <= self.rho < math.inf:
            raise ValueError(f"rho: must be finite and not negative, got {self.rho}")
        if hasattr(self.score, "jacobian"):
            object.__setattr__(self, "jacobian", self._jacobian)

    def __call__(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The drift at path time t."""
        return self.path.drift(t) * x - self._weight(t) * self.score(t, x)

    def diffusion(self, t: Time, /) -> Time:
        """``sqrt(rho) |g|``: the factor of the noise."""
        squared = self.rho * self.path.diffusion_squared(t)
        return squared.abs().sqrt() if isinstance(squared, Tensor) else math.sqrt(abs(squared))

    def sampling_osl(self, t: Time, /) -> Estimate:
        """One-sided Lipschitz constant in the direction of sampling, at path time t.

        ``-f + (1 + rho) g^2/2 osl(score)`` where sampling runs down in t (VP, VE), and
        ``f + (1 + rho) |g^2|/2 osl(score)`` where it runs up (linear path).

        Raises:
            TypeError: the score has no ``osl``.
            ValueError: g^2 has the sign of a path whose noise falls on the way from the data: the
                constant would be that of ``-score``.
        """
        if not hasattr(self.score, "osl"):
            raise TypeError(f"sampling_osl: the score must have an osl(t) method, got {type(self.score).__name__}")
        inner: Estimate = self.score.osl(t)
        sign = math.copysign(1.0, self.path.noise_time - self.path.data_time)
        weight, drift = sign * float(self._weight(t)), sign * float(self.path.drift(t))
        if weight < 0:
            raise ValueError(
                f"sampling_osl: the noise must not fall towards noise_time, as it does at t = {float(t):g}"
            )
        return Estimate.exact(weight * inner.mean - drift, bias=inner.bias)

    def jacobian_lipschitz(self, t: Time, /) -> Estimate:
        """Lipschitz constant of the drift's Jacobian at path time t: ``(1 + rho) |g^2|/2`` times the score's.

        Raises:
            TypeError: the score has no ``jacobian_lipschitz``.
        """
        inner: Estimate = method_of(self.score, "jacobian_lipschitz", "score")(t)
        return Estimate.exact(abs(float(self._weight(t))) * inner.mean, bias=inner.bias)

    def ball_log_norm(
        self, t: Time, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``log_norm(direction * Dv)`` on each ball, at path time t.

        Sampling runs down in t for VP and VE (``direction = -1``, or ``gflow.fields.reverse``) and up
        for the linear path; the score is asked in the direction that its weight gives it.

        Raises:
            TypeError: the score has no ``ball_log_norm``.
        """
        check_direction(direction)
        bound = method_of(self.score, "ball_log_norm", "score")
        weight = -direction * float(self._weight(t))
        drift = direction * float(self.path.drift(t))
        if weight == 0.0:  # a bound that overflowed to infinity would make NaN of it
            return torch.full_like(radii, drift)
        inner: Tensor = bound(t, centres, radii, direction=1 if weight > 0.0 else -1)
        return drift + abs(weight) * inner

    def _weight(self, t: Time) -> Time:
        return 0.5 * (1.0 + self.rho) * self.path.diffusion_squared(t)

    def _jacobian(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d d"]:
        inner: Tensor = self.score.jacobian(t, x)  # type: ignore[attr-defined]  # set only when it exists
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return self.path.drift(t) * eye - self._weight(t) * inner


def ProbabilityFlow(path: Path, score: VelocityField[Tensor]) -> ReverseDrift:
    """The probability flow ``dx/dt = f x - g^2/2 score`` (Song et al. 2021, eq. 13), in path time."""
    return ReverseDrift(path, score, 0.0)
