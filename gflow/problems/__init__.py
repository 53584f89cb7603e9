"""Problems with known truth: laws, noising paths, toy clouds, real data, oracles."""

from gflow.problems.distribution import Distribution, NoisedScore, SmoothDistribution
from gflow.problems.empirical import Empirical
from gflow.problems.gaussian import Gaussian
from gflow.problems.mixture import GaussianMixture
from gflow.problems.path import LINEAR, VE, VP, Linear, Path, Schedule

__all__ = [
    "LINEAR",
    "VE",
    "VP",
    "Distribution",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "Linear",
    "NoisedScore",
    "Path",
    "Schedule",
    "SmoothDistribution",
]
