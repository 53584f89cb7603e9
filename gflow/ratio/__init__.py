"""Density ratios r = p/q of data p and model q: f-divergences and generator losses as data, and a checker of both.

The sign is fixed here once: d = log r = log p_data - log q_model. Knows no velocity field.
"""

from gflow.ratio.checker import Check, Identity, IdentityError, check_divergence, check_loss
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
from gflow.ratio.f_divergence import CriticOutput, FDivergence
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

__all__ = [
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
