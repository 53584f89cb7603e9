"""A critic trained on two clouds, its weights chosen by held-out risk, and its errors where the truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from gflow.learn import FitResult, OptimizerFactory, fit
from gflow.ratio.critic import CriticLogRatio, LogRatio, critic_outputs
from gflow.ratio.objective import CriticObjective
from gflow.ratio.penalty import GradientPenalty


@dataclass(frozen=True, eq=False)
class FittedRatio:
    """A trained critic's log-ratio, with its training."""

    log_ratio: CriticLogRatio
    """d and its gradient at any points."""
    training: FitResult[nn.Module]
    """The critic, its curve and how it ended. For a warm start, fit an estimator whose network is ``.module``."""


@dataclass(frozen=True, eq=False)
class DensityRatioEstimator:
    """Fits a critic to samples of p and q by minibatches, and stops by its loss on the part held out.

    The held-out loss is the objective's alone, without the penalty: an estimate of the risk, whose excess over
    the optimum is a distance to the true log-ratio (RATIO-2). It sees values; the gradient may be wrong where
    it is low (RATIO-6), see ``ratio_errors``.

    Raises:
        ValueError: an objective that tells no log-ratio, ``batch < 1``, ``held_out`` outside (0, 1).
    """

    network: nn.Module
    """The critic before training, (n, d) to (n, 1), in the dtype and on the device of the clouds; not changed."""
    objective: CriticObjective
    """What it minimises."""
    optimizer: OptimizerFactory
    """Any torch optimizer."""
    steps: int
    """Most optimizer steps."""
    batch: int
    """Rows of either cloud in a step, drawn with replacement."""
    held_out: float
    """Share of either cloud that is not trained on."""
    every: int
    """Steps between two looks at the held-out loss."""
    patience: int
    """Looks in a row without a new lowest loss after which training stops."""
    penalty: GradientPenalty | None = None
    """What is added to the training loss."""
    ema_decay: float = 0.0
    """Of the average of the weights that is judged and kept; 0 takes the weights themselves."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        CriticLogRatio(self.network, self.objective)
        if self.batch < 1:
            raise ValueError(f"batch: must be at least 1, got {self.batch}")
        if not 0.0 < self.held_out < 1.0:
            raise ValueError(f"held_out: expected a share in (0, 1), got {self.held_out}")

    def fit(self, p: Float[Tensor, "n d"], q: Float[Tensor, "m d"], generator: Generator, /) -> FittedRatio:
        """Train on samples of p (data) and of q (model). All randomness is the generator's, on its own device.

        Raises:
            ValueError: clouds of other dimensions, dtypes or devices, NaN or infinite entries, or so few rows
                that one part is empty.
            FitError: a loss or gradient that is not finite.
        """
        _check_clouds(p, q)
        (p_held, p_train), (q_held, q_train) = (self._split(n, x, generator) for n, x in (("p", p), ("q", q)))

        def loss(critic: nn.Module, draws: Generator) -> Tensor:
            x, y = (_rows(cloud, self.batch, draws) for cloud in (p_train, q_train))
            value = self._risk(critic, x, y)
            return value if self.penalty is None else value + self.penalty.loss(critic, x, y, draws)

        def risk(critic: nn.Module, draws: Generator) -> Tensor:  # noqa: ARG001
            return self._risk(critic, p_held, q_held)

        training = fit(
            self.network,
            loss,
            steps=self.steps,
            optimizer=self.optimizer,
            ema_decay=self.ema_decay,
            generator=generator,
            held_out=risk,
            every=self.every,
            patience=self.patience,
        )
        return FittedRatio(CriticLogRatio(training.module, self.objective), training)

    def _risk(self, critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return self.objective.loss(critic_outputs(critic, x), critic_outputs(critic, y))

    def _split(self, name: str, cloud: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The held-out rows and the others, at random."""
        count = round(self.held_out * len(cloud))
        if not 0 < count < len(cloud):
            raise ValueError(f"{name}: {len(cloud)} rows leave a part of the share {self.held_out} empty")
        order = torch.randperm(len(cloud), device=generator.device, generator=generator).to(cloud.device)
        return cloud[order[:count]], cloud[order[count:]]


@dataclass(frozen=True)
class RatioErrors:
    """How far an estimated log-ratio is from the true one, root mean squares at given points."""

    value: float
    """Of the values, after the best constant is taken off: a constant moves no particle."""
    gradient: float
    """Of the gradients: the error of the velocity of the KL flow (W2B-21)."""
    relative: float
    """The gradients' error over the size of the true gradient; ``inf`` where that is 0 everywhere."""


def ratio_errors(estimate: LogRatio, exact: LogRatio, x: Float[Tensor, "n d"], /) -> RatioErrors:
    """Value and gradient errors at ``x``, samples of q for the norms of L2(q): two different things (RATIO-6).

    Raises:
        ValueError: no points, or as the log-ratios do.
    """
    if not len(x):
        raise ValueError("x: expected at least one point, got none")
    with torch.no_grad():
        off = estimate(x) - exact(x)
    truth = exact.gradient(x)
    gradient, size = _rms(estimate.gradient(x) - truth), _rms(truth)
    return RatioErrors(_rms((off - off.mean()).unsqueeze(1)), gradient, gradient / size if size else math.inf)


def _rms(rows: Float[Tensor, "n k"]) -> float:
    """Root mean square length of the rows."""
    return float(rows.square().sum(1).mean().sqrt())


def _rows(cloud: Tensor, count: int, generator: Generator) -> Tensor:
    chosen = torch.randint(len(cloud), (count,), device=generator.device, generator=generator)
    return cloud[chosen.to(cloud.device)]


def _check_clouds(p: Tensor, q: Tensor) -> None:
    for name, cloud in (("p", p), ("q", q)):
        if bad := int((~torch.isfinite(cloud)).any(1).sum()):
            raise ValueError(f"{name}: {bad} of {len(cloud)} rows hold NaN or infinity")
    if p.shape[1] != q.shape[1] or p.dtype != q.dtype or p.device != q.device:
        kinds = [f"(n, {x.shape[1]}) {x.dtype} on {x.device}" for x in (p, q)]
        raise ValueError(f"p and q: need one dimension, dtype and device, got {kinds[0]} and {kinds[1]}")
