"""Particles that climb a log-ratio which is estimated anew wherever they are."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.fields.mono_flow import MonoFlow
from gflow.fields.particles.cloud import Data, HeldVelocity
from gflow.fields.particles.opaque import opaque
from gflow.ratio import CriticLogRatio, GeneratorLoss, LogRatio, RatioEstimator
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class RefittedFlow:
    """``v(y) = h'(d) grad d`` with d fitted to the data and to the *present* particles: MonoFlow (MONO-2).

    Every evaluation fits from the same start with the same seed: a pure function of the particles, so that a
    method has its order wherever the estimate is smooth in them (INT-3 (ii): the critic follows every stage). A
    trained critic is not smooth where its stopping changes; bandwidths that are chosen are not either.
    Training time from 0. A derivative raises, where the held log-ratio would give a wrong one. Errors as ``Data``.
    """

    estimator: RatioEstimator
    """Such as ``DensityRatioEstimator``."""
    data: Float[Tensor, "m d"]
    """Samples of p, the cloud to be reached."""
    loss: GeneratorLoss
    """The loss whose h rescales the velocity; ``LOGIT`` for the flow of KL(q || p)."""
    seed: int
    """Of every fit, drawn on the CPU."""
    _data: Data = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the data."""
        object.__setattr__(self, "_data", Data(self.data))

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The velocity of each particle, one fit.

        Raises:
            ValueError: particles of another shape, dtype or device than the data's, a velocity that is not
                finite, or as the estimator does.
            FitError: a training that failed.
        """
        still = y.detach()
        v = MonoFlow(self._fitted(still), self.loss)(t, still).detach()
        return opaque(y, v, "RefittedFlow: the velocity is not differentiable; its log-ratio is fitted to y")

    def given(self, y: Float[Tensor, "n d"], /) -> HeldVelocity:
        """The velocity at any points while the particles are at ``y``, one fit; differentiable in the points.

        Nothing looks at its entries. Raises as the fit of a call does.
        """
        log_ratio = self._fitted(y.detach())
        values = log_ratio.unchecked if isinstance(log_ratio, CriticLogRatio) else log_ratio

        def summed(x: Float[Tensor, "k d"]) -> tuple[Tensor, Tensor]:
            d = values(x)
            return d.sum(), d

        def velocity(x: Float[Tensor, "k d"], /) -> Float[Tensor, "k d"]:
            slope, d = torch.func.grad(summed, has_aux=True)(x)
            rescaled: Tensor = self.loss.h_prime(d).unsqueeze(1) * slope
            return rescaled

        return velocity

    def _fitted(self, y: Float[Tensor, "n d"]) -> LogRatio:
        self._data.require(y)
        with torch.enable_grad():  # solves run without, and trainings need it
            return self.estimator.fit(self._data.points, y, Generator("cpu").manual_seed(self.seed)).log_ratio
