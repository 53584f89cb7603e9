"""Denoising score matching: the loss of a score network, its weights over time, its draws of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gflow.learn.score import coefficients
from gflow.learn.training import Loss
from gflow.problems.path import Path
from gflow.velocity import Time, VelocityField

Weight = Callable[[Float[Tensor, " n"]], Float[Tensor, " n"]]
"""lambda(t) >= 0 of the squared score error, times (n,) -> (n,)."""

_CELLS = 256
_UNIFORM_SHARE = 0.1


@dataclass(frozen=True)
class TimeDensity:
    """A piecewise constant density of times, drawn stratified: row i of n from the i-th n-quantile."""

    edges: Float[Tensor, " edges"]
    """Increasing ends of the cells, float64."""
    masses: Float[Tensor, " cells"]
    """Positive probabilities of the cells, of sum 1, float64."""

    def sample(self, n: int, generator: torch.Generator) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Times and their densities, float64 on the CPU; each time alone has the law of the density."""
        u = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device).cpu()
        q = (torch.arange(n, dtype=torch.float64) + u) / n
        above = torch.cumsum(self.masses, 0)
        cell = torch.searchsorted(above, q).clamp(max=len(self.masses) - 1)
        width, mass = self.edges.diff()[cell], self.masses[cell]
        t = self.edges[cell] + width * (1 - (above[cell] - q) / mass).clamp(0, 1)
        return t, mass / width


Times = Callable[[Path, float], TimeDensity]
"""How times are drawn: (path, t_min) -> density."""


def uniform_times(path: Path, t_min: float) -> TimeDensity:
    """Uniform between the noise and ``t_min`` before the data.

    Raises:
        ValueError: ``t_min`` outside (0, length of the path).
    """
    lo, hi = _interval(path, t_min)
    return TimeDensity(torch.tensor([lo, hi], dtype=torch.float64), torch.ones(1, dtype=torch.float64))


def log_noise_times(path: Path, t_min: float) -> TimeDensity:
    """Nearly uniform in ``tanh(log(sigma/alpha) / 4)``, which spends more draws on small noise.

    Importance sampling: the loss divides by the density, so its expectation does not change. A
    tenth of the mass stays uniform in t, so that no weight is unbounded.

    Raises:
        ValueError: ``t_min`` outside (0, length of the path).
    """
    lo, hi = _interval(path, t_min)
    towards = 1 if path.noise_time > path.data_time else -1
    distance = t_min * ((hi - lo + t_min) / t_min) ** torch.linspace(0, 1, _CELLS + 1, dtype=torch.float64)
    t = path.data_time + towards * distance
    t[0], t[-1] = path.data_time + towards * t_min, path.noise_time  # exactly
    p, q = (torch.as_tensor(c(t)).clamp(min=0) ** 0.5 for c in (path.sigma, path.alpha))
    moved, width = ((p - q) / (p + q)).diff().abs(), t.diff().abs()
    masses = (1 - _UNIFORM_SHARE) * moved / moved.sum() + _UNIFORM_SHARE * width / width.sum()
    return TimeDensity(t, masses) if towards > 0 else TimeDensity(t.flip(0), masses.flip(0))


def uniform(t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The weight 1: the plain integral of the squared score error."""
    return torch.ones_like(t)


def sigma_squared(path: Path) -> Weight:
    """The weight sigma(t)^2: the noise-prediction loss of DDPM (Ho et al. 2020, eq. 14)."""
    return lambda t: torch.as_tensor(path.sigma(t)) ** 2


def tabulated(ts: Float[Tensor, " k"], values: Float[Tensor, " k"]) -> Weight:
    """Linear between the knots (ts, values), constant beyond: for ``g^2 I / e``, best by W2B-8.

    Raises:
        ValueError: fewer than 2 knots, times that do not increase, values that are negative or not
            finite, or different lengths.
    """
    if len(ts) != len(values) or len(ts) < 2 or not bool((ts.diff() > 0).all()):
        raise ValueError(f"tabulated: needs at least 2 increasing times with one value each, got {ts} and {values}")
    if not bool((values >= 0).all() and torch.isfinite(values).all()):
        raise ValueError(f"tabulated: values must be finite and not negative, got {values}")

    def weight(t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        knots, heights = ts.to(t), values.to(t)
        k = torch.searchsorted(knots, t.contiguous()).clamp(1, len(ts) - 1)
        share = ((t - knots[k - 1]) / (knots[k] - knots[k - 1])).clamp(0, 1)
        return torch.lerp(heights[k - 1], heights[k], share)

    return weight


def denoising_score_matching(
    path: Path,
    data: Float[Tensor, "n d"],
    *,
    batch_size: int,
    weight: Weight,
    t_min: float,
    times: Times = uniform_times,
) -> Loss:
    """``int lambda(t) E|s(t, x_t) - grad log p_t(x_t | x_data)|^2 dt`` of a score network, as a ``Loss``.

    An unbiased estimate whatever ``times`` is, over t from ``t_min`` beside the data to the noise
    (Vincent 2011). It exceeds the score-matching loss by the integral of ``lambda C_t``, which no
    network changes (W2B-13). Rows are drawn from ``data`` with replacement; the network must have
    the dtype and device of ``data``.

    Raises:
        ValueError: fewer than 2 rows, data that are not finite, ``batch_size < 1``, or ``t_min``
            outside (0, length of the path).
    """
    if data.ndim != 2 or len(data) < 2 or not bool(torch.isfinite(data).all()):
        raise ValueError(f"data: expected at least 2 finite points (n, d), got {tuple(data.shape)}")
    if batch_size < 1:
        raise ValueError(f"batch_size: needs at least 1, got {batch_size}")
    density = times(path, t_min)

    def loss(module: nn.Module, generator: torch.Generator) -> Tensor:
        on = {"generator": generator, "device": generator.device}
        t, pdf = density.sample(batch_size, generator)
        rows = torch.randint(len(data), (batch_size,), **on)  # type: ignore[call-overload]
        z = torch.randn(batch_size, data.shape[1], dtype=data.dtype, **on).to(data.device)  # type: ignore[call-overload]
        factor = (weight(t) / pdf).to(data)
        return (factor * conditional_error(module, path, t.to(data.device), data[rows.to(data.device)], z)).mean()

    return loss


def conditional_error(
    score: VelocityField[Tensor], path: Path, t: Time, x_data: Float[Tensor, "n d"], z: Float[Tensor, "n d"]
) -> Float[Tensor, " n"]:
    """``|s(t, x_t) + z/sigma|^2`` of each row at ``x_t = alpha x_data + sigma z``; t as a ``ScoreNetwork`` takes it."""
    alpha, sigma = coefficients(path, t, x_data)
    error = score(t, alpha * x_data + sigma * z) + z / sigma
    squared: Tensor = (error * error).sum(1)
    return squared


def _interval(path: Path, t_min: float) -> tuple[float, float]:
    """The times from ``t_min`` beside the data to the noise, in increasing order."""
    length = abs(path.noise_time - path.data_time)
    if not 0 < t_min < length:
        raise ValueError(f"t_min: expected a distance from the data time in (0, {length:g}), got {t_min}")
    if path.noise_time > path.data_time:
        return path.data_time + t_min, path.noise_time
    return path.noise_time, path.data_time - t_min
