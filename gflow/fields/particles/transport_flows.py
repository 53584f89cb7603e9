"""Particle flows along transport maps: entropic and debiased, or averaged over lines."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.fields.particles.cloud import Data
from gflow.fields.particles.opaque import opaque
from gflow.transport import Sinkhorn
from gflow.transport.one_dim import uniform_staircase
from gflow.velocity import Time

_CHUNK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class SinkhornFlow:
    """``v = T_{q,p} - T_{q,q'}``, entropic maps: the W2 gradient flow of the Sinkhorn divergence.

    The velocity of W-Flow (arXiv 2605.11755); the divergence is that of Feydy et al. (2019), and half of
    ``SinkhornDivergence`` here. T is ``EntropicPlan.barycentric`` for the cost
    ``|x - y|^2 / 2``. Debiased: zero at p = q for every ``eps``; between Gaussians ORC-16 of
    docs/theory. A pure function of the particles: every call solves cold. Training time from 0; not
    differentiable: a derivative raises, where the frozen potentials would give a wrong one.
    Errors as ``Data``.
    """

    data: Float[Tensor, "m d"]
    """The cloud to be reached."""
    solver: Sinkhorn
    """With ``eps`` and the tolerance of the marginals."""
    data_weights: Float[Tensor, " m"] | None = None
    """Masses of the data; uniform by default."""
    weights: Float[Tensor, " n"] | None = None
    """Masses of the particles; uniform by default."""
    two_batches: bool = False
    """The first and the last half of the particles are each other's q', in place of each particle's own cloud."""
    _data: Data = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the data."""
        object.__setattr__(self, "_data", Data(self.data, self.data_weights))
        if self.two_batches and self.weights is not None:
            raise ValueError("weights: particles in two batches are uniform")

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:  # noqa: ARG002
        """The velocity of each particle.

        Raises:
            ValueError: particles of another shape, dtype or device than the data's, or an odd number in two batches.
            TransportError: a solve did not converge.
        """
        self._data.require(y)
        still = y.detach()
        if not self.two_batches:
            v = self._drift(still, still)
        elif len(y) % 2:
            raise ValueError(f"y: two batches need an even number of particles, got {len(y)}")
        else:
            first, second = still.chunk(2)
            v = torch.cat([self._drift(first, second), self._drift(second, first)])
        return opaque(y, v, "SinkhornFlow: the velocity is not differentiable; its potentials are solved for")

    def _drift(self, q: Float[Tensor, "n d"], other: Float[Tensor, "k d"]) -> Float[Tensor, "n d"]:
        solve, w = self.solver, self.weights
        to_data = solve(q, self._data.points, x_weights=w, y_weights=self.data_weights)
        to_self = solve(q, other, x_weights=w, y_weights=w)
        return to_data.barycentric(q) - to_self.barycentric(q)


@dataclass(frozen=True, eq=False)
class SlicedField:
    """``v(x) = mean over directions u of (T_u(u.x) - u.x) u``: the W2 gradient flow of half of SW2 squared.

    After Bonneel et al. (2015) and Liutkus et al. (2019). T_u is the optimal map between the projections, the
    mean over the mass it sends where it splits mass. For d = 1 it is the W2 flow itself (ORC-19 of
    docs/theory). Uniform clouds, of any two sizes. Differentiable by ``torch.func`` away from ties:
    ranks are locally constant. Training time from 0. Errors as ``Data``.

    Raises:
        ValueError: directions that are not (L, d) with L >= 1, in the dtype and on the device of the data.
    """

    data: Float[Tensor, "m d"]
    """The cloud to be reached."""
    directions: Float[Tensor, "L d"]
    """Unit rows, such as ``unit_directions``."""
    _data: Data = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the data and the directions."""
        object.__setattr__(self, "_data", Data(self.data))
        self._data.require(self.directions, "directions")

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:  # noqa: ARG002
        """The velocity of each particle.

        Raises:
            ValueError: particles of another shape, dtype or device than the data's.
        """
        self._data.require(y)
        i, j, mass = (torch.from_numpy(a).to(y.device) for a in uniform_staircase(len(y), len(self.data)))
        share = len(y) * mass.to(y.dtype)

        def moved(u: Tensor) -> Tensor:
            """The sum over the directions u."""
            lines = u @ y.mT
            arrivals = (u @ self.data.mT).sort(1).values[:, j] * share
            by_rank = torch.zeros_like(lines).index_add(1, i, arrivals)
            ranks = lines.argsort(dim=1, stable=True).argsort(1)
            return (by_rank.gather(1, ranks) - lines).mT @ u

        chunk = max(1, _CHUNK_BYTES // (y.element_size() * (len(y) + len(self.data))))
        parts = [moved(u) for u in torch.split(self.directions, chunk)]
        return torch.stack(parts).sum(0) / len(self.directions)
