"""Particles and the critic that moves them as one state: nothing is remembered between steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.func import functional_call, grad

from gflow.fields.mono_flow import rescaled
from gflow.fields.particles.cloud import Data
from gflow.fields.particles.stepwise import step_generator
from gflow.learn.constraint import step_modules
from gflow.ratio import CriticLogRatio, CriticObjective, GeneratorLoss, GradientPenalty, critic_outputs
from gflow.velocity import Time


@dataclass(frozen=True, eq=False)
class TrackedFlow:
    """``dy/dt = h'(d) grad d`` and ``dphi/dt = -kappa grad_phi L``, d the log-ratio that the critic phi tells.

    The state is ``{"particles": (n, d), "critic": {name: parameter}}``, see ``start``. L is the critic's loss on
    the data and the present particles. A joint Runge-Kutta step keeps its order for this flow, which is within
    O(1/kappa) of that of the optimal critic in the network's family (INT-3 (iii), PARAM-9); h kappa must stay
    below the stability limit of the critic's loss. ``AlternatingEuler(("critic", "critic", "particles"))`` is the usual
    training: n_D updates of the critic, here 2 with learning rate ``h kappa / n_D``, then one of the particles.
    Training time from 0; dtype and device are those of the data; differentiable by ``torch.func.jvp`` and ``vjp``.

    Raises:
        ValueError: a kappa that is not positive and finite, an objective that tells no log-ratio, a network
            without parameters or with hidden state (``SpectralNorm``), or as ``Data``.
    """

    network: nn.Module
    """The critic, (n, d) to (n, 1) without batch statistics: its form and its buffers; not changed."""
    objective: CriticObjective
    """What it minimises."""
    loss: GeneratorLoss
    """The loss whose h rescales the velocity."""
    data: Float[Tensor, "m d"]
    """Samples of p."""
    kappa: float
    """Speed of the critic relative to the particles."""
    penalty: GradientPenalty | None = None
    """What is added to the critic's loss."""
    seed: int = 0
    """Of the points of a penalty on interpolates, the same at all times; nothing else is random."""
    _data: Data = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the numbers and the data."""
        if not 0.0 < self.kappa < math.inf:
            raise ValueError(f"kappa: must be positive and finite, got {self.kappa}")
        CriticLogRatio(self.network, self.objective)
        if not any(True for _ in self.network.parameters()):
            raise ValueError("network: has no parameters that could follow the particles")
        if renewed := step_modules(self.network):
            kind = type(renewed[0]).__name__
            raise ValueError(f"network: a {kind} changes from step to step beside its parameters, and so is no state")
        object.__setattr__(self, "_data", Data(self.data))

    def start(self, particles: Float[Tensor, "n d"], /) -> dict[str, Any]:
        """The state of these particles and of the network's parameters as they are.

        Raises:
            ValueError: particles of another shape, dtype or device than the data's.
        """
        self._data.require(particles, "particles")
        critic = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        return {"particles": particles.detach().clone(), "critic": critic}

    def __call__(self, t: Time, state: Mapping[str, Any], /) -> dict[str, Any]:  # noqa: ARG002
        """The velocities of particles and parameters.

        Raises:
            ValueError: a state that is not as ``start`` makes it, or a velocity of particles that is not finite.
        """
        y, phi = self._parts(state)

        def log_ratio(x: Tensor) -> tuple[Tensor, Tensor]:
            assert self.objective.log_ratio is not None
            d = self.objective.log_ratio(self._critic(phi, x))
            return d.sum(), d

        slope, d = grad(log_ratio, has_aux=True)(y)
        slopes = grad(self._risk)(phi, y)
        return {
            "particles": rescaled(self.loss, d, slope),
            "critic": {name: -self.kappa * each for name, each in slopes.items()},
        }

    def log_ratio(self, state: Mapping[str, Any], /) -> CriticLogRatio:
        """The log-ratio that the critic of a state tells. Raises as a call."""
        _, phi = self._parts(state)
        return CriticLogRatio(lambda x: self._critic(phi, x), self.objective)

    def _parts(self, state: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        names = [name for name, _ in self.network.named_parameters()]
        if set(state) != {"particles", "critic"} or set(state["critic"]) != set(names):
            raise ValueError(f"state: expected particles and critic with {names}, as start makes it")
        self._data.require(state["particles"], "particles")
        return state["particles"], dict(state["critic"])

    def _critic(self, phi: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return critic_outputs(lambda z: functional_call(self.network, dict(phi), (z,)), x)

    def _risk(self, phi: dict[str, Tensor], y: Tensor) -> Tensor:
        """The critic's loss, a 0-d tensor."""
        p = self._data.points
        risk = self.objective.loss(self._critic(phi, p), self._critic(phi, y))
        if self.penalty is None:
            return risk
        points = self.penalty.points(p, y, Generator("cpu").manual_seed(self.seed))
        return risk + self.penalty.of(grad(lambda x: self._critic(phi, x).sum())(points))


@dataclass(frozen=True, eq=False)
class MinibatchTrackedFlow:
    """A tracked flow whose critic sees a fresh minibatch of the data at every step.

    A ``StepwiseField``: all stages and retries of step k see the same rows, a function of (seed, k), drawn on the
    CPU with replacement.

    Raises:
        ValueError: ``batch < 1``.
    """

    flow: TrackedFlow
    """The flow on all data."""
    batch: int
    """Rows of the data in a step."""
    seed: int
    """Seed of all steps."""

    def __post_init__(self) -> None:
        """Check the batch."""
        if self.batch < 1:
            raise ValueError(f"batch: must be at least 1, got {self.batch}")

    def at_step(self, k: int, /) -> TrackedFlow:
        """The field of step k."""
        generator = step_generator(self.seed, k)
        rows = torch.randint(len(self.flow.data), (self.batch,), generator=generator, device=generator.device)
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        return dataclasses.replace(self.flow, data=self.flow.data[rows.to(self.flow.data.device)], seed=seed)
