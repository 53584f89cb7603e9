"""The estimator of a log-ratio by a critic: a trainer whose objective tells one."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Generator, Tensor

from gflow.ratio.critic import CriticLogRatio
from gflow.ratio.trainer import CriticTrainer, FittedCritic


@dataclass(frozen=True, eq=False)
class FittedRatio(FittedCritic):
    """A trained critic that tells a log-ratio."""

    @property
    def log_ratio(self) -> CriticLogRatio:
        """D and its gradient at any points."""
        return CriticLogRatio(self.critic, self.objective)


@dataclass(frozen=True, eq=False)
class DensityRatioEstimator(CriticTrainer):
    """The ``CriticTrainer`` of objectives that tell a log-ratio, and so a ``RatioEstimator``.

    Raises:
        ValueError: as ``CriticTrainer``, or an objective that tells no log-ratio.
    """

    def __post_init__(self) -> None:
        """Check the objective and the numbers."""
        CriticLogRatio(self.network, self.objective)
        super().__post_init__()

    def fit(self, p: Float[Tensor, "n d"], q: Float[Tensor, "m d"], generator: Generator, /) -> FittedRatio:
        """As ``CriticTrainer.fit``."""
        return FittedRatio(self.objective, self._train(p, q, generator))
