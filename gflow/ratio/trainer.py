"""Critics trained on two clouds, whatever they minimise, and what particles climb with them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from gflow.learn import ClippedWeights, FitResult, OptimizerFactory, SpectralNorm, fit
from gflow.ratio.critic import CriticLogRatio, CriticPotential, critic_outputs
from gflow.ratio.fitting import check_clouds, shuffled
from gflow.ratio.objective import CriticObjective
from gflow.ratio.penalty import GradientPenalty


@dataclass(frozen=True, eq=False)
class FittedCritic:
    """A trained critic, with what it minimised and its training."""

    objective: CriticObjective
    """What the critic was trained for."""
    training: FitResult[nn.Module]
    """The critic, its curve and how it ended. For a warm start, train one whose network is ``.module``."""

    @property
    def critic(self) -> nn.Module:
        """The trained network."""
        return self.training.module

    @property
    def potential(self) -> CriticLogRatio | CriticPotential:
        """What particles climb: the log-ratio where outputs tell one, else the critic itself.

        Raises:
            ValueError: an objective whose critics give no velocity (hinge, RATIO-5).
        """
        kind = CriticPotential if self.objective.log_ratio is None else CriticLogRatio
        return kind(self.critic, self.objective)


@dataclass(frozen=True, eq=False)
class CriticTrainer:
    """Trains a critic on samples of p and q by minibatches, and stops by its loss on the part held out.

    The held-out loss is the objective's alone, an estimate of the risk, whose excess over the optimum is a
    distance to the true log-ratio (RATIO-2). Where the objective alone has no optimum (Wasserstein), it
    includes the penalty. It sees values; the gradient may be wrong where it is low (RATIO-6), see ``ratio_report``.

    Raises:
        ValueError: an unbounded objective without penalty, clipping or spectral normalization, ``batch < 1``,
            ``held_out`` outside (0, 1).
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
    compiled: bool = False
    """Whether ``torch.compile`` fuses the training loss; worth its half minute from some thousand steps on."""

    def __post_init__(self) -> None:
        """Check the numbers, and that the loss is bounded below."""
        if self.batch < 1:
            raise ValueError(f"batch: must be at least 1, got {self.batch}")
        if not 0.0 < self.held_out < 1.0:
            raise ValueError(f"held_out: expected a share in (0, 1), got {self.held_out}")
        bounded = self.penalty is not None or isinstance(self.network, ClippedWeights | SpectralNorm)
        if self.objective.optimum is None and not bounded:
            raise ValueError(
                f"objective: {self.objective.name} is unbounded below without a penalty, or a network under "
                f"ClippedWeights or SpectralNorm; got penalty None and a {type(self.network).__name__}"
            )

    def fit(self, p: Float[Tensor, "n d"], q: Float[Tensor, "m d"], generator: Generator, /) -> FittedCritic:
        """Train on samples of p (data) and of q (model). All randomness is the generator's, on its own device.

        Raises:
            ValueError: clouds of other dimensions, dtypes or devices, NaN or infinite entries, or so few rows
                that one part is empty.
            FitError: a loss or gradient that is not finite.
        """
        return FittedCritic(self.objective, self._train(p, q, generator))

    def _train(self, p: Tensor, q: Tensor, generator: Generator) -> FitResult[nn.Module]:
        check_clouds(p, q)
        (p_held, p_train), (q_held, q_train) = (self._split(n, x, generator) for n, x in (("p", p), ("q", q)))
        # Interpolates pair the rows of both.
        paired = min(len(p_held), len(q_held))

        batch_loss = torch.compile(self.batch_loss) if self.compiled else self.batch_loss

        def loss(critic: nn.Module, draws: Generator) -> Tensor:
            x, y = (_rows(cloud, self.batch, draws) for cloud in (p_train, q_train))
            # Drawn here: no generator passes through a compiler.
            return batch_loss(critic, x, y, None if self.penalty is None else self.penalty.points(x, y, draws))

        def judged(critic: nn.Module, draws: Generator) -> Tensor:
            value = self._risk(critic, p_held, q_held)
            if self.penalty is None or self.objective.optimum is not None:
                return value
            return value + self.penalty.loss(critic, p_held[:paired], q_held[:paired], draws)

        return fit(
            self.network,
            loss,
            steps=self.steps,
            optimizer=self.optimizer,
            ema_decay=self.ema_decay,
            generator=generator,
            held_out=judged,
            every=self.every,
            patience=self.patience,
        )

    def batch_loss(
        self, critic: nn.Module, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], at: Float[Tensor, "k d"] | None
    ) -> Float[Tensor, ""]:
        """The training loss on batches of p and of q, the penalty taken ``at`` its points; None without one."""
        value = self._risk(critic, x, y)
        return value if self.penalty is None or at is None else value + self.penalty.at_points(critic, at)

    def _risk(self, critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        # One evaluation of both batches: critics act row by row, and half the calls cost less.
        on_x, on_y = torch.split(critic_outputs(critic, torch.cat([x, y])), [len(x), len(y)])
        return self.objective.loss(on_x, on_y)

    def _split(self, name: str, cloud: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The held-out rows and the others, at random."""
        count = round(self.held_out * len(cloud))
        if not 0 < count < len(cloud):
            raise ValueError(f"{name}: {len(cloud)} rows leave a part of the share {self.held_out} empty")
        mixed = shuffled(cloud, generator)
        return mixed[:count], mixed[count:]


def _rows(cloud: Tensor, count: int, generator: Generator) -> Tensor:
    chosen = torch.randint(len(cloud), (count,), device=generator.device, generator=generator)
    return cloud[chosen.to(cloud.device)]
