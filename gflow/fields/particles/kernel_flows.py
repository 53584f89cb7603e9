"""Particle flows whose velocity is a kernel sum over data and particles: SVGD, MMD, drifting, density estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.fields.particles.cloud import Data, HeldVelocity, particle_masses, require_particles, root_mean_square
from gflow.fields.particles.kernels import (
    GaussianKernel,
    Kernel,
    kernel_mean,
    mean_shift,
    witness_gradient,
)
from gflow.velocity import Time

Score = Callable[[Tensor], Tensor]
"""``x (n, d) -> grad log p (n, d)``, such as ``Distribution.score``."""


@dataclass(frozen=True, eq=False)
class SteinFlow:
    """``v(x) = sum_j w_j [k(x, y_j) score(y_j) + grad_{y_j} k(x, y_j)]``: SVGD (Liu and Wang 2016).

    The kernel-smoothed velocity of the KL flow towards the law of ``score``; training time from 0.
    Permuting particles permutes velocities; one particle climbs the score. Differentiable by
    ``torch.func`` where the score is; dtype and device are those of the particles.
    """

    score: Score
    """Gradient of the target's log-density."""
    kernel: Kernel
    """With its bandwidth, which is never guessed from the particles."""
    weights: Float[Tensor, " n"] | None = None
    """Masses of the particles, such as quadrature weights; uniform by default."""

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:  # noqa: ARG002
        """The velocity of each particle.

        Raises:
            ValueError: particles not (n, d), or weights that do not fit them.
        """
        return self.given(y)(y)

    def given(self, y: Float[Tensor, "n d"], /) -> HeldVelocity:
        """The velocity at any points while the particles are at ``y``. Raises like a call."""
        require_particles(y)
        mass, score = particle_masses(self.weights, y), self.score(y)
        # The kernel is a function of x - y: its gradient in y_j is minus that in x.
        return lambda x: kernel_mean(self.kernel, x, y, mass, score) - witness_gradient(self.kernel, x, y, mass)


@dataclass(frozen=True, eq=False)
class MMDFlow:
    """``v(x) = grad [sum_j p_j k(x, x_j) - sum_j w_j k(x, y_j)]``: the flow of MMD squared / 2 (Arbel et al. 2019).

    ORC-18 of docs/theory between Gaussians. Zero at p = q; v changes sign with data and particles
    swapped. It may stop short of the data: ``NoisyMMDFlow`` injects the noise that helps. Training
    time from 0; differentiable by ``torch.func``. Errors as ``Data``.
    """

    data: Float[Tensor, "m d"]
    """The cloud to be reached."""
    kernel: Kernel
    """With its bandwidth."""
    data_weights: Float[Tensor, " m"] | None = None
    """Masses of the data; uniform by default."""
    weights: Float[Tensor, " n"] | None = None
    """Masses of the particles; uniform by default."""
    _data: Data = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the data."""
        object.__setattr__(self, "_data", Data(self.data, self.data_weights))

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:  # noqa: ARG002
        """The velocity of each particle.

        Raises:
            ValueError: particles of another shape, dtype or device than the data's, or weights that do not fit them.
        """
        return self.given(y)(y)

    def given(self, y: Float[Tensor, "n d"], /) -> HeldVelocity:
        """The velocity at any points while the particles are at ``y``. Raises like a call."""
        self._data.require(y)
        mass = particle_masses(self.weights, y)

        def velocity(x: Float[Tensor, "k d"], /) -> Float[Tensor, "k d"]:
            self._data.require(x, "x")
            attraction = witness_gradient(self.kernel, x, self._data.points, self._data.log_masses)
            return attraction - witness_gradient(self.kernel, x, y, mass)

        return velocity


@dataclass(frozen=True, eq=False)
class DriftingFlow:
    """``v(x) = mean shift to the data - mean shift to the particles``: the drifting field (arXiv 2602.04770).

    The mean shift is ``sum_j w_j k(x, x_j)(x_j - x) / sum_j w_j k(x, x_j)``. With a Gaussian kernel
    it is ``tau^2 grad log`` of the ratio of the smoothed densities (ORC-17 of docs/theory): the flow
    of a smoothed KL. Zero at p = q; v changes sign with data and particles swapped. Particles count
    themselves. Training time from 0; differentiable by ``torch.func``. Errors as ``Data``.
    """

    data: Float[Tensor, "m d"]
    """The cloud to be reached."""
    kernel: Kernel
    """With its bandwidth tau; published code takes the Laplacian one."""
    normalised: bool = False
    """Divide by ``sqrt(E |v|^2)``: unit speed at all times, so that a constant step ends in a limit cycle (CODE-6)."""
    data_weights: Float[Tensor, " m"] | None = None
    """Masses of the data; uniform by default."""
    weights: Float[Tensor, " n"] | None = None
    """Masses of the particles; uniform by default."""
    _data: Data = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the data."""
        object.__setattr__(self, "_data", Data(self.data, self.data_weights))

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:  # noqa: ARG002
        """The velocity of each particle; where all stand still, 0 also if normalised.

        Raises:
            ValueError: particles of another shape, dtype or device than the data's, or weights that do not fit them.
        """
        return self.given(y)(y)

    def given(self, y: Float[Tensor, "n d"], /) -> HeldVelocity:
        """The velocity at any points while the particles are at ``y``. Raises like a call."""
        self._data.require(y)
        mass = particle_masses(self.weights, y)

        def raw(x: Float[Tensor, "k d"], /) -> Float[Tensor, "k d"]:
            attraction = mean_shift(self.kernel, x, self._data.points, self._data.log_masses)
            return attraction - mean_shift(self.kernel, x, y, mass)

        if not self.normalised:
            return raw
        speed = root_mean_square(raw(y), mass)
        return lambda x: raw(x) / torch.where(speed > 0, speed, 1.0)


@dataclass(frozen=True, eq=False)
class KernelDensityFlow:
    """``v(x) = grad log p(x) - grad log q_h(x)``, q_h the Gaussian density estimate of the particles.

    The KL flow with q smoothed. The target is a score, taken as it is, or a cloud, smoothed by the
    same bandwidth: then ``h^2 v`` is the Gaussian ``DriftingFlow``, zero at p = q. With a score it is
    not: the fixed points satisfy q * N(0, h^2 I) = p. Training time from 0; differentiable by
    ``torch.func`` where the score is. Errors of a cloud as ``Data``.

    Raises:
        ValueError: a bandwidth that is not positive and finite, or weights for a score.
    """

    target: Score | Float[Tensor, "m d"]
    """A score, or data (m, d)."""
    bandwidth: float
    """h, the standard deviation of the smoothing."""
    data_weights: Float[Tensor, " m"] | None = None
    """Masses of the data, where the target is a cloud; uniform by default."""
    weights: Float[Tensor, " n"] | None = None
    """Masses of the particles; uniform by default."""
    _kernel: GaussianKernel = field(init=False, repr=False)
    _data: Data | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the bandwidth and the target."""
        object.__setattr__(self, "_kernel", GaussianKernel(self.bandwidth))
        cloud = isinstance(self.target, Tensor)
        if self.data_weights is not None and not cloud:
            raise ValueError("data_weights: weigh a cloud, and the target is a score")
        object.__setattr__(self, "_data", Data(self.target, self.data_weights) if cloud else None)  # type: ignore[arg-type]

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:  # noqa: ARG002
        """The velocity of each particle.

        Raises:
            ValueError: particles that are not (n, d) or do not fit the data, or weights that do not fit them.
        """
        return self.given(y)(y)

    def given(self, y: Float[Tensor, "n d"], /) -> HeldVelocity:
        """The velocity at any points while the particles are at ``y``. Raises like a call."""
        require_particles(y)
        if self._data is not None:
            self._data.require(y)
        mass = particle_masses(self.weights, y)

        def velocity(x: Float[Tensor, "k d"], /) -> Float[Tensor, "k d"]:
            return self._attraction(x) - mean_shift(self._kernel, x, y, mass) / self.bandwidth**2

        return velocity

    def _attraction(self, x: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
        if self._data is None:
            assert not isinstance(self.target, Tensor)
            return self.target(x)
        return mean_shift(self._kernel, x, self._data.points, self._data.log_masses) / self.bandwidth**2
