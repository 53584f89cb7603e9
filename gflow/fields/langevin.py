"""The drift of overdamped Langevin dynamics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gflow.ode import BrownianPath, EulerMaruyama
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class LangevinDrift:
    """``v(x) = grad log p(x)``, the drift of ``dx = grad log p dt + sqrt(2) dw`` (WGF-5).

    With ``sampler`` it is the unadjusted Langevin algorithm, whose step h leaves a bias of order h
    (``gflow.problems.langevin_stationary`` for normal laws). Its laws are those of the deterministic KL flow (WGF-1):
    ``GaussianKLFlow`` between normal laws, ``particles.KernelDensityFlow`` of the score for clouds. Alone it
    collapses particles to the modes of p. Time from 0; dtype and device are those of the score.
    """

    score: Callable[[Float[Tensor, "n d"]], Float[Tensor, "n d"]]
    """Gradient of the target's log-density, such as ``Distribution.score``."""

    def __call__(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:  # noqa: ARG002
        """The drift at the rows of ``x``."""
        return self.score(x)

    @staticmethod
    def sampler(path: BrownianPath) -> EulerMaruyama:
        """The method that adds the noise ``sqrt(2) dw`` of the path."""
        return EulerMaruyama(lambda t: math.sqrt(2.0), path)  # noqa: ARG005
