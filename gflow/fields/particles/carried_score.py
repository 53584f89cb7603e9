"""The score of the law that particles carry along, without an estimate of its density."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.fields.particles.cloud import HeldVelocity, MeanField
from gflow.problems.checks import require_like, require_shape
from gflow.velocity import Time

_BLOCKS = {"particles", "points", "score"}


@dataclass(frozen=True, eq=False)
class CarriedScore:
    """``s' = -(Du)^T s - grad div u`` along points that are moved by u, the velocity that the particles cause.

    Points with law q_0 and scores ``grad log q_0`` have after time t the scores ``grad log q_t`` of their own law,
    exactly: the gradient of ``(log q)' = -div u`` along the flow (WGF-2 of docs/theory). With them the error of a
    velocity against ``grad log(p/q_t)`` at the *current* law, which W2B-21 asks for, is an average over points. The
    state is ``{"particles": (n, d), "points": (k, d), "score": (k, d)}``; the particles do not feel the points. Costs
    d derivatives of u and d of its divergence a point; training time from 0; dtype and device of the particles.
    """

    field: MeanField
    """What moves both; its velocities are twice differentiable in the point by ``torch.func``."""

    def __call__(self, t: Time, y: Mapping[str, Tensor], /) -> dict[str, Tensor]:  # noqa: ARG002
        """The velocities of the three blocks.

        Raises:
            ValueError: other blocks, or points and scores that are not of one shape (k, d), or as the field does.
        """
        if set(y) != _BLOCKS:
            raise ValueError(f"y: expected the blocks {sorted(_BLOCKS)}, got {sorted(y)}")
        particles, points, score = y["particles"], y["points"], y["score"]
        require_shape("score", score, tuple(points.shape), "(k, d) as the points")
        require_like("points", points, particles, "the particles")
        velocity = self.field.given(particles)
        slope, bend = _derivatives(velocity, points)
        carried = -torch.einsum("kab,ka->kb", slope, score) - bend
        return {"particles": velocity(particles), "points": velocity(points), "score": carried}


def _derivatives(
    velocity: HeldVelocity, points: Float[Tensor, "k d"]
) -> tuple[Float[Tensor, "k d d"], Float[Tensor, "k d"]]:
    """``Du`` and ``grad div u`` at each point."""

    def row(x: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        return velocity(x.unsqueeze(0)).squeeze(0)

    slope = torch.func.jacrev(row)

    def divergence(x: Float[Tensor, " d"]) -> tuple[Tensor, Tensor]:
        jacobian = slope(x)
        return jacobian.trace(), jacobian

    bend, jacobians = torch.func.vmap(torch.func.grad(divergence, has_aux=True))(points)
    return jacobians, bend
