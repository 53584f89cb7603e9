"""How large an empirical W2 is when the truth is zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.estimate import Estimate
from gflow.transport.clouds import check_cloud
from gflow.transport.exact import ExactW2
from gflow.transport.plan import W2Estimator

Sampler = Callable[[int, Generator], Tensor]
"""``(n, generator) -> (n, d)``, such as ``Distribution.sample``."""
_UNCERTIFIED = ExactW2(certify=False)


def sampling_floor(
    source: Sampler | Float[Tensor, "N d"],
    *,
    n: int,
    repeats: int,
    generator: Generator,
    estimator: W2Estimator = _UNCERTIFIED,
) -> Estimate:
    """W2 squared between two independent samples of n points of one law, pooled over repeats; bias ``up``.

    The truth is 0: a measured W2 at this level says no more than that n is too small. It falls as
    n^(-2/d) for d > 4 (Fournier and Guillin 2015), squared as here.

    Args:
        source: a sampler, called twice per repeat; or a cloud, of which each repeat draws two
            disjoint samples. Splits of one cloud share points, so that their interval is too
            narrow where ``2 n repeats`` exceeds the cloud.
        n: points per sample, at most half of a cloud.
        repeats: number of pairs; one repeat has no interval.
        generator: source of all randomness.
        estimator: what measures the floor: the estimator whose results it is to judge.

    Raises:
        ValueError: ``n`` or ``repeats`` below 1, a cloud with fewer than 2 n points, or what the
            estimator raises.
    """
    if repeats < 1:
        raise ValueError(f"repeats: needs at least 1, got {repeats}")
    if n < 1:
        raise ValueError(f"n: needs at least 1 point per sample, got {n}")
    pairs = (
        _splits(source, n, repeats, generator) if isinstance(source, Tensor) else _draws(source, n, repeats, generator)
    )
    return replace(Estimate.pool(estimator(x, y) for x, y in pairs), bias="up")


def _draws(sampler: Sampler, n: int, repeats: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Fresh pairs of samples."""
    for _ in range(repeats):
        yield sampler(n, generator), sampler(n, generator)


def _splits(cloud: Tensor, n: int, repeats: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Disjoint pairs of random samples without replacement."""
    check_cloud("source", cloud, least=2)
    if len(cloud) < 2 * n:
        raise ValueError(f"n: at most half of the {len(cloud)} points of source, {len(cloud) // 2}, got {n}")
    for _ in range(repeats):
        order = torch.randperm(len(cloud), generator=generator, device=generator.device).to(cloud.device)
        yield cloud[order[:n]], cloud[order[n : 2 * n]]
