"""Problems with known truth: laws, noising paths, toy clouds, real data, oracles."""

from gflow.problems.clouds import checkerboard, eight_gaussians, grid_mixture, moons, ring_mixture, swiss_roll
from gflow.problems.distribution import Distribution, NoisedScore, SmoothDistribution
from gflow.problems.empirical import Empirical
from gflow.problems.files import digits, read_cloud
from gflow.problems.gaussian import Gaussian
from gflow.problems.mixture import GaussianMixture
from gflow.problems.oracles import gaussian_flow_map
from gflow.problems.path import Path, Schedule
from gflow.problems.schedules import LINEAR, VE, VP, Linear

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
    "checkerboard",
    "digits",
    "eight_gaussians",
    "gaussian_flow_map",
    "grid_mixture",
    "moons",
    "read_cloud",
    "ring_mixture",
    "swiss_roll",
]
