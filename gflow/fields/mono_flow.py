"""Particles that climb a log-ratio: the gradient flow of a divergence, at a held ratio."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.problems.checks import require_shape
from gflow.ratio import GeneratorLoss, LogRatio
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class MonoFlow:
    """``v(x) = h'(d(x)) grad d(x)`` with d the log-ratio: MonoFlow (Yi, Zhu and Liu 2023; MONO-2 of docs/theory).

    With the ratio of the particles' *current* law it is the Wasserstein gradient flow of the divergence that
    the loss descends; the ratio is held here, so a step of any method is a step of the flow only while it is
    renewed (one renewal per stage for the method's order, INT-3). Time does not enter. Points (n, d) in the
    dtype and on the device of the log-ratio.
    """

    log_ratio: LogRatio
    """d and its gradient."""
    loss: GeneratorLoss
    """The loss whose h rescales the velocity; ``LOGIT`` for that of KL(q || p)."""

    def __call__(self, t: Time, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:  # noqa: ARG002
        """The velocity at the rows of ``x``.

        Raises:
            ValueError: a log-ratio that is not (n,), or a velocity that is not finite (the message counts the rows).
        """
        d = self.log_ratio(x)
        require_shape("log_ratio", d, (len(x),), "(n,)")
        return rescaled(self.loss, d, self.log_ratio.gradient(x))


def rescaled(loss: GeneratorLoss, d: Float[Tensor, " n"], slope: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """``h'(d) grad d``.

    Raises:
        ValueError: it is not finite (the message counts the rows).
    """
    velocity = loss.h_prime(d).unsqueeze(1) * slope
    if bad := int((~torch.isfinite(velocity.detach())).any(1).sum()):
        raise ValueError(f"{loss.name}: the velocity is NaN or infinite for {bad} of {len(d)} particles")
    return velocity
