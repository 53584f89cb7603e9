"""Density ratios r = p/q of data p and model q, and the critics that estimate them.

f-divergences, generator losses, critic objectives and gradient penalties are data; a checker holds their
functions together. The sign is fixed here once: d = log r = log p_data - log q_model. Knows no velocity
field.
"""

from gflow.ratio.checker import Check, Identity, IdentityError, check_divergence, check_loss
from gflow.ratio.critic import (
    Critic,
    CriticLogRatio,
    CriticPotential,
    KnownLogRatio,
    LogRatio,
    Potential,
    critic_gradient,
    critic_outputs,
)
from gflow.ratio.divergences import (
    DIVERGENCES,
    GAN,
    JENSEN_SHANNON,
    KL,
    NEYMAN,
    PEARSON,
    REVERSE_KL,
    SQUARED_HELLINGER,
    divergence,
)
from gflow.ratio.estimator import DensityRatioEstimator, FittedRatio
from gflow.ratio.f_divergence import CriticOutput, FDivergence
from gflow.ratio.fitting import RatioEstimator, RatioFit
from gflow.ratio.integrable import require_finite_rate
from gflow.ratio.kernel_density import KernelDensityEstimator
from gflow.ratio.kernel_ratio import KernelLogRatio, KernelRatioEstimator
from gflow.ratio.loss import GeneratorLoss, alternative, exponential, frozen_naive, saturating
from gflow.ratio.losses import (
    ARCSINH,
    CHI,
    EXPONENTIAL,
    GENERATOR_LOSSES,
    LOGIT,
    LSGAN,
    LSGAN_HALF,
    NON_SATURATING,
    SATURATING,
    generator_loss,
    shifted,
)
from gflow.ratio.objective import HINGE, LEAST_SQUARES, VANILLA, WASSERSTEIN, CriticObjective, f_gan
from gflow.ratio.penalty import GradientPenalty, r1, r2, wgan_gp, zero_centred
from gflow.ratio.report import (
    Calibration,
    RatioErrors,
    RatioReport,
    Slopes,
    calibration,
    ratio_errors,
    ratio_report,
    slopes,
)
from gflow.ratio.selection import Choice, KernelFit
from gflow.ratio.trainer import CriticTrainer, FittedCritic

__all__ = [
    "Calibration",
    "Choice",
    "CriticPotential",
    "CriticTrainer",
    "DensityRatioEstimator",
    "FittedCritic",
    "FittedRatio",
    "KernelDensityEstimator",
    "KernelFit",
    "KernelLogRatio",
    "KernelRatioEstimator",
    "Potential",
    "RatioErrors",
    "RatioEstimator",
    "RatioFit",
    "RatioReport",
    "Slopes",
    "ratio_errors",
    "ratio_report",
    "calibration",
    "require_finite_rate",
    "slopes",
    "HINGE",
    "LEAST_SQUARES",
    "VANILLA",
    "WASSERSTEIN",
    "Critic",
    "CriticLogRatio",
    "CriticObjective",
    "GradientPenalty",
    "KnownLogRatio",
    "LogRatio",
    "critic_gradient",
    "critic_outputs",
    "f_gan",
    "r1",
    "r2",
    "wgan_gp",
    "zero_centred",
    "ARCSINH",
    "CHI",
    "DIVERGENCES",
    "EXPONENTIAL",
    "GAN",
    "GENERATOR_LOSSES",
    "JENSEN_SHANNON",
    "KL",
    "LOGIT",
    "LSGAN",
    "LSGAN_HALF",
    "NEYMAN",
    "NON_SATURATING",
    "PEARSON",
    "REVERSE_KL",
    "SATURATING",
    "SQUARED_HELLINGER",
    "Check",
    "FDivergence",
    "GeneratorLoss",
    "Identity",
    "IdentityError",
    "CriticOutput",
    "alternative",
    "check_divergence",
    "check_loss",
    "divergence",
    "exponential",
    "frozen_naive",
    "generator_loss",
    "saturating",
    "shifted",
]
