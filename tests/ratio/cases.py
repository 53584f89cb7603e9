"""All divergences and losses of the suite, probability vectors, and integrals over the line."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from gflow.problems import GaussianMixture
from gflow.ratio import (
    DIVERGENCES,
    GENERATOR_LOSSES,
    FDivergence,
    GeneratorLoss,
    alternative,
    exponential,
    frozen_naive,
    saturating,
    shifted,
)
from tests.strategies import F64, build, floats, tensors, weights

LOSSES = {
    loss.name: loss
    for loss in (
        *GENERATOR_LOSSES.values(),
        shifted(5.0),
        shifted(-1.0),
        exponential(1.5),
        exponential(0.5),
        *(make(f) for make in (saturating, alternative, frozen_naive) for f in DIVERGENCES.values()),
    )
}
divergences: st.SearchStrategy[FDivergence] = st.sampled_from(list(DIVERGENCES.values()))
losses: st.SearchStrategy[GeneratorLoss] = st.sampled_from(list(LOSSES.values()))

x = torch.linspace(-16.0, 16.0, 1601, dtype=F64)
"""Nodes of the trapezoidal rule, spectrally accurate for what decays at both ends."""


def integral(values: Tensor) -> Tensor:
    """The integral over the line of values (1601,) at the nodes."""
    return torch.trapezoid(values, x)


@st.composite
def simplices(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two probability vectors of one length, 2 to 6, ratios at most 20."""
    n = draw(st.integers(2, 6))
    p, q = (draw(tensors((n,), 0.05, 1.0)) for _ in range(2))
    return p / p.sum(), q / q.sum()


@st.composite
def targets(draw: st.DrawFn) -> GaussianMixture:
    """One-dimensional mixtures with variances in [.8, 1]: every loss here is integrable for ``models``."""
    k = draw(st.integers(1, 3))
    return build(GaussianMixture, draw(weights(k)), draw(tensors((k, 1), -1.0, 1.0)), draw(tensors((k,), 0.8, 1.0)))


models = st.tuples(floats(-1.0, 1.0), floats(0.85, 0.89))
"""Mean and standard deviation of a normal model with lighter tails than every target."""


def log_normal(points: Tensor, mean: float | Tensor, std: float | Tensor) -> Tensor:
    """The log-density of N(mean, std^2)."""
    mean, std = (torch.as_tensor(v, dtype=F64) for v in (mean, std))
    return -0.5 * ((points - mean) / std) ** 2 - std.log() - 0.5 * torch.log(torch.tensor(2.0 * torch.pi, dtype=F64))
