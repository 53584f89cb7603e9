"""What all estimators of a density ratio have in common: their interface and the checks of their clouds."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.ratio.critic import LogRatio


@runtime_checkable
class RatioFit(Protocol):
    """What a fit leaves behind; estimators add how it came about."""

    @property
    def log_ratio(self) -> LogRatio:
        """D and its gradient at any points."""
        ...


@runtime_checkable
class RatioEstimator(Protocol):
    """Samples in, log-ratio out: critics, density estimates and kernel fits alike."""

    def fit(self, p: Float[Tensor, "n d"], q: Float[Tensor, "m d"], generator: Generator, /) -> RatioFit:
        """Fit to samples of p (data) and of q (model). All randomness is the generator's, on its own device.

        Raises:
            ValueError: clouds that do not fit each other, hold NaN or infinity, or are too small.
        """
        ...


def check_clouds(p: Tensor, q: Tensor, *, rows: int = 1) -> None:
    """Raise ValueError unless both are finite floating (n, d), ``rows`` or more, of one dimension, dtype and device."""
    for name, cloud in (("p", p), ("q", q)):
        if cloud.ndim != 2 or not cloud.is_floating_point():
            raise ValueError(f"{name}: expected floating points (n, d), got {tuple(cloud.shape)} {cloud.dtype}")
        if len(cloud) < rows:
            raise ValueError(f"{name}: needs {rows} or more rows, got {len(cloud)}")
        if bad := int((~torch.isfinite(cloud)).any(1).sum()):
            raise ValueError(f"{name}: {bad} of {len(cloud)} rows hold NaN or infinity")
    if p.shape[1] != q.shape[1] or p.dtype != q.dtype or p.device != q.device:
        kinds = [f"(n, {x.shape[1]}) {x.dtype} on {x.device}" for x in (p, q)]
        raise ValueError(f"p and q: need one dimension, dtype and device, got {kinds[0]} and {kinds[1]}")


def shuffled(cloud: Tensor, generator: Generator) -> Tensor:
    """The rows in random order, drawn on the generator's device."""
    return cloud[torch.randperm(len(cloud), device=generator.device, generator=generator).to(cloud.device)]
