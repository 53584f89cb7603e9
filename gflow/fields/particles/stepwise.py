"""Particle flows that draw anew at every step: noise for MMD, directions for sliced transport."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.fields.particles.cloud import Data
from gflow.fields.particles.kernel_flows import MMDFlow
from gflow.fields.particles.transport_flows import SlicedField
from gflow.transport import unit_directions
from gflow.transport.sliced import require_projections
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class NoisyMMDFlow:
    """The MMD flow with its velocity read at ``y + noise z``, z ~ N(0, I) of the step (Arbel et al. 2019, sec. 4.1).

    A ``StepwiseField``: all stages and retries of step k see the same z, a function of (seed, k) and
    of the state's shape, drawn on the CPU. The particles move; the noise is where they look. Without
    noise it is ``MMDFlow``.

    Raises:
        ValueError: a noise that is negative or not finite.
    """

    flow: MMDFlow
    """The flow without noise."""
    noise: float
    """Standard deviation of the injected noise; 0 for none."""
    seed: int
    """Seed of all steps."""

    def __post_init__(self) -> None:
        """Check the noise."""
        if not 0.0 <= self.noise < math.inf:
            raise ValueError(f"noise: must be finite and not negative, got {self.noise}")

    def at_step(self, k: int, /) -> NoisyMMDStep:
        """The field of step k."""
        return NoisyMMDStep(self, k)


@dataclass(frozen=True, eq=False)
class NoisyMMDStep:
    """``v(y + noise z)`` with the z of one step. Made by ``NoisyMMDFlow.at_step``."""

    noisy: NoisyMMDFlow
    step: int
    """Number of the step."""

    def __call__(self, t: Time, y: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:  # noqa: ARG002
        """The velocity of each particle. Raises as ``MMDFlow``."""
        generator = step_generator(self.noisy.seed, self.step)
        z = torch.randn(y.shape, generator=generator, device=generator.device, dtype=torch.float64).to(y)
        return self.noisy.flow.at(y + self.noisy.noise * z, y)


@dataclass(frozen=True, eq=False)
class SlicedFlow:
    """The sliced W2 flow on fresh random directions at every step; each step is a ``SlicedField``.

    A ``StepwiseField``: the directions of step k are a function of (seed, k), drawn on the CPU; their
    mean is the flow of half of SW2 squared, of speed ``1 / d`` for a translation (ORC-21 of
    docs/theory). Errors as ``Data``.

    Raises:
        ValueError: fewer than one projection.
    """

    data: Float[Tensor, "m d"]
    """The cloud to be reached."""
    projections: int
    """Directions per step; for d = 1 one is enough."""
    seed: int
    """Seed of all steps."""
    _data: Data = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the data and the number."""
        require_projections(self.projections)
        object.__setattr__(self, "_data", Data(self.data))

    def at_step(self, k: int, /) -> SlicedField:
        """The field of step k."""
        directions = unit_directions(self.projections, self.data.shape[1], step_generator(self.seed, k))
        return SlicedField(self.data, directions.to(self.data))


def step_generator(seed: int, step: int) -> Generator:
    """The randomness of one step, unrelated to that of other steps and seeds."""
    digest = hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=8).digest()
    return Generator("cpu").manual_seed(int.from_bytes(digest, "little") >> 1)
