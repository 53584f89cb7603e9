"""What a critic minimises, as data: a loss on either batch, its optimum, and the log-ratio that it tells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ratio.f_divergence import Elementwise, FDivergence
from gflow.ratio.stable import sigmoid, softplus


@dataclass(frozen=True)
class CriticObjective:
    """``min_D E_p on_data(D) + E_q on_model(D)`` over critics D; RATIO-1, 4 and 5 of docs/theory.

    Functions are elementwise in the critic's output and safe in float32. The optimum is the one over all
    functions, in the population: that of a network and a sample is not it (RATIO-6).
    """

    name: str
    """What it is called."""
    on_data: Elementwise
    """The loss of outputs at samples of p."""
    on_model: Elementwise
    """The loss of outputs at samples of q."""
    optimum: Elementwise | None
    """The optimal output as a function of d = log p/q, or None where it is no function of the ratio."""
    log_ratio: Elementwise | None
    """The log-ratio of which an output is the optimum, NaN where it is none's; None where outputs tell none."""
    stepped: bool = False
    """Whether the optimum is constant but for jumps, so that no velocity can be had from it (RATIO-5)."""

    def loss(self, on_p: Float[Tensor, " n"], on_q: Float[Tensor, " m"], /) -> Float[Tensor, ""]:
        """The loss of outputs at samples of p and of q, a 0-d tensor.

        Raises:
            ValueError: an empty batch.
        """
        for batch, outputs in (("p", on_p), ("q", on_q)):
            if not outputs.numel():
                raise ValueError(f"{self.name}: expected outputs at samples of both laws, got none of {batch}")
        return self.on_data(on_p).mean() + self.on_model(on_q).mean()


def f_gan(f: FDivergence, /) -> CriticObjective:
    """``-E_p g_f(D) + E_q f*(g_f(D))``, minus the variational form of D_f (Nowozin, Cseke and Tomioka 2016)."""
    return CriticObjective(
        name=f"f-GAN, {f.name}",
        on_data=lambda D: -f.activation(D),
        on_model=f.activated_conjugate,
        optimum=f.optimum,
        log_ratio=f.log_ratio,
    )


VANILLA = CriticObjective(
    name="vanilla",
    on_data=lambda D: softplus(-D),
    on_model=softplus,
    optimum=torch.clone,
    log_ratio=torch.clone,
)
"""``-E_p log sigma(D) - E_q log(1 - sigma(D))`` (Goodfellow et al. 2014): D* = log p/q."""

LEAST_SQUARES = CriticObjective(
    name="least squares",
    on_data=lambda D: 0.5 * (D - 1.0).square(),
    on_model=lambda D: 0.5 * D.square(),
    optimum=sigmoid,
    log_ratio=torch.logit,
)
"""Targets 1 and 0 (Mao et al. 2017): D* = p / (p + q); outputs outside (0, 1) are no ratio's."""

HINGE = CriticObjective(
    name="hinge",
    on_data=lambda D: (1.0 - D).relu(),
    on_model=lambda D: (1.0 + D).relu(),
    optimum=torch.sign,
    log_ratio=None,
    stepped=True,
)
"""D* = sign(p - q), whose gradient is zero almost everywhere: it has no velocity field (RATIO-5)."""

WASSERSTEIN = CriticObjective(
    name="Wasserstein",
    on_data=torch.neg,
    on_model=torch.clone,
    optimum=None,
    log_ratio=None,
)
"""``E_q D - E_p D``, unbounded below: it needs a penalty or clipped weights. D* is no function of the ratio."""
