"""Four modes with the exact score and a controlled score error: what the ladder and the budget do along sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds import Panels, cauchy_schwarz_bound, sharper_sampler_bound, sign_term, truncation_bound
from gflow.bounds.climbing import Ladder
from gflow.bounds.discrete import StepConstant
from gflow.estimate import Estimate
from gflow.ode import ConstantStep, EulerMaruyama, solve_ivp
from gflow.problems import VP, GaussianMixture, NoisedScore
from gflow.transport import ExactW2, optimal_pairs
from studies.w2_bound.config import Case, Config
from studies.w2_bound.measure import brownian, floor_of, row, sample_run
from studies.w2_bound.problem import Diffusion, four_modes

if TYPE_CHECKING:
    from gflow.study import Context

_SIGN_NODES = 9


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: perturbed mixture against the true one."""
    like = torch.zeros(2, dtype=context.dtype, device=context.device)
    data, model = (four_modes(case.geometry, eps, like=like) for eps in (0.0, case.eps))
    path = VP(0.1, case.beta_max)
    problem = Diffusion(path, NoisedScore(data, path), NoisedScore(model, path), case.stop)
    x0, y0, fresh = clouds(problem, data, config, case, context)
    drift = problem.drift(problem.model, 0.0)
    result = sample_run(
        problem,
        case,
        x0,
        y0,
        fresh,
        context,
        osl=lambda s: drift.sampling_osl(problem.time(s)),
        step_constant=step_constant(problem, model, 1.0),
    )
    extra: dict[str, Any] = {"truncation_bound": truncation_bound(path, problem.stop_time, data.second_moment(), 2)}
    if case.sampler == "sde":
        extra["sign"] = signs(problem, data, model, case, x0, result.model_ladder, context)
    else:
        extra["cauchy_schwarz"] = cauchy_schwarz(problem, data, config, context)
    floor = floor_of(data.at(path, problem.stop_time).sample, config.n, config, context, f"{case.geometry}/{case.stop}")
    return row(case, result, floor, context, **extra)


def clouds(
    problem: Diffusion, data: GaussianMixture, config: Config, case: Case, context: Context
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"], Any]:
    """Noised data, prior draws and fresh data; the same random numbers in every case of a seed."""
    shared = f"mixture/{case.geometry}"
    clean = data.sample(config.n, context.generator_for("data", key=shared))
    x0, y0 = problem.start(clean, context.generator_for("start", key=shared))
    other = data.sample(config.n, context.generator_for("fresh", key=shared))
    return x0, y0, problem.fresh(other, context.generator_for("fresh noise", key=shared))


def step_constant(problem: Diffusion, model: GaussianMixture, rho: float) -> StepConstant:
    """Largest |eigenvalue| of I + h Dg: the Hessian of the model's log-density lies in [-1/v, osl]."""

    def constant(s: float, h: float) -> Estimate:
        t = problem.time(s)
        f, weight = float(problem.path.drift(t)), (1 + rho) / 2 * float(problem.path.diffusion_squared(t))
        law = model.at(problem.path, t)
        top, lowest = law.score_osl(), -1.0 / float(law.covariances[0])
        ends = (abs(1 + h * (-f + weight * top.mean)), abs(1 + h * (-f + weight * lowest)))
        return Estimate.exact(max(ends), bias=top.bias)

    return constant


def cauchy_schwarz(problem: Diffusion, data: GaussianMixture, config: Config, context: Context) -> Estimate:
    """The form of Kwon, Fan and Lee (W2B-14), for the ODE, with the closed-form constant."""
    panels = Panels.graded(0.0, problem.span, 10, last=problem.stop / 4)
    generator = context.generator_for("expectation")
    times = [problem.time(float(s)) for s in panels.nodes]
    errors, squares, drifts, scores = [], [], [], []
    for t in times:
        x = data.at(problem.path, t).sample(config.n, generator)
        gap = problem.reference(t, x) - problem.model(t, x)
        errors.append(float(gap.square().sum(1).mean().sqrt()))
        squares.append(float(problem.path.diffusion_squared(t)))
        drifts.append(-float(problem.path.drift(t)))
        scores.append(problem.model.osl(t).mean)  # type: ignore[attr-defined]  # a NoisedScore
    columns = (np.array(c) for c in (squares, errors, drifts, scores))
    return cauchy_schwarz_bound(panels, *columns, rho=0.0, bias="up")


def signs(
    problem: Diffusion,
    data: GaussianMixture,
    model: GaussianMixture,
    case: Case,
    x0: Float[Tensor, "n 2"],
    ladder: Ladder,
    context: Context,
) -> dict[str, Any]:
    """The sign term under synchronous and optimal coupling, and the inequality that keeps it (W2B-6, 7, 9).

    The exact score of the perturbed mixture drives the model, so its law at time t is the perturbed
    mixture noised to t, up to the start (p_T instead of q_T) and the step.
    """
    f, g = problem.fields(1.0)
    method = EulerMaruyama(lambda s: problem.diffusion(s, 1.0), brownian(problem, case, x0, context))
    step = ConstantStep(problem.span / case.steps)
    runs = [solve_ivp(v, x0, 0.0, problem.span, method=method, controller=step, save_every=1) for v in (f, g)]
    # Steps before the end at geometric distances: the term is felt near the data only.
    kept = sorted(
        {case.steps - round(case.steps ** (k / (_SIGN_NODES - 2))) for k in range(_SIGN_NODES - 1)} | {case.steps}
    )
    columns: dict[str, list[Any]] = {name: [] for name in ("t", "synchronous", "optimal", "w2")}
    for k in kept:
        s, x, y = runs[0].ts[k], runs[0].ys[k], runs[1].ys[k]
        t = problem.time(s)
        score_x, score_y = data.at(problem.path, t).score(x), model.at(problem.path, t).score(y)
        order = optimal_pairs(x, y).to(y.device)
        columns["t"].append(t)
        columns["synchronous"].append(sign_term(x, y, score_x, score_y))
        columns["optimal"].append(sign_term(x, y[order], score_x, score_y[order]))
        columns["w2"].append(ExactW2()(x, y).sqrt().mean)
    return {**columns, "sharper": _sharper(problem, ladder, columns)}


def _sharper(problem: Diffusion, ladder: Ladder, columns: dict[str, list[Any]]) -> Estimate:
    """`local` of this row less the sign term, which is interpolated in log t between the times where it is known."""
    starts = [problem.time(s) for s in ladder.profile.s[:-1]]
    known = np.array(
        [(w, e.mean / w if w > 0 else 0.0) for w, e in zip(columns["w2"], columns["optimal"], strict=True)]
    )
    at, clock = -np.log(starts), -np.log(columns["t"])
    distances, quotients = (np.interp(at, clock, known[:, k]) for k in range(2))
    half = [float(problem.path.diffusion_squared(t)) / 2 for t in starts]
    return sharper_sampler_bound(ladder.profile, half, (quotients * distances).tolist(), distances.tolist())
