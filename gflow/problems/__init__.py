"""Problems with known truth: laws, noising paths, toy clouds, real data, games, oracles."""

from gflow.problems.clouds import checkerboard, eight_gaussians, grid_mixture, moons, ring_mixture, swiss_roll
from gflow.problems.distribution import Distribution, NoisedScore, SmoothDistribution
from gflow.problems.empirical import Empirical
from gflow.problems.files import digits, read_cloud
from gflow.problems.games import (
    SMOOTH_GAME,
    BilinearGame,
    DiracGan,
    FrozenOpponent,
    Game,
    GameFlow,
    PenalisedGame,
    PlanarGame,
)
from gflow.problems.gaussian import Gaussian
from gflow.problems.mixture import GaussianMixture
from gflow.problems.oracles import gaussian_flow_map, gaussian_jko_step, langevin_stationary
from gflow.problems.path import Path, Schedule
from gflow.problems.schedules import LINEAR, VE, VP, Linear

__all__ = [
    "LINEAR",
    "SMOOTH_GAME",
    "VE",
    "VP",
    "BilinearGame",
    "DiracGan",
    "Distribution",
    "Empirical",
    "FrozenOpponent",
    "Game",
    "GameFlow",
    "Gaussian",
    "GaussianMixture",
    "Linear",
    "NoisedScore",
    "Path",
    "PenalisedGame",
    "PlanarGame",
    "Schedule",
    "SmoothDistribution",
    "checkerboard",
    "digits",
    "eight_gaussians",
    "gaussian_flow_map",
    "gaussian_jko_step",
    "grid_mixture",
    "langevin_stationary",
    "moons",
    "read_cloud",
    "ring_mixture",
    "swiss_roll",
]
