"""What kernel estimates of a ratio share: choices by cross-validation, sums of normal laws, distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.problems import GaussianMixture
from gflow.ratio.critic import LogRatio

BLOCK = 2**22
"""Entries of a temporary over pairs of points: 32 MiB in float64."""


@dataclass(frozen=True)
class Choice:
    """A number that cross-validation chose."""

    name: str
    """What it is."""
    value: float
    """The candidate with the best score."""
    score: float
    """Its cross-validated score."""
    at_edge: bool
    """Whether it is the smallest or largest candidate of several: a wider range may do better."""


@dataclass(frozen=True, eq=False)
class KernelFit:
    """A ratio by kernels, with what was chosen for it."""

    log_ratio: LogRatio
    """d and its gradient at any points, in closed form."""
    choices: tuple[Choice, ...]
    """Bandwidths, and the ridge where there is one."""


def squared(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """``|x_i - y_j|^2``, 0 for equal points."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()


def normals(centres: Float[Tensor, "b d"], weights: Float[Tensor, " b"], bandwidth: float) -> GaussianMixture:
    """The mixture of normal laws of one bandwidth."""
    return GaussianMixture(weights, centres, centres.new_full((len(centres),), bandwidth**2))


def choose(name: str, candidates: Sequence[float], scores: Sequence[float], best: int) -> Choice:
    """The candidate of index ``best``."""
    value = candidates[best]
    at_edge = len(candidates) > 1 and value in (min(candidates), max(candidates))
    return Choice(name, value, scores[best], at_edge)


def require_positive(name: str, values: tuple[float, ...]) -> None:
    """Raise ValueError unless there are values, all positive and finite."""
    if not values or not all(0.0 < value < math.inf for value in values):
        raise ValueError(f"{name}: need positive finite numbers, at least one, got {values}")
