"""Networks and the one training loop that scores, critics and velocities share; no ODE."""

from gflow.learn.constraint import ClippedWeights, LipschitzBounded, SpectralNorm, StepModule, lipschitz_bound
from gflow.learn.convolutional import ConvCritic
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
from gflow.learn.result import FitError, FitRecord, FitResult, FitStatus
from gflow.learn.score import NOISE_FEATURES, BoundedBody, ScoreNetwork, noise_features
from gflow.learn.training import (
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
    "ClippedWeights",
    "ConvCritic",
    "ConvNet",
    "FitError",
    "FitRecord",
    "FitResult",
    "FitStatus",
    "LipschitzBounded",
    "Loss",
    "OptimizerFactory",
    "RateSchedule",
    "ScoreNetwork",
    "SpectralNorm",
    "StepModule",
    "TimeDensity",
    "Times",
    "Weight",
    "conditional_error",
    "constant",
    "cosine",
    "denoising_score_matching",
    "fit",
    "lipschitz_bound",
    "log_noise_times",
    "noise_features",
    "sigma_squared",
    "tabulated",
    "uniform",
    "uniform_times",
]
