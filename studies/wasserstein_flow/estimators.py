"""The velocity estimators by name: each a field, a method, and what is known of its velocity."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gflow.fields import GaussianKLFlow, JKOError, JKOStatus, JKOStep, LangevinDrift, ResidualMap
from gflow.fields.particles import (
    DriftingFlow,
    GaussianKernel,
    LaplacianKernel,
    MeanField,
    MMDFlow,
    NoisyMMDFlow,
    RefittedFlow,
    SinkhornFlow,
    SlicedFlow,
    SteinFlow,
    TrackedFlow,
)
from gflow.learn import MLP, ConvCritic
from gflow.ode import EULER, AlternatingEuler, BrownianPath, ExplicitRK
from gflow.ode.method import Method
from gflow.problems import Gaussian
from gflow.ratio import (
    LOGIT,
    REVERSE_KL,
    VANILLA,
    DensityRatioEstimator,
    GradientPenalty,
    KernelDensityEstimator,
    KernelRatioEstimator,
    RatioEstimator,
    f_gan,
    r1,
)
from gflow.transport import Sinkhorn
from studies.wasserstein_flow.config import Config
from studies.wasserstein_flow.targets import SPAN, Target

if TYPE_CHECKING:
    from gflow.study import Context

_EULER = ExplicitRK(EULER)


def _itself(state: Any) -> Any:
    return state


@dataclass(frozen=True, eq=False)
class Flow:
    """A velocity estimator as it is integrated."""

    field: Any
    """A ``VelocityField`` or ``StepwiseField`` on the state; None for implicit steps."""
    method: Callable[[int], Method] = lambda _steps: _EULER
    """The method for a number of steps."""
    held: MeanField | None = None
    """The velocity at points that are no particles, where it is a function of point and cloud."""
    kl: bool = False
    """Whether it estimates the velocity of the KL flow, in the time of that flow."""
    begin: Callable[[Tensor], Any] = _itself
    """The state of some particles."""
    particles: Callable[[Any], Tensor] = _itself
    """The particles of a state; of a trajectory as well."""
    walk: Callable[[int], Tensor] | None = None
    """For implicit steps, in place of a field: all particles after each of a number of steps, the start first."""


def flow(name: str, target: Target, config: Config, context: Context) -> Flow:
    """The estimator of that name towards a target."""
    seed = context.seed_for("estimator") >> 1
    data, start, d = target.data, target.start, target.data.shape[1]
    width = _scale(data) * len(data) ** (-1 / (d + 4))  # Scott's bandwidth
    wide = GaussianKernel(_scale(data) * math.sqrt(d))  # about the distance of two points
    mmd = MMDFlow(data, wide)
    sinkhorn = Sinkhorn(eps=0.1 * d * _scale(data) ** 2, tolerance=1e-4)
    made: dict[str, Callable[[], Flow]] = {
        "exact": lambda: Flow(_exact(target), kl=True),
        "svgd": lambda: _held(SteinFlow(_law(target).score, GaussianKernel(width))),
        "mmd": lambda: _held(mmd),
        "noisy mmd": lambda: Flow(NoisyMMDFlow(mmd, noise=0.3 * _scale(data), seed=seed)),
        "drifting": lambda: _held(DriftingFlow(data, GaussianKernel(width))),
        "drifting, Laplacian": lambda: _held(DriftingFlow(data, LaplacianKernel(width))),
        "drifting, unit speed": lambda: _held(DriftingFlow(data, GaussianKernel(width), normalised=True)),
        "sinkhorn": lambda: _held(SinkhornFlow(data, sinkhorn)),
        "sinkhorn, two batches": lambda: Flow(SinkhornFlow(data, sinkhorn, two_batches=True)),
        "sliced": lambda: Flow(SlicedFlow(data, projections=64, seed=seed)),
        "langevin": lambda: _langevin(target, start, seed),
        "tracked critic": lambda: _tracked(target, config, context, seed),
        "jko critic": lambda: Flow(None, walk=lambda steps: _jko(target, config, context, steps), kl=True),
    }
    if name in made:
        return made[name]()
    refitted = RefittedFlow(_ratio(name, d, config, context), data, LOGIT, seed)
    return Flow(refitted, held=refitted, kl=True)


def _ratio(name: str, d: int, config: Config, context: Context) -> RatioEstimator:
    """The estimators of a density ratio."""
    if name == "kde":
        return KernelDensityEstimator(factors=(0.5, 0.7, 1.0, 1.4, 2.0))
    if name == "ulsif":
        return KernelRatioEstimator(factors=(0.35, 0.5, 0.7, 1.0), ridges=(1e-3, 1e-2, 1e-1), centres=100, folds=4)
    return _critic(name, d, config, context, r1(0.2) if name == "critic R1" else None)


def _critic(
    name: str, d: int, config: Config, context: Context, penalty: GradientPenalty | None
) -> DensityRatioEstimator:
    draw, hidden = context.generator_for("network", device="cpu"), (config.width, config.width)
    network: nn.Module
    if name == "convolutional critic":
        network = ConvCritic(math.isqrt(d), generator=draw, channels=8, dtype=context.dtype)
    else:
        network = MLP(d, 1, hidden=hidden, generator=draw, dtype=context.dtype)
    return DensityRatioEstimator(
        network=network.to(context.device),
        objective=VANILLA,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
        steps=config.critic_steps,
        batch=min(128, config.n),
        held_out=0.2,
        every=10,
        patience=config.critic_steps,  # all steps are taken, and the weights of the lowest held-out risk are kept
        penalty=penalty,
    )


def _held(field: Any) -> Flow:
    return Flow(field, held=field)


def _exact(target: Target) -> GaussianKLFlow:
    law = _law(target)
    assert isinstance(law, Gaussian)
    return GaussianKLFlow(law, target.origin)


def _law(target: Target) -> Any:
    assert target.law is not None, "no case asks for the score of a law that is not known"
    return target.law


def _langevin(target: Target, start: Tensor, seed: int) -> Flow:
    drift = LangevinDrift(_law(target).score)

    def method(steps: int) -> Method:
        levels = math.ceil(math.log2(steps))
        return drift.sampler(BrownianPath(0.0, SPAN, tuple(start.shape), levels=levels, seed=seed, dtype=start.dtype))

    return Flow(drift, method, kl=True)


def _tracked(target: Target, config: Config, context: Context, seed: int) -> Flow:
    """A critic fitted to the start, then one gradient step a step of the particles."""
    first = _critic("critic", target.data.shape[1], config, context, None)
    draw = torch.Generator("cpu").manual_seed(seed)
    network = first.fit(target.data, target.start, draw).critic
    kappa = 0.5 * config.steps / SPAN  # a learning rate of 1/2
    tracked = TrackedFlow(network, VANILLA, LOGIT, target.data, kappa=kappa)
    return Flow(
        tracked,
        lambda _steps: AlternatingEuler(("critic", "particles")),
        kl=True,
        begin=tracked.start,
        particles=lambda state: state["particles"],
    )


def _jko(target: Target, config: Config, context: Context, steps: int) -> Tensor:
    """Implicit steps, each by a map and a dual critic that start from those of the step before."""
    d, draw = target.data.shape[1], context.generator_for("network", device="cpu")
    hidden = (config.width, config.width)
    step = JKOStep(
        h=SPAN / steps,
        objective=f_gan(REVERSE_KL),
        map=ResidualMap(MLP(d, d, hidden=hidden, generator=draw, dtype=context.dtype)).to(context.device),
        critic=MLP(d, 1, hidden=hidden, generator=draw, dtype=context.dtype).to(context.device),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
        critic_optimizer=lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
        steps=config.critic_steps,
        critic_steps=2,
        tolerance=1e-2,
    )
    path = [target.start]
    for _ in range(steps):
        # A finite sample's saddle is not reached in so few updates: the residual is that of the step, not an error.
        found = step.solve(path[-1], target.data, throw=False)
        if found.status is JKOStatus.NOT_FINITE:
            raise JKOError(f"JKOStep: {found.status.value}", found)
        path.append(found.particles)
        step = dataclasses.replace(step, critic=found.critic)
    return torch.stack(path)


def _scale(cloud: Tensor) -> float:
    """Root mean square standard deviation along the axes."""
    return float(cloud.var(0).mean().sqrt())
