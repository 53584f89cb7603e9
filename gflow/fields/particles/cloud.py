"""Clouds as flows hold them, checked once, and what it is for a velocity to depend on one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.problems.checks import require_like
from gflow.transport.clouds import check_cloud, log_masses
from gflow.velocity import Time

HeldVelocity = Callable[[Float[Tensor, "k d"]], Float[Tensor, "k d"]]
"""A velocity at any points, each row by itself, while the particles that cause it stand still."""


@runtime_checkable
class MeanField(Protocol):
    """A field on particles whose velocity is a function of one point and of the cloud: ``v(y) = given(y)(y)``."""

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The velocity of each particle."""
        ...

    def given(self, y: Float[Tensor, "n d"], /) -> HeldVelocity:
        """The velocity at any points while the particles are at ``y``."""
        ...


@dataclass(frozen=True, eq=False)
class Data:
    """The cloud that a flow moves towards. Dtype and device of the flow are those of its points.

    Raises:
        TypeError: points or weights that are not tensors.
        ValueError: points not (m, d) floating-point, empty, NaN or infinite; weights that are not m
            non-negative numbers with a positive sum.
    """

    points: Float[Tensor, "m d"]
    """The data; duplicates count as often as they occur."""
    weights: Float[Tensor, " m"] | None = None
    """Their masses, scaled to sum 1; uniform by default."""
    log_masses: Float[Tensor, " m"] = field(init=False, repr=False)
    """Logarithms of the masses."""

    def __post_init__(self) -> None:
        """Check the points and the weights."""
        check_cloud("data", self.points)
        object.__setattr__(self, "log_masses", log_masses("data weights", self.weights, self.points))

    def require(self, y: Float[Tensor, "n d"], name: str = "y") -> None:
        """Raise ValueError unless ``y`` is a cloud of the data's dimension, dtype and device; looks at no entry."""
        require_particles(y, name)
        if y.shape[1] != self.points.shape[1]:
            raise ValueError(f"{name}: expected rows (n, {self.points.shape[1]}) as the data, got {tuple(y.shape)}")
        require_like(name, y, self.points, "the data")


def require_particles(y: Tensor, name: str = "y") -> None:
    """Raise ValueError unless ``y`` is a cloud (n, d), n >= 1."""
    if y.ndim != 2 or y.shape[0] < 1 or y.shape[1] < 1:
        raise ValueError(f"{name}: expected particles (n, d), at least one, got {tuple(y.shape)}")


def particle_masses(weights: Tensor | None, y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Logarithms of the particles' masses.

    Raises:
        ValueError: weights that are not one non-negative number per particle with a positive sum.
    """
    return log_masses("weights", weights, y)


def root_mean_square(v: Float[Tensor, "n d"], log_mass: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """``sqrt(E |v|^2)`` over the particles, with derivative 0 at 0: the speed of the flow in W2."""
    square = (log_mass.exp() * v.square().sum(1)).sum()
    moving = square > 0
    return torch.where(moving, torch.where(moving, square, 1.0).sqrt(), 0.0)
