"""Radial kernels, and the reductions over pairs of points that every particle flow is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.transport.entropic import over_rows

_DIRECT_UP_TO = 8  # dimensions in which differences are summed one by one; a matrix product beyond


@runtime_checkable
class Kernel(Protocol):
    """``k(x, y)`` of the distance alone, 1 at distance 0. Both methods act entry by entry on ``|x - y|^2``."""

    def log(self, squared: Tensor, /) -> Tensor:
        """The logarithm of k."""
        ...

    def slope(self, squared: Tensor, /) -> Tensor:
        """The s with ``grad_x k(x, y) = s (y - x)``; 0 at distance 0 where k has no gradient."""
        ...


@dataclass(frozen=True)
class GaussianKernel:
    """``exp(-|x - y|^2 / (2 h^2))``.

    Raises:
        ValueError: a bandwidth that is not positive and finite.
    """

    bandwidth: float
    """h, a standard deviation."""

    def __post_init__(self) -> None:
        """Check the bandwidth."""
        require_bandwidth(self.bandwidth)

    def log(self, squared: Tensor, /) -> Tensor:
        """``-|x - y|^2 / (2 h^2)``."""
        return squared / (-2.0 * self.bandwidth**2)

    def slope(self, squared: Tensor, /) -> Tensor:
        """``k / h^2``."""
        return self.log(squared).exp() / self.bandwidth**2


@dataclass(frozen=True)
class LaplacianKernel:
    """``exp(-|x - y| / h)``: not smooth at 0, where its gradient is taken as 0.

    Raises:
        ValueError: a bandwidth that is not positive and finite.
    """

    bandwidth: float
    """h, a length."""

    def __post_init__(self) -> None:
        """Check the bandwidth."""
        require_bandwidth(self.bandwidth)

    def log(self, squared: Tensor, /) -> Tensor:
        """``-|x - y| / h``."""
        return -_root(squared) / self.bandwidth

    def slope(self, squared: Tensor, /) -> Tensor:
        """``k / (h |x - y|)``."""
        length = _root(squared)
        away = length > 0
        return torch.where(away, self.log(squared).exp() / (self.bandwidth * torch.where(away, length, 1.0)), 0.0)


def mean_shift(
    kernel: Kernel, x: Float[Tensor, "n d"], cloud: Float[Tensor, "m d"], log_masses: Float[Tensor, " m"]
) -> Float[Tensor, "n d"]:
    """``sum_j w_j k(x, x_j) (x_j - x) / sum_j w_j k(x, x_j)``, normalized in the log domain: no 0/0 far away."""
    centre = cloud.mean(0)
    points = cloud - centre

    def block(rows: Tensor) -> Tensor:
        return (kernel.log(_squared(rows, points)) + log_masses).softmax(1) @ points - rows

    return over_rows(x - centre, len(cloud), block)


def witness_gradient(
    kernel: Kernel, x: Float[Tensor, "n d"], cloud: Float[Tensor, "m d"], log_masses: Float[Tensor, " m"]
) -> Float[Tensor, "n d"]:
    """``grad_x sum_j w_j k(x, x_j)``."""
    centre, masses = cloud.mean(0), log_masses.exp()
    points = cloud - centre

    def block(rows: Tensor) -> Tensor:
        slopes = kernel.slope(_squared(rows, points)) * masses
        return slopes @ points - slopes.sum(1, keepdim=True) * rows

    return over_rows(x - centre, len(cloud), block)


def kernel_mean(
    kernel: Kernel,
    x: Float[Tensor, "n d"],
    cloud: Float[Tensor, "m d"],
    log_masses: Float[Tensor, " m"],
    values: Float[Tensor, "m p"],
) -> Float[Tensor, "n p"]:
    """``sum_j w_j k(x, x_j) values_j``."""
    centre = cloud.mean(0)
    points = cloud - centre

    def block(rows: Tensor) -> Tensor:
        return (kernel.log(_squared(rows, points)) + log_masses).exp() @ values

    return over_rows(x - centre, len(cloud), block)


def require_bandwidth(bandwidth: float) -> None:
    """Raise ValueError unless it is positive and finite."""
    if not 0.0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth: must be positive and finite, got {bandwidth}")


def _squared(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """``|x_i - y_j|^2``, 0 exactly for equal points."""
    if x.shape[1] <= _DIRECT_UP_TO:
        total = x.new_zeros(())
        for k in range(x.shape[1]):
            total = total + (x[:, k, None] - y[:, k]).square()
        return total
    size = x.square().sum(1)[:, None] + y.square().sum(1)
    squared = size - 2 * (x @ y.mT)
    # What cancellation leaves of equal points is rounding; its root would not be small.
    return torch.where(squared > 8 * torch.finfo(x.dtype).eps * size, squared, 0.0)


def _root(squared: Tensor) -> Tensor:
    """The root, with derivative 0 at 0."""
    away = squared > 0
    return torch.where(away, torch.where(away, squared, 1.0).sqrt(), 0.0)
