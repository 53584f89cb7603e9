"""Bounds of W2 squared that need no solver: one from each side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gflow.estimate import Estimate
from gflow.transport.clouds import read_clouds
from gflow.transport.cost import pair_costs
from gflow.transport.gaussian import bures_squared


@dataclass(frozen=True)
class CouplingW2:
    """Upper bound from a given pairing: the mean of ``|x_i - y_i|^2``.

    The natural estimator between an exact and a numerical flow that start from the same points.
    Biased up, as is the mean over any coupling but the optimal one.
    """

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], /) -> Estimate:
        """The mean square distance of the pairs, never below W2 squared between the clouds.

        Raises:
            ValueError: clouds of different shapes, empty, NaN or infinity.
        """
        clouds = read_clouds(x, y)
        if x.shape != y.shape:
            raise ValueError(f"y: expected shape {tuple(x.shape)}, row i paired with row i of x, got {tuple(y.shape)}")
        return Estimate.exact(float(pair_costs(clouds.x, clouds.y, root=False).mean()) * clouds.unit**2, bias="up")


@dataclass(frozen=True)
class GelbrichW2:
    """Lower bound from means and covariances (Gelbrich 1990), an equality between Gaussians.

    With the moments of the clouds themselves (1/n), so that it is never above W2 squared between
    the clouds; as an estimate between their laws it is biased down, up to the error of the moments.
    """

    def __call__(self, x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], /) -> Estimate:
        """The Bures-Wasserstein distance squared between the Gaussians with the clouds' moments.

        Raises:
            ValueError: fewer than 2 points, different dimensions, NaN or infinity.
        """
        clouds = read_clouds(x, y, least=2)
        value = bures_squared(*_moments(clouds.x), *_moments(clouds.y))
        return Estimate.exact(value * clouds.unit**2, bias="down")


def _moments(x: Float[np.ndarray, "n d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Mean and covariance of the uniform measure on the points."""
    mean = x.mean(axis=0)
    return torch.from_numpy(mean), torch.from_numpy((x - mean).T @ (x - mean) / len(x))
