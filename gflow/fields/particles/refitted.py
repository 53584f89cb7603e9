"""Particles that climb a log-ratio which is estimated anew wherever they are."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.fields.mono_flow import MonoFlow
from gflow.fields.particles.cloud import Data
from gflow.fields.particles.opaque import opaque
from gflow.ratio import GeneratorLoss, RatioEstimator
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
        self._data.require(y)
        still = y.detach()
        with torch.enable_grad():  # solves run without, and trainings need it
            fitted = self.estimator.fit(self._data.points, still, Generator("cpu").manual_seed(self.seed))
        v = MonoFlow(fitted.log_ratio, self.loss)(t, still).detach()
        return opaque(y, v, "RefittedFlow: the velocity is not differentiable; its log-ratio is fitted to y")
