"""What estimated flows are run towards: a normal law, three modes, and digits. Draws are shared by all estimators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.fields import FokkerPlanckFlow, GaussianKLFlow, Grid
from gflow.problems import Gaussian, GaussianMixture, SmoothDistribution, digits
from gflow.transport import ExactW2
from studies.wasserstein_flow.config import Config

if TYPE_CHECKING:
    from gflow.study import Context

SPAN = 4.0
"""Time that every flow is given: e^-4 is left of the distance where the rate is 1, that of the W2 flow."""
EARLY = 1.0
"""Time until which the error of a velocity is measured: most of the way is gone, and particles are not yet at rest."""
_HALF_WIDTH, _CELLS = 5.0, 80  # of the box on which the three modes' exact flow is solved


@dataclass(frozen=True, eq=False)
class Target:
    """A law to be reached from a start, with the clouds of one seed."""

    law: SmoothDistribution | None
    """p, where it is known."""
    origin: Gaussian
    """q_0."""
    start: Float[Tensor, "n d"]
    """Particles drawn from q_0."""
    points: Float[Tensor, "k d"]
    """Other points of q_0, that carry its score."""
    data: Float[Tensor, "m d"]
    """Samples of p that the estimators see: as many as particles, and all digits that are left."""
    fresh: Float[Tensor, "n d"]
    """Samples of p that they do not see."""
    floor: float
    """W2 between two samples of p of this size."""
    exact: Float[Tensor, "n d"] | None
    """Samples of the exact flow of KL at the time ``EARLY``, where it is known."""

    @property
    def w2_start(self) -> float:
        """W2 of the start to the data: what sets the speed of flows that have no time of their own."""
        return ExactW2()(self.start, self.data).sqrt().mean


def target(name: str, config: Config, context: Context) -> Target:
    """The target of that name with its clouds, the same for every estimator of a seed."""
    draw = context.generator_for("clouds", key=f"race/{name}")
    if name == "digits":
        return _digits(config, draw, context)
    law, origin = _planar(name, context)
    start, points = origin.sample(config.n, draw), origin.sample(config.probes, draw)
    data, fresh, other = (law.sample(config.n, draw) for _ in range(3))
    exact = _exact_flow(law, origin)(config.n, draw)
    return Target(law, origin, start, points, data, fresh, _w2(fresh, other), exact)


def _planar(name: str, context: Context) -> tuple[Gaussian | GaussianMixture, Gaussian]:
    def tensor(values: list[float] | list[list[float]]) -> Tensor:
        return torch.tensor(values, dtype=context.dtype, device=context.device)

    if name == "gaussian":
        law = Gaussian(tensor([0.0, 0.0]), tensor([[1.0, 0.5], [0.5, 0.75]]))
        return law, Gaussian(tensor([1.0, -1.0]), tensor([[0.5, 0.0], [0.0, 0.5]]))
    modes = tensor([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.5]])
    mixture = GaussianMixture(tensor([0.4, 0.4, 0.2]), modes, tensor([0.36, 0.36, 0.36]))
    return mixture, Gaussian(tensor([0.0, -1.0]), tensor([[0.25, 0.0], [0.0, 0.25]]))


def _exact_flow(law: Gaussian | GaussianMixture, origin: Gaussian) -> Callable[[int, Generator], Tensor]:
    """Samples of the exact flow's law at the time ``EARLY``: in closed form, or from finite volumes."""
    if isinstance(law, Gaussian):
        return GaussianKLFlow(law, origin).law(EARLY).sample
    corner = torch.full((2,), _HALF_WIDTH, dtype=origin.mu.dtype)
    grid = Grid(-corner, corner, (_CELLS, _CELLS))
    flow = FokkerPlanckFlow(grid, lambda x: law.log_prob(x.to(origin.mu.device)).cpu())
    masses = flow.propagate(grid.masses(lambda x: origin.log_prob(x.to(origin.mu.device)).cpu()), EARLY)

    def sample(n: int, draw: Generator) -> Tensor:
        cells = torch.multinomial(masses.reshape(-1).to(draw.device), n, replacement=True, generator=draw)
        jitter = torch.rand(n, 2, generator=draw, device=draw.device, dtype=masses.dtype) - 0.5
        return (grid.centres[cells.cpu()] + jitter.cpu() * grid.widths).to(origin.mu)

    return sample


def _digits(config: Config, draw: Generator, context: Context) -> Target:
    """Digits from noise of their mean and average variance; no law is known."""
    images = digits().to(dtype=context.dtype, device=context.device)
    order = torch.randperm(len(images), generator=draw, device=draw.device).to(images.device)
    fresh, other, data = (
        images[order[rows]] for rows in (slice(config.n), slice(config.n, 2 * config.n), slice(2 * config.n, None))
    )
    variance = images.var(0).mean()
    eye = torch.eye(images.shape[1], dtype=images.dtype, device=images.device)
    origin = Gaussian(images.mean(0), variance * eye)
    start, points = origin.sample(config.n, draw), origin.sample(config.probes, draw)
    return Target(None, origin, start, points, data, fresh, _w2(fresh, other), None)


def _w2(x: Tensor, y: Tensor) -> float:
    return ExactW2()(x, y).sqrt().mean
