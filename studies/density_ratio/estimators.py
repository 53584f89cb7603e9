"""What the names of a case stand for: critics with their objectives and penalties, and the kernel baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gflow.learn import MLP, FitError, FitResult, SpectralNorm
from gflow.problems import VE, Empirical, GaussianMixture
from gflow.ratio import (
    KL,
    LEAST_SQUARES,
    NEYMAN,
    PEARSON,
    REVERSE_KL,
    SQUARED_HELLINGER,
    VANILLA,
    WASSERSTEIN,
    CriticLogRatio,
    CriticObjective,
    CriticTrainer,
    FittedCritic,
    GradientPenalty,
    KernelDensityEstimator,
    KernelRatioEstimator,
    KnownLogRatio,
    Potential,
    critic_outputs,
    f_gan,
    r1,
    r2,
    wgan_gp,
    zero_centred,
)
from studies.density_ratio.config import Case, Config

if TYPE_CHECKING:
    from gflow.study import Context

OBJECTIVES: Mapping[str, CriticObjective] = {
    "vanilla": VANILLA,
    "least-squares": LEAST_SQUARES,
    "kl": f_gan(KL),
    "reverse-kl": f_gan(REVERSE_KL),
    "pearson": f_gan(PEARSON),
    "neyman": f_gan(NEYMAN),
    "squared-hellinger": f_gan(SQUARED_HELLINGER),
    "wasserstein": WASSERSTEIN,
}
PENALTIES: Mapping[str, Callable[[float], GradientPenalty]] = {
    "r1": r1,
    "r2": r2,
    "wgan-gp": wgan_gp,
    "zero-centred": zero_centred,
}
FACTORS = tuple(0.3 * 1.25**k for k in range(9))
"""Candidate bandwidths of density estimates, in Scott's."""
_TUNING = 1000  # points at which the truth chooses
KERNEL_RATIO = KernelRatioEstimator(
    factors=(0.1, 0.2, 0.3, 0.5, 0.7, 1.0), ridges=(1e-3, 1e-2, 1e-1, 1.0), centres=200, folds=5
)


@dataclass(frozen=True, eq=False)
class Fitted:
    """An estimator after its fit, for points in float64."""

    potential: Potential
    """What particles climb."""
    training: FitResult[Any] | None = None
    """How a critic came about."""

    def known(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
        """Where the output is that of a finite log-ratio; everywhere for what tells none."""
        if not isinstance(self.potential, CriticLogRatio):
            return torch.ones(len(x), dtype=torch.bool, device=x.device)
        objective = self.potential.objective
        assert objective.log_ratio is not None
        with torch.no_grad():
            return torch.isfinite(objective.log_ratio(critic_outputs(self.potential.critic, x)))


def fitted(
    config: Config, case: Case, exact: KnownLogRatio, p: Float[Tensor, "n d"], q: Float[Tensor, "n d"], context: Context
) -> Fitted:
    """The estimator of a case, fitted to clouds in float64. ``exact`` serves the one that chooses by the truth."""
    if case.estimator == "critic":
        return _critic(config, case, p, q, context)
    draws = context.generator_for("fit")
    if case.estimator == "ulsif":
        return Fitted(KERNEL_RATIO.fit(p, q, draws).log_ratio)
    if case.estimator == "kde":
        return Fitted(KernelDensityEstimator(FACTORS).fit(p, q, draws).log_ratio)
    return Fitted(_best(exact, p, q, exact.q.sample(_TUNING, draws)))


def _critic(config: Config, case: Case, p: Tensor, q: Tensor, context: Context) -> Fitted:
    """A trained critic: in the run's dtype while it trains, in float64 afterwards."""
    # First weights and minibatches are the same for every critic of a seed.
    weights, draws = (context.generator_for(role, key="critic", device=on) for role, on in _ROLES)
    network: nn.Module = MLP(case.dim, 1, hidden=(case.width, case.width), generator=weights, dtype=context.dtype)
    trainer = CriticTrainer(
        network=(SpectralNorm(network) if case.penalty == "spectral" else network).to(context.device),
        objective=OBJECTIVES[case.objective],
        penalty=PENALTIES[case.penalty](case.weight) if case.penalty in PENALTIES else None,
        optimizer=_adam,
        steps=config.steps,
        batch=256,
        held_out=0.2,
        every=50,
        patience=10,
        ema_decay=0.99,
    )
    try:
        training = trainer.fit(p.to(context.dtype), q.to(context.dtype), draws).training
    except FitError as error:  # the last good weights are judged, and the row says how the training ended
        training = error.result
    training.module.double()
    return Fitted(FittedCritic(trainer.objective, training).potential, training)


_ROLES = (("weights", "cpu"), ("minibatches", None))


def _adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=2e-3)


def _best(exact: KnownLogRatio, p: Tensor, q: Tensor, x: Float[Tensor, "k d"]) -> KnownLogRatio:
    """Density estimates at the bandwidths of the least gradient error at ``x``, which no user can know."""
    truth, laws = exact.gradient(x), [_smoothed(cloud) for cloud in (p, q)]
    scores = [[law.score(x) for law in family] for family in laws]

    def error(at: tuple[int, int]) -> float:
        return float((scores[0][at[0]] - scores[1][at[1]] - truth).square().mean())

    i, j = min(((i, j) for i in range(len(FACTORS)) for j in range(len(FACTORS))), key=error)
    return KnownLogRatio(laws[0][i], laws[1][j])


def _smoothed(cloud: Float[Tensor, "n d"]) -> list[GaussianMixture]:
    """The density estimates of a cloud at all candidate bandwidths."""
    n, d = cloud.shape
    scott = float(cloud.var(0).mean().sqrt()) * n ** (-1 / (d + 4))
    return [Empirical(cloud).at(VE(factor * scott), factor * scott) for factor in FACTORS]
