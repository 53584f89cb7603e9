"""Clouds of points as the solvers want them: checked, float64, centred, scaled to order one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_LARGEST = 1e150


@dataclass(frozen=True)
class Clouds:
    """A transport problem in units of its own size. Solvers compare costs with absolute tolerances."""

    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "m d"]
    a: Float[np.ndarray, " n"] | None
    """Masses of x; None: uniform."""
    b: Float[np.ndarray, " m"] | None
    """Masses of y; None: uniform."""
    unit: float
    """Length that 1.0 stands for: a power of two, so that scaling back is exact."""

    @property
    def uniform(self) -> bool:
        """Whether every point of each cloud has the same mass."""
        return self.a is None and self.b is None

    @property
    def masses(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
        """Both mass vectors, written out."""
        n, m = len(self.x), len(self.y)
        return (np.full(n, 1 / n) if self.a is None else self.a, np.full(m, 1 / m) if self.b is None else self.b)


def read_clouds(
    x: Tensor, y: Tensor, x_weights: Tensor | None = None, y_weights: Tensor | None = None, *, least: int = 1
) -> Clouds:
    """Check both clouds and normalize them; the one way into this package.

    Raises:
        TypeError: an argument that is not a tensor.
        ValueError: not (n, d) floating-point, fewer than ``least`` points, NaN, infinity or squares
            that overflow, different dimensions, or weights that are not n non-negative numbers with
            a positive sum.
    """
    check_cloud("x", x, least=least)
    check_cloud("y", y, least=least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"y: expected dimension {x.shape[1]} as x has, got {tuple(y.shape)}")
    a, b = _weights("x_weights", x_weights, len(x)), _weights("y_weights", y_weights, len(y))
    xs, ys = _float64(x), _float64(y)
    for name, points in (("x", xs), ("y", ys)):
        if np.abs(points).max() > _LARGEST:
            raise ValueError(f"{name}: coordinates beyond {_LARGEST:.0e}, whose squares overflow float64")
    # Distances ignore a common shift; the cancellation in |x|^2 + |y|^2 - 2xy does not.
    centre = xs.mean(axis=0) / 2 + ys.mean(axis=0) / 2
    xs, ys = xs - centre, ys - centre
    largest = max(float(np.abs(xs).max()), float(np.abs(ys).max()))
    unit = 2.0 ** math.floor(math.log2(largest)) if largest > 1 / _LARGEST else 1.0
    return Clouds(xs / unit, ys / unit, a, b, unit)


def check_cloud(name: str, x: Tensor, *, least: int = 1) -> None:
    """Raise unless ``x`` is a finite floating-point cloud (n, d) of at least ``least`` points."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor (n, d), got {type(x).__name__}; torch.as_tensor converts arrays")
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name}: expected a cloud (n, d) with d >= 1, got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"{name}: expected a floating-point dtype, got {x.dtype}; convert it by .double()")
    if len(x) < least:
        raise ValueError(f"{name}: needs at least {least} point{'s' * (least > 1)}, got {len(x)}")
    bad = (~torch.isfinite(x)).any(dim=1).nonzero()
    if len(bad):
        raise ValueError(f"{name}: {len(bad)} of {len(x)} points hold NaN or infinity, first at row {int(bad[0])}")


def log_masses(name: str, weights: Tensor | None, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Logarithms of masses of sum 1, in the dtype and on the device of ``points``; uniform for None.

    Raises:
        TypeError: weights that are not a tensor.
        ValueError: weights that are not n non-negative numbers with a positive sum.
    """
    masses = _weights(name, weights, len(points))
    if masses is None:
        return points.new_full((len(points),), -math.log(len(points)))
    return torch.from_numpy(masses).log().to(points)


def _float64(x: Tensor) -> Float[np.ndarray, "n d"]:
    """A float64 array of the values; keeps nothing of the graph or the device."""
    array: np.ndarray = x.detach().to("cpu", torch.float64).numpy()
    return array


def _weights(name: str, weights: Tensor | None, n: int) -> Float[np.ndarray, " n"] | None:
    """Masses of sum 1 in float64, or None."""
    if weights is None:
        return None
    if not isinstance(weights, Tensor):
        raise TypeError(f"{name}: expected a tensor ({n},), got {type(weights).__name__}")
    if weights.shape != (n,):
        raise ValueError(f"{name}: expected shape ({n},), one weight per point, got {tuple(weights.shape)}")
    array = weights.detach().to("cpu", torch.float64).numpy()
    total = float(array.sum())
    if not (np.isfinite(array).all() and array.min() >= 0 and total > 0):
        raise ValueError(f"{name}: expected finite weights >= 0 with a positive sum, got sum {total}")
    return array / total
