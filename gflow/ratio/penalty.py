"""Penalties on a critic's gradient, as data: where it is taken, which length it is drawn to, and how strongly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.ratio.critic import Critic, critic_gradient

Place = Literal["data", "model", "interpolates"]


@dataclass(frozen=True)
class GradientPenalty:
    """``weight * E (|grad D| - centre)^2`` at one of three laws.

    Raises:
        ValueError: a weight that is not positive and finite, a negative centre, or another place.
    """

    weight: float
    """Its factor in the critic's loss."""
    centre: float
    """The length to which gradients are drawn: 0, or 1 for the penalty of WGAN-GP."""
    at: Place
    """Samples of p, samples of q, or points uniform on the segments between their rows."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0.0 < self.weight < math.inf:
            raise ValueError(f"weight: must be positive and finite, got {self.weight}")
        if not 0.0 <= self.centre < math.inf:
            raise ValueError(f"centre: must be finite and not negative, got {self.centre}")
        if self.at not in ("data", "model", "interpolates"):
            raise ValueError(f"at: expected data, model or interpolates, got {self.at!r}")

    def loss(
        self, critic: Critic, p: Float[Tensor, "n d"], q: Float[Tensor, "m d"], generator: Generator, /
    ) -> Float[Tensor, ""]:
        """The penalty on batches of p and of q, a 0-d tensor with a graph to the critic's parameters.

        Draws from the generator, on its own device, for interpolates only.

        Raises:
            ValueError: batches of different sizes where they are interpolated, or as ``critic_gradient``.
        """
        return self.at_points(critic, self.points(p, q, generator))

    def at_points(self, critic: Critic, x: Float[Tensor, "k d"], /) -> Float[Tensor, ""]:
        """The penalty with its mean over the rows of ``x``: what is left once ``points`` has drawn them."""
        return self.of(critic_gradient(critic, x, create_graph=True))

    def of(self, gradient: Float[Tensor, "k d"], /) -> Float[Tensor, ""]:
        """The penalty of gradients that are known, a 0-d tensor."""
        # A norm has no derivative at 0, where the gradient of a zero-centred critic may well be.
        square = gradient.square().sum(1) if self.centre == 0.0 else (gradient.norm(dim=1) - self.centre).square()
        return self.weight * square.mean()

    def points(self, p: Float[Tensor, "n d"], q: Float[Tensor, "m d"], generator: Generator, /) -> Float[Tensor, "k d"]:
        """Where the gradient is taken: ``(1 - t) q + t p`` with one t uniform on [0, 1] a row, or a batch itself."""
        if self.at != "interpolates":
            return p if self.at == "data" else q
        if p.shape != q.shape:
            raise ValueError(f"p and q: interpolates need equal shapes, got {tuple(p.shape)} and {tuple(q.shape)}")
        t = torch.rand(len(p), 1, dtype=p.dtype, device=generator.device, generator=generator).to(p.device)
        return q + t * (p - q)


def r1(gamma: float, /) -> GradientPenalty:
    """``gamma/2 E_p |grad D|^2`` (Mescheder, Geiger and Nowozin 2018)."""
    return GradientPenalty(gamma / 2, 0.0, "data")


def r2(gamma: float, /) -> GradientPenalty:
    """``gamma/2 E_q |grad D|^2`` (Mescheder, Geiger and Nowozin 2018)."""
    return GradientPenalty(gamma / 2, 0.0, "model")


def wgan_gp(weight: float = 10.0, /) -> GradientPenalty:
    """``weight E (|grad D| - 1)^2`` on segments (Gulrajani et al. 2017)."""
    return GradientPenalty(weight, 1.0, "interpolates")


def zero_centred(weight: float = 0.5, /) -> GradientPenalty:
    """``weight E |grad D|^2`` on segments: with ``WASSERSTEIN`` the critic of a Poisson equation (REFLOW-6).

    ``-div(pbar grad D*) = (p - q) / (2 weight)``, pbar the law of the points on the segments. At weight 1/2 it is
    the gradient part of the velocity of rectified flow; the weight scales it and does nothing else (REFLOW-8).
    """
    return GradientPenalty(weight, 0.0, "interpolates")
