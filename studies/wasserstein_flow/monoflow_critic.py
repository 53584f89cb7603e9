"""The six rows of MonoFlow's table whose ratio a critic tells: it is trained beside the generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import leaky_relu

from gflow.learn import MLP, RateSchedule, constant, cosine
from gflow.ratio import VANILLA
from studies.wasserstein_flow.monoflow import Row, target
from studies.wasserstein_flow.monoflow_model import CPU, Models, draws


@dataclass(frozen=True)
class CriticSettings:
    """How generator and critic are trained: one step each in turn, the critic first.

    The defaults calibrate the critic to a moving q: it learns something before the generator starts (without, one in
    twenty runs of r^1.5 strayed), and faster than it moves (rates 0.005 against 0.002); the generator comes to rest
    (cosine), and its Adam forgets within 20 steps (beta2) the first gradients, which the factor r^1.5 makes larger
    than all later ones.

    Raises:
        ValueError: steps or batch below 1, or a negative warm_up.
    """

    steps: int = 2000
    warm_up: int = 100
    """Steps of the critic before those, the generator at rest."""
    batch: int = 128
    """Points of each law a step."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the critic, leaky ReLU of slope 0.2 between them."""
    rate: float = 0.002
    """The generator's, times ``schedule``."""
    critic_rate: float = 0.005
    """The critic's, constant."""
    beta2: float = 0.95
    """Decay of the second moments of the generator's Adam; the critic's is torch's own."""
    schedule: RateSchedule = cosine

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.steps, self.batch) < 1 or self.warm_up < 0:
            raise ValueError(
                "CriticSettings: steps and batch must be at least 1 and warm_up not negative, "
                f"got {self.steps}, {self.batch} and {self.warm_up}"
            )


def published_settings(row: Row) -> CriticSettings:
    """Those of the published row."""
    return CriticSettings(
        steps=row.steps,
        warm_up=0,
        batch=32,
        hidden=(512, 256),
        rate=row.rate,
        critic_rate=0.001 if row.name == "critic/Rkl" else 0.0001,
        beta2=0.999,
        schedule=constant,
    )


def critic_row(
    row: Row,
    generators: Sequence[Generator],
    settings: CriticSettings,
    *,
    device: torch.device = CPU,
) -> Models:
    """One run of the row for each generator, all at once: each seed with its own critic.

    Float32. Equal, up to rounding, to as many runs with one generator each. The generator's loss takes the critic's
    output for the log-ratio, whose gradient in x is thereby the only thing that moves it.

    Raises:
        ValueError: no generator, or a row with the exact ratio.
    """
    if row.ratio != "critic" or not generators:
        raise ValueError(
            f"critic_row: needs a row with a critic and at least one generator, got {row.name} and {len(generators)}"
        )
    critics = Critics(generators, settings, device)
    models = Models.start(len(generators), device)
    optimizer = torch.optim.Adam(models.parameters, lr=settings.rate, betas=(0.9, settings.beta2), fused=True)
    p = target(device)
    for k in range(-settings.warm_up, settings.steps):
        data = torch.stack([p.sample(settings.batch, each) for each in generators])
        critics.step(data, models.held().points(draws(settings.batch, generators, device)))
        if k < 0:
            continue
        d = critics(models.points(draws(settings.batch, generators, device)))
        optimizer.param_groups[0]["lr"] = settings.rate * settings.schedule(k / settings.steps)
        _descend(optimizer, models.parameters, -row.loss.h(d).mean(1).sum())
    return models.held()


class Critics:
    """One critic a seed, trained side by side on the vanilla objective: its optimum is the log-ratio (RATIO-1).

    Networks as ``gflow.learn.MLP`` draws them, evaluated by batched products: with the gradient, and for one seed, a
    third of the time that ``vmap`` of ``functional_call`` takes.
    """

    def __init__(self, generators: Sequence[Generator], settings: CriticSettings, device: torch.device) -> None:
        networks = [MLP(2, 1, generator=each, hidden=settings.hidden, dtype=torch.float32) for each in generators]
        self.parameters: list[Tensor] = [
            torch.stack([parameter.detach() for parameter in same]).to(device).requires_grad_(True)
            for same in zip(*(network.layers.parameters() for network in networks), strict=True)
        ]
        self.optimizer = torch.optim.Adam(self.parameters, lr=settings.critic_rate, fused=True)

    def __call__(self, x: Float[Tensor, "s n 2"]) -> Float[Tensor, "s n"]:
        """The outputs of each critic at its own points."""
        weights, biases = self.parameters[::2], self.parameters[1::2]
        h = torch.baddbmm(biases[0][:, None], x, weights[0].mT)
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            h = torch.baddbmm(bias[:, None], leaky_relu(h, 0.2), weight.mT)
        return h.squeeze(-1)

    def step(self, data: Float[Tensor, "s n 2"], fakes: Float[Tensor, "s n 2"]) -> None:
        """One step of every critic."""
        D = self(torch.cat([data, fakes], 1))
        on_data, on_model = D[:, : data.shape[1]], D[:, data.shape[1] :]
        loss = VANILLA.on_data(on_data).mean(1) + VANILLA.on_model(on_model).mean(1)
        _descend(self.optimizer, self.parameters, loss.sum())


def _descend(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], loss: Tensor) -> None:
    """One step, with gradients to these parameters only: the other player's are not even computed."""
    gradients = torch.autograd.grad(loss, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
