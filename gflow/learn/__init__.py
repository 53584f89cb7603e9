"""Networks and the one training loop that scores, critics and velocities share; no ODE."""

from gflow.learn.matching import (
    TimeDensity,
    Times,
    Weight,
    conditional_error,
    denoising_score_matching,
    log_noise_times,
    sigma_squared,
    tabulated,
    uniform,
    uniform_times,
)
from gflow.learn.networks import MLP, Body, ConvNet
from gflow.learn.score import NOISE_FEATURES, BoundedBody, ScoreNetwork, noise_features
from gflow.learn.training import (
    FitError,
    FitRecord,
    FitResult,
    FitStatus,
    Loss,
    OptimizerFactory,
    RateSchedule,
    constant,
    cosine,
    fit,
)

__all__ = [
    "MLP",
    "NOISE_FEATURES",
    "Body",
    "BoundedBody",
    "ConvNet",
    "FitError",
    "FitRecord",
    "FitResult",
    "FitStatus",
    "Loss",
    "OptimizerFactory",
    "RateSchedule",
    "ScoreNetwork",
    "TimeDensity",
    "Times",
    "Weight",
    "conditional_error",
    "constant",
    "cosine",
    "denoising_score_matching",
    "fit",
    "log_noise_times",
    "noise_features",
    "sigma_squared",
    "tabulated",
    "uniform",
    "uniform_times",
]
