"""MonoFlow's Gaussian experiment (Yi, Zhu and Liu 2023): its 18 rows, and which of them theory says converge.

A generator x = m + A z is fitted to N(0, C) by Adam on -E h(d), d the log-ratio of target to model. Who supplies d
decides what that descends: differentiated *through* (both the points and the model's density move), *held* (the exact
ratio, but only the points move), or told by a *critic*.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.problems import Gaussian
from gflow.ratio import (
    JENSEN_SHANNON,
    KL,
    PEARSON,
    REVERSE_KL,
    SQUARED_HELLINGER,
    GeneratorLoss,
    exponential,
    frozen_naive,
)
from gflow.transport import bures_squared

Ratio = Literal["through", "held", "critic"]
Verdict = Literal["converges", "diverges", "undecided"]


def target(device: torch.device) -> Gaussian:
    """The data's law on a device; float32, as the experiment is."""
    return Gaussian(torch.zeros(2, device=device), torch.tensor([[1.0, 0.8], [0.8, 0.89]], device=device))


@dataclass(frozen=True)
class Row:
    """One row of the table: a generator loss, where its log-ratio comes from, and what was printed."""

    name: str
    """Unique."""
    ratio: Ratio
    loss: GeneratorLoss
    """``-E h(d)``."""
    steps: int
    rate: float
    """Adam's; its other settings are torch's own."""
    printed_mean: tuple[float, float]
    printed_covariance: tuple[float, float, float]
    """Entries 11, 12 and 22."""


_RKL, _FKL, _CHI = frozen_naive(REVERSE_KL), frozen_naive(KL), frozen_naive(PEARSON)
_HELLINGER, _JS, _EXP = frozen_naive(SQUARED_HELLINGER), frozen_naive(JENSEN_SHANNON), exponential(1.5)

ROWS = (
    Row("through/Rkl", "through", _RKL, 1000, 0.01, (0.006, 0.005), (0.985, 0.790, 0.888)),
    Row("through/Fkl", "through", _FKL, 3000, 0.01, (-0.005, 0.003), (1.001, 0.801, 0.891)),
    Row("through/Chi", "through", _CHI, 5000, 0.01, (0.001, 0.001), (1.004, 0.803, 0.893)),
    Row("through/Hellinger", "through", _HELLINGER, 3000, 0.01, (0.0, 0.0), (1.0, 0.8, 0.89)),
    Row("through/Js", "through", _JS, 3000, 0.01, (0.0, 0.0), (1.0, 0.8, 0.89)),
    Row("through/Exp", "through", _EXP, 2000, 0.01, (1.708, 0.793), (0.503, -0.544, 1.928)),
    Row("held/Rkl", "held", _RKL, 1000, 0.01, (0.0, 0.0), (1.0, 0.8, 0.89)),
    Row("held/Fkl", "held", _FKL, 3000, 0.001, (1.418, 1.433), (0.547, -0.477, 0.530)),
    Row("held/Chi", "held", _CHI, 3000, 0.001, (1.391, 1.282), (0.532, -0.439, 0.611)),
    Row("held/Hellinger", "held", _HELLINGER, 3000, 0.001, (1.512, 1.523), (0.441, -0.437, 0.433)),
    Row("held/Js", "held", _JS, 3000, 0.001, (1.558, 1.487), (0.484, -0.470, 0.487)),
    Row("held/Exp", "held", _EXP, 3000, 0.01, (0.0, 0.0), (1.0, 0.8, 0.89)),
    Row("critic/Rkl", "critic", _RKL, 5000, 0.001, (-0.0104, -0.0157), (0.9834, 0.7690, 0.8679)),
    Row("critic/Fkl", "critic", _FKL, 5000, 0.001, (1.6201, 1.5804), (0.5085, -0.4789, 0.4802)),
    Row("critic/Chi", "critic", _CHI, 5000, 0.001, (1.3703, 1.4636), (0.5145, -0.4808, 0.4999)),
    Row("critic/Hellinger", "critic", _HELLINGER, 5000, 0.001, (1.5803, 1.5131), (0.1146, -0.0502, 0.0647)),
    Row("critic/Js", "critic", _JS, 5000, 0.001, (1.4924, 1.4193), (0.1165, -0.0822, 0.0957)),
    Row("critic/Exp", "critic", _EXP, 5000, 0.001, (0.0369, -0.0670), (1.0466, 0.8204, 0.8678)),
)
"""The table in its printed order: the loss Exp is h = r^1.5, the others are E f(r) of the divergence they name."""

EXACT_ROWS = tuple(row for row in ROWS if row.ratio != "critic")
CRITIC_ROWS = tuple(row for row in ROWS if row.ratio == "critic")


def row_named(name: str) -> Row:
    """The row of that name.

    Raises:
        ValueError: no such row; the message lists them.
    """
    for row in ROWS:
        if row.name == name:
            return row
    raise ValueError(f"unknown row {name!r}; known are {', '.join(row.name for row in ROWS)}")


def predicted(row: Row) -> Verdict:
    """What theory says of the row, from its loss alone.

    Differentiated through, the loss is the integral E_q f(r) with f(r) = -h(log r): a divergence, minimal at q = p,
    exactly if f is convex (RATIO-3). With the ratio held or told, the points move by h'(d) grad d, which descends
    KL(q||p) for every pair exactly if h' >= 0 (MONO-1, MONO-3).
    """
    descends = _convex(row.loss) if row.ratio == "through" else row.loss.monotone
    return "converges" if descends else "diverges"


def _convex(loss: GeneratorLoss) -> bool:
    """Whether f(r) = -h(log r) is convex, by the sign of r^2 f'' = h' - h'' at log-ratios in [-4, 4]."""
    d = torch.linspace(-4.0, 4.0, 161, dtype=torch.float64)
    second = torch.func.grad(lambda d: loss.h_prime(d).sum())(d)
    return bool((loss.h_prime(d) - second > 0).all())


def w2_to_target(mean: Float[Tensor, "s 2"], covariance: Float[Tensor, "s 2 2"]) -> Float[Tensor, " s"]:
    """W2 of each N(mean, covariance) to the target, in closed form; float64 on the CPU."""
    p = target(mean.device)
    squares = [bures_squared(m, c, p.mu, p.C) for m, c in zip(mean, covariance, strict=True)]
    return torch.tensor(squares, dtype=torch.float64).sqrt()


START_W2 = float(w2_to_target(torch.ones(1, 2), torch.eye(2)[None]))
"""W2 of the start N((1, 1), I) to the target: 1.578."""


def verdict(w2: Iterable[float]) -> Verdict:
    """What runs did, by the mean of their final W2 to the target: in units of the start's.

    Converged: nine tenths of the way are gone; diverged: further away than at the start. Between the two, or NaN, the
    runs show neither.

    Raises:
        ValueError: no runs.
    """
    found = list(w2)
    if not found:
        raise ValueError("w2: expected the results of at least one run, got none")
    share = sum(found) / len(found) / START_W2
    return "converges" if share <= 0.1 else "diverges" if share >= 1.0 else "undecided"
