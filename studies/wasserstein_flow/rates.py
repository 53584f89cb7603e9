"""Decay of KL on the line for every loss (MONO-1, WGF-3), and between two modes, where it waits for the barrier."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from scipy.integrate import quad
from torch import Tensor

from gflow.fields import FiniteVolumeFlow, FokkerPlanckFlow
from gflow.problems import Distribution, GaussianMixture
from gflow.ratio import CHI, EXPONENTIAL, LOGIT, LSGAN_HALF, SATURATING, GeneratorLoss, generator_loss
from gflow.transport import w2_squared_1d
from studies.wasserstein_flow.config import Case, Config
from studies.wasserstein_flow.line import F64, box, laws, normal, reach

if TYPE_CHECKING:
    from gflow.study import Context

ALPHA = 1.0
"""Constant of the logarithmic Sobolev inequality of p = N(0, 1), also when it is cut to an interval (Bakry-Emery)."""
WALL = 4.0
"""The interval is [-WALL, WALL]."""
HORIZON = 2.0
"""Time over which KL is followed."""
SHORT = 0.1
"""The same for a loss with h' < 0: the flow is then a heat equation run backwards, and breaks down."""
_LONG = 10.0  # no run with h' < 0 lives so long
_TIMES = 41
_LEVELS = 4000  # quantiles behind W2 on the line
WEIGHTS = (0.6, 0.4)
"""Of the modes at the start; both are 1/2 in p."""
LATE = 12.0
"""Time at which the rate between modes is read: within a mode the flow forgets at rate 2."""

LOGIT_AND_SATURATING = GeneratorLoss(
    name="logit + saturating",
    h=lambda d: LOGIT.h(d) + SATURATING.h(d),
    h_prime=lambda d: LOGIT.h_prime(d) + SATURATING.h_prime(d),
    descends="KL(q||p) + 2 JS(p, q)",
)
"""h' = 1 + sigma(d), never below 1."""
_OWN = {"chi": CHI, "exponential": EXPONENTIAL, LOGIT_AND_SATURATING.name: LOGIT_AND_SATURATING}


def named(name: str) -> GeneratorLoss:
    """The loss of a case."""
    return _OWN[name] if name in _OWN else generator_loss(name)


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: KL, its slope by the faces and by differences, its bound and D_phi along one flow."""
    loss = named(case.problem)
    grid = box(-WALL, WALL, config.cells // 4)  # explicit steps cost the cube of the cells
    target, start = normal(0.0, 1.0), _start(context, loss)
    flow = FiniteVolumeFlow(grid, target.log_prob, loss)
    horizon = HORIZON if loss.monotone else SHORT
    times = torch.linspace(0.0, horizon, _TIMES, dtype=F64)
    masses = laws(flow, grid.masses(start.log_prob), times.tolist())
    kl = [flow.linear.kl(m) for m in masses]
    faces = [flow.dissipation(m) for m in masses]
    slopes = [_slope(flow, m) for m in masses]
    least = [float(loss.h_prime(flow.linear.log_target - m.log()).min()) for m in masses]
    bounds = _bounds(kl[0], least, times)
    own = _own_divergence(flow, masses)
    row = {
        "horizon": horizon,
        "kl": [kl[0], kl[-1]],
        "rate": math.log(kl[0] / kl[-1]) / horizon,
        "guaranteed": math.log(bounds[0] / bounds[-1]) / horizon,
        "least_h_prime": min(least),
        "identity": max(abs(s + f) / abs(f) for s, f in zip(slopes, faces, strict=True)),
        "start_rate": [faces[0], _rate_of_densities(flow, start)],
        "bound_over_kl": min(b / k for b, k in zip(bounds[1:], kl[1:], strict=True)),
        "rise": max(kl) / kl[0] - 1.0,
        "falls": all(after <= before for before, after in pairwise(kl)),
        "own_falls": None if own is None else all(after <= before for before, after in pairwise(own)),
        "w2_bound_over_w2": _contraction(flow, masses, times) if loss is LOGIT else None,
    }
    saved = {} if own is None else {"own": torch.tensor(own, dtype=F64)}
    if not loss.monotone:
        row["reach"] = [_reach(loss, start, cells) for cells in (grid.cells[0], 2 * grid.cells[0])]
    row["arrays"] = context.save_arrays(
        "decay", t=times, kl=torch.tensor(kl, dtype=F64), bound=torch.tensor(bounds, dtype=F64), **saved
    )
    return row


def run_modes(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: from wrong weights of the modes, KL and its rate after both modes have settled within."""
    a = float(case.problem)
    target = GaussianMixture(*_two((0.5, 0.5), a, 1.0))
    # Displaced within the modes, so that the fast part of the way is seen as well.
    inward = 0.3 + 0.4 * float(torch.rand((), generator=context.generator_for("start", key="modes", device="cpu")))
    start = GaussianMixture(*_two(WEIGHTS, a - inward, 0.7))
    grid = box(-a - 5.0, a + 5.0, config.cells)
    flow = FokkerPlanckFlow(grid, target.log_prob)
    times = [0.0, *torch.logspace(-2.0, math.log10(LATE - 1.0), _TIMES - 2).tolist(), LATE]
    masses = [grid.masses(start.log_prob)]
    for before, after in pairwise(times):
        masses.append(flow.propagate(masses[-1], after - before))
    kl = [flow.kl(m) for m in masses]
    return {
        "kl": [kl[0], kl[-1]],
        "rate": math.log(kl[-2] / kl[-1]) / (times[-1] - times[-2]),
        "barrier": _barrier(a),
        "predicted": _gap_rate(a),
        "arrays": context.save_arrays("modes", t=torch.tensor(times), kl=torch.tensor(kl, dtype=F64)),
    }


def _start(context: Context, loss: GeneratorLoss) -> Distribution:
    """q_0, the same for all monotone losses of a seed, with tails lighter than those of p.

    For a loss with h' < 0 where p > q it is a narrower normal law: there |grad log r| is largest in the tails, where
    p > q, so that theory says that KL rises.
    """
    u = torch.rand(4, generator=context.generator_for("start", key="decay", device="cpu"), dtype=F64).tolist()
    variance = 0.45 + 0.15 * u[0]
    if loss is LSGAN_HALF:
        return normal(0.0, variance)
    weight = 0.3 + 0.4 * u[1]
    means = torch.tensor([[-0.2 - 0.3 * u[2]], [0.5 + 0.4 * u[3]]], dtype=F64)
    return GaussianMixture(
        torch.tensor([weight, 1.0 - weight], dtype=F64), means, torch.full((2,), variance, dtype=F64)
    )


def _reach(loss: GeneratorLoss, start: Distribution, cells: int) -> list[float]:
    """Cells, and the time at which the flow breaks down on them, if it does."""
    flow = FiniteVolumeFlow(box(-WALL, WALL, cells), normal(0.0, 1.0).log_prob, loss)
    return [cells, reach(flow, flow.grid.masses(start.log_prob), _LONG)]


def _slope(flow: FiniteVolumeFlow, masses: Float[Tensor, " cells"]) -> float:
    """The rate of KL by differences of KL itself along the velocity, of order 4: no sum over faces enters."""
    v = flow(0.0, masses)
    step = 1e-3 / float((v / masses).abs().max())
    near, far = (flow.linear.kl(masses + k * step * v) - flow.linear.kl(masses - k * step * v) for k in (1, 2))
    return (8.0 * near - far) / (12.0 * step)


def _rate_of_densities(flow: FiniteVolumeFlow, start: Distribution) -> float:
    """``E_q h'(d) |grad d|^2`` at time 0 from the densities' own formulas: what the faces tend to."""
    x, masses = flow.grid.centres, flow.grid.masses(start.log_prob)
    d = flow.linear.log_target - masses.log()
    slope = -x[:, 0] - start.score(x)[:, 0]
    return float(masses @ (flow.loss.h_prime(d) * slope.square()))


def _bounds(first: float, least: list[float], times: Float[Tensor, " times"]) -> list[float]:
    """``KL(0) exp(-2 alpha int inf h'(d_s) ds)`` at the times, the integral by its lower sum."""
    steps = [b - a for a, b in pairwise(times.tolist())]
    lower = torch.tensor([0.0, *(h * min(a, b) for h, (a, b) in zip(steps, pairwise(least), strict=True))], dtype=F64)
    bounds: list[float] = (first * (-2.0 * ALPHA * lower.cumsum(0)).exp()).tolist()
    return bounds


def _own_divergence(flow: FiniteVolumeFlow, masses: Float[Tensor, "times cells"]) -> list[float] | None:
    """D_phi(q || p) at the times, less its value at q = p; None where phi has no elementary form."""
    phi = flow.loss.phi
    if phi is None:
        return None
    d = flow.linear.log_target - masses.log()
    values: list[float] = ((phi(d) - phi(torch.zeros_like(d))) @ flow.linear.log_target.exp()).tolist()
    return values


def _contraction(flow: FiniteVolumeFlow, masses: Float[Tensor, "times cells"], times: Float[Tensor, " times"]) -> float:
    """The smallest ratio of ``e^{-alpha t} W2(q_0, p)`` to W2(q_t, p) over the later times (WGF-3)."""
    goal = flow.grid.quantiles(flow.linear.log_target.exp(), _LEVELS)[:, 0]
    w2 = [math.sqrt(w2_squared_1d(flow.grid.quantiles(m, _LEVELS)[:, 0], goal)) for m in masses]
    return min(math.exp(-ALPHA * t) * w2[0] / w for t, w in zip(times[1:].tolist(), w2[1:], strict=True))


def _two(weights: tuple[float, float], a: float, variance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and variances of two normal laws at -a and a."""
    means = torch.tensor([[-a], [a]], dtype=F64)
    return torch.tensor(weights, dtype=F64), means, torch.full((2,), variance, dtype=F64)


def _barrier(a: float) -> float:
    """``log p(a)/p(0)`` for half of N(-a, 1) and half of N(a, 1)."""
    return a * a / 2.0 - math.log(2.0) + math.log1p(math.exp(-2.0 * a * a))


def _gap_rate(a: float) -> float:
    """Twice the spectral gap ``4 / int_{-a}^{a} dx/p`` of two equal modes: the rate of KL across a high barrier.

    One over the mean time from mode to mode (Kramers 1940). His closed form takes the barrier's top for a parabola;
    here it is 1/cosh(a x) however high, so that the closed form would be off by a quarter and the integral is kept.
    """

    def inverse_density(x: float) -> float:
        return math.sqrt(2.0 * math.pi) * math.exp((x * x + a * a) / 2.0) / math.cosh(a * x)

    return 8.0 / float(quad(inverse_density, -a, a)[0])
