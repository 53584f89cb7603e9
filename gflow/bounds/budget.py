"""The error budget: how much of a sampler's W2 error each approximation may cause (W2B-16)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import Ladder, OneSidedConstant, check_cloud, default_tolerance, ordered_pairs
from gflow.bounds.continuous import climb, ladder
from gflow.bounds.discrete import StepConstant, discrete_ladder
from gflow.bounds.numerical import NumericalPair
from gflow.bounds.rungs import log, log_sum, rms
from gflow.estimate import Estimate
from gflow.ode import BrownianPath, ConstantStep, EulerMaruyama, ExplicitRK, StepController, solve_ivp
from gflow.transport import CouplingW2, ExactW2
from gflow.velocity import VelocityField


@dataclass(frozen=True)
class ErrorBudget:
    """Terms whose sum bounds W2 between the sampler's cloud and the target, beside the measured W2."""

    initial: Estimate
    """Started from the prior instead of the noised data, carried to the end by the model's flow."""
    model: Estimate
    """The model's field instead of the reference field."""
    discretization: Estimate
    """The numerical method instead of the model's exact flow."""
    truncation: Estimate | None
    """Stopped early: coupling of fresh data with their noised selves; None where the target is p_stop."""
    monte_carlo: Estimate | None
    """Finite clouds: W2 between noised fresh data and the reference cloud; None without fresh data."""
    measured: Estimate
    """Exact W2 between the sampler's cloud and fresh data, or the reference cloud without them."""
    target: str
    """``p_0`` or ``p_stop``: the law that ``measured`` and the sum are about."""

    @property
    def terms(self) -> dict[str, Estimate]:
        """The terms that exist, by name."""
        named = {
            "truncation": self.truncation,
            "initial": self.initial,
            "model": self.model,
            "discretization": self.discretization,
            "monte_carlo": self.monte_carlo,
        }
        return {name: term for name, term in named.items() if term is not None}

    @property
    def total(self) -> Estimate:
        """The sum of the terms: the bound, in log form; bias ``unknown`` where a term may be too small."""
        sizes = [_log(term) for term in self.terms.values()]
        certain = all(term.bias == "up" for term in self.terms.values())
        return Estimate.bound(log_sum(*sizes), bias="up" if certain else "unknown")

    @property
    def slack(self) -> Estimate:
        """Bound minus measured W2; the bound itself where it overflows."""
        bound, w2 = self.total, self.measured
        if math.isinf(bound.mean):
            return bound
        return Estimate(bound.mean - w2.mean, bound.mean - w2.hi, bound.mean - w2.lo, bias=bound.bias)


@dataclass(frozen=True)
class FreshData:
    """Independent draws of the data, and the same draws noised to the stopping time.

    Raises:
        TypeError: clouds that are not tensors.
        ValueError: clouds of different shapes, fewer than 2 points, or NaN or infinite numbers.
    """

    clean: Float[Tensor, "m d"]
    """Points of p_0."""
    noised: Float[Tensor, "m d"]
    """alpha x + sigma z of the same points at the stopping time, row by row."""

    def __post_init__(self) -> None:
        """Check the clouds."""
        check_cloud("fresh.clean", self.clean)
        check_cloud("fresh.noised", self.noised)
        if self.clean.shape != self.noised.shape:
            shapes = f"{tuple(self.clean.shape)} and {tuple(self.noised.shape)}"
            raise ValueError(f"fresh: clean and noised must have one shape, got {shapes}")


@dataclass(frozen=True)
class SamplerRun:
    """A budget with the clouds that it is about."""

    budget: ErrorBudget
    model_ladder: Ladder
    """Reference against model from the same noised data: what ``budget.model`` is a rung of."""
    reference: Float[Tensor, "n d"]
    """Cloud of the reference at the end."""
    sampled: Float[Tensor, "n d"]
    """Cloud of the sampler at the end."""


def ode_budget(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    x0: Float[Tensor, "n d"],
    y0: Float[Tensor, "n d"],
    s0: float,
    s1: float,
    *,
    method: ExplicitRK,
    controller: StepController,
    fresh: FreshData | None = None,
    osl: OneSidedConstant | None = None,
    tol: float | None = None,
    max_steps: int = 1_000_000,
) -> SamplerRun:
    """Budget of an ODE sampler: ``y0`` moved by ``method`` along g, against ``x0`` moved exactly along f.

    Every term is a ``pathwise`` rung: f against g from the same ``x0`` (model); g against itself
    from optimally paired ``x0`` and ``y0`` (initial); the interpolated numerical solution u, which
    solves u' = g(u) + defect, against the exact flow of g from ``y0`` (discretization, W2B-10),
    solved anew over each step of u: at their common times both are states, not interpolants. Each
    term solves its own flows; what two solves of one flow differ by, which the tolerance decides, is
    added to the discretization term. So the sum bounds W2 between the two final clouds by the triangle
    inequality. The interpolant of u is cubic Hermite: where a step of u takes several of the exact
    flow, the term has order 3 in the step at most, also for methods of higher order.

    Args:
        f: reference field in sampling time.
        g: model field in sampling time.
        x0: noised data.
        y0: draws of the prior, as many.
        s0: initial sampling time.
        s1: final sampling time.
        method: the sampler's method.
        controller: the sampler's steps.
        fresh: independent data, which make the measured W2 one to p_0; None measures it to ``reference``.
        osl: one-sided Lipschitz constant of g, for the published rung of the model's ladder.
        tol: tolerance of the exact flows, as in ``ladder``.
        max_steps: cap on the steps of each solve.

    Raises:
        ValueError: as ``ladder``, or ``fresh`` of another dimension.
        SolveError: a solve failed.
    """
    x, y = ordered_pairs(x0, y0, paired=False)
    _check_fresh(fresh, x)
    model = ladder(f, g, x, None, s0, s1, osl=osl, tol=tol, max_steps=max_steps)
    initial = ladder(g, g, x, y, s0, s1, tol=tol, paired=True, max_steps=max_steps)
    tol = default_tolerance(x) if tol is None else tol
    numerical = solve_ivp(g, y, s0, s1, method=method, controller=controller, dense=True, max_steps=max_steps)
    assert numerical.dense is not None
    pair = NumericalPair(g, y, numerical.dense, tol, max_steps)
    certificate = climb(pair, g, pair.grid, osl=None, nodes=2, evaluations=0).pathwise
    again = ((model.y, initial.x), (initial.y, pair(pair.grid[-1])[1]))
    logs = [log(rms((a - b).norm(dim=1))) for a, b in again]
    discretization = Estimate.bound(log_sum(_log(certificate), *logs), bias="up")
    return _run((initial.pathwise, model.pathwise, discretization), model, model.x, numerical.y1, fresh)


def sde_budget(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    x0: Float[Tensor, "n d"],
    y0: Float[Tensor, "n d"],
    s0: float,
    s1: float,
    *,
    steps: int,
    refinement: int,
    diffusion: Callable[[float], float],
    noise: BrownianPath,
    fresh: FreshData | None = None,
    step_constant: StepConstant | None = None,
) -> SamplerRun:
    """Budget of an Euler-Maruyama sampler; all runs share ``noise`` (W2B-5).

    Model and initial terms are ``pathwise`` rungs of the discrete ladder on the sampler's own grid.
    The discretization term is the coupling distance of the reference at ``steps`` and at
    ``refinement * steps`` steps: an upper bound of W2 between the two, short of the finer run's own
    error, hence labelled ``down``.

    Args:
        f: reference drift in sampling time.
        g: model drift in sampling time.
        x0: noised data.
        y0: draws of the prior, as many.
        s0: initial sampling time.
        s1: final sampling time.
        steps: steps of the sampler.
        refinement: factor of the reference's finer grid; ``noise`` must hold it.
        diffusion: coefficient of the noise at sampling time s.
        noise: the shared Brownian path.
        fresh: independent data, which make the measured W2 one to p_0; None measures it to ``reference``.
        step_constant: Lipschitz constant of one model step, for the published rung.

    Raises:
        ValueError: as ``discrete_ladder``, ``refinement < 2``, or ``fresh`` of another dimension.
        SolveError: a run became non-finite.
    """
    x, y = ordered_pairs(x0, y0, paired=False)
    _check_fresh(fresh, x)
    if refinement < 2:
        raise ValueError(f"refinement: must be at least 2, or there is no finer run to compare with; got {refinement}")
    model = discrete_ladder(
        f, g, x, None, s0, s1, steps=steps, diffusion=diffusion, noise=noise, step_constant=step_constant
    )
    initial = discrete_ladder(g, g, x, y, s0, s1, steps=steps, diffusion=diffusion, noise=noise, paired=True)
    finer = ConstantStep((s1 - s0) / steps / refinement)
    fine = solve_ivp(f, x, s0, s1, method=EulerMaruyama(diffusion, noise), controller=finer).y1
    # The ladders end with the sampler's own runs: the reference from x, the model from y.
    discretization = Estimate.exact(rms((fine - model.x).norm(dim=1)), bias="down")
    return _run((initial.pathwise, model.pathwise, discretization), model, fine, initial.y, fresh)


def _run(
    terms: tuple[Estimate, Estimate, Estimate],
    model: Ladder,
    reference: Float[Tensor, "n d"],
    sampled: Float[Tensor, "n d"],
    fresh: FreshData | None,
) -> SamplerRun:
    """The budget of two final clouds, widened by the way from the reference cloud to fresh data."""
    exact = ExactW2()
    budget = ErrorBudget(
        *terms,
        truncation=None if fresh is None else CouplingW2()(fresh.clean, fresh.noised).sqrt(),
        monte_carlo=None if fresh is None else exact(fresh.noised, reference).sqrt(),
        measured=exact(reference if fresh is None else fresh.clean, sampled).sqrt(),
        target="p_stop" if fresh is None else "p_0",
    )
    return SamplerRun(budget, model, reference, sampled)


def _check_fresh(fresh: FreshData | None, x: Float[Tensor, "n d"]) -> None:
    if fresh is not None and fresh.clean.shape[1] != x.shape[1]:
        raise ValueError(f"fresh: expected points in {x.shape[1]} dimensions as x0, got {fresh.clean.shape[1]}")


def _log(term: Estimate) -> float:
    """Natural logarithm of a term, also of one that overflows."""
    return math.log(10.0) * term.log10 if math.isinf(term.mean) and term.log10 else log(term.mean)
