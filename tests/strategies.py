"""Hypothesis strategies shared by the suite: matrices, laws and noising paths of moderate size, float64."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import jaxtyping
import torch
from hypothesis import strategies as st
from torch import Tensor

from gflow.problems import LINEAR, VE, VP, Gaussian, GaussianMixture, Path

T = TypeVar("T")
F64 = torch.float64
dims = st.integers(1, 4)


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers on a grid of 10^-3 of the range: shrinks well and meets no denormals."""
    return st.integers(0, 1000).map(lambda i: low + (high - low) * i / 1000)


def tensors(shape: tuple[int, ...], low: float, high: float) -> st.SearchStrategy[Tensor]:
    """Entries drawn one by one."""
    size = int(torch.tensor(shape).prod())
    entries = st.lists(floats(low, high), min_size=size, max_size=size)
    return entries.map(lambda values: torch.tensor(values, dtype=F64).reshape(shape))


def spd(d: int) -> st.SearchStrategy[Tensor]:
    """``A A^T / d + 0.3 I`` with entries of A in [-2, 2]; condition number below 1e3."""
    return tensors((d, d), -2.0, 2.0).map(lambda a: a @ a.mT / d + 0.3 * torch.eye(d, dtype=F64))


@st.composite
def gaussians(draw: st.DrawFn, d: int | None = None) -> Gaussian:
    """Mean in [-3, 3]^d and an ``spd`` covariance, d in 1..4 unless given."""
    d = draw(dims) if d is None else d
    return build(Gaussian, draw(tensors((d,), -3.0, 3.0)), draw(spd(d)))


@st.composite
def mixtures(draw: st.DrawFn, d: int | None = None, kind: str | None = None) -> GaussianMixture:
    """1 to 3 components, weights >= 0.1; kind: "shared" or "isotropic" variances in [.05, 2], or "full"."""
    d = draw(dims) if d is None else d
    k = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["shared", "isotropic", "full"])) if kind is None else kind
    covariances = {
        "shared": floats(0.05, 2.0).map(lambda v: torch.full((k,), v, dtype=F64)),
        "isotropic": tensors((k,), 0.05, 2.0),
        "full": st.lists(spd(d), min_size=k, max_size=k).map(torch.stack),
    }[kind]
    return build(GaussianMixture, draw(weights(k)), draw(tensors((k, d), -3.0, 3.0)), draw(covariances))


def weights(k: int) -> st.SearchStrategy[Tensor]:
    """Positive weights of sum 1, none below 0.1 for k <= 3."""
    return tensors((k,), 0.25, 1.0).map(lambda w: w / w.sum())


@st.composite
def paths(draw: st.DrawFn) -> Path:
    """VP with constant or linear rates and T in [.5, 4], VE, or LINEAR."""
    rate, horizon = draw(floats(0.5, 3.0)), draw(floats(0.5, 4.0))
    make: Callable[[], Path] = draw(
        st.sampled_from(
            [
                lambda: VP(rate, rate, horizon),
                lambda: VP(0.1, rate, horizon),
                lambda: VE(rate),
                lambda: LINEAR,
            ]
        )
    )
    return build(make)


def inside(path: Path, share: float) -> float:
    """The time that lies ``share`` of the way from the data to the noise."""
    return path.data_time + share * (path.noise_time - path.data_time)


def points(n: int, d: int, seed: int, scale: float = 2.0) -> Tensor:
    """Seeded normal points (n, d)."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, d, generator=generator, dtype=F64)


def build(make: Callable[..., T], *arguments: Any) -> T:
    """``make(*arguments)`` inside a strategy: the type checker draws from ``random``, which hypothesis forbids."""
    state = random.getstate()
    try:
        return make(*arguments)
    finally:
        random.setstate(state)


@contextmanager
def untyped() -> Iterator[None]:
    """Without the suite's type checks: what a user's wrong argument meets in the library itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
