"""Families where the published bound is an equality (W2B-3): they calibrate everything else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import integrate
from torch import Generator, Tensor

from gflow.bounds import Panels, gronwall_bound, sharper_sde_bound
from gflow.problems import VP, Gaussian, NoisedScore
from gflow.problems.distribution import normal
from gflow.transport import bures_squared
from studies.w2_bound.config import Case, Config
from studies.w2_bound.measure import floor_of, row, sample_run
from studies.w2_bound.problem import Diffusion

if TYPE_CHECKING:
    from gflow.study import Context


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """Gaussian data N(m, s^2 I), the model score exact for another mean (A) or another width (B)."""
    draw = context.generator_for("parameters")
    beta, horizon = 0.5 + 2.5 * _uniform(draw), 0.5 + 2.0 * _uniform(draw)
    s, width = 0.3 + 1.2 * _uniform(draw), 0.3 + 1.2 * _uniform(draw)
    like = torch.zeros(2, dtype=context.dtype, device=context.device)
    m, other = (torch.randn(2, generator=draw, dtype=context.dtype, device=context.device) for _ in range(2))
    data = Gaussian(m, s**2 * torch.eye(2).to(like))
    model = Gaussian(
        other if case.variant == "A" else m, (s if case.variant == "A" else width) ** 2 * torch.eye(2).to(like)
    )
    path = VP(beta, beta, horizon)
    problem = Diffusion(path, NoisedScore(data, path), NoisedScore(model, path), case.stop)
    x0, y0 = _start(problem, data, config.n, context.generator_for("start"))
    rho = 1.0 if case.sampler == "sde" else 0.0
    drift = problem.drift(problem.model, rho)
    result = sample_run(
        problem,
        case,
        x0,
        y0,
        problem.fresh(data.sample(config.n, context.generator_for("fresh")), context.generator_for("fresh noise")),
        context,
        osl=lambda s_: drift.sampling_osl(problem.time(s_)),
    )
    floor = floor_of(data.at(path, problem.stop_time).sample, config.n, config, context, case.name)
    laws = [Gaussian(law.mean().double().cpu(), law.covariance().double().cpu()) for law in (data, model)]
    return row(case, result, floor, context, law=_laws(path, case.stop, laws[0], laws[1], rho))


def _start(problem: Diffusion, data: Gaussian, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Noised data and prior draws, paired by the optimal map between their laws, which is affine."""
    z = normal(n, data.mean(), generator)
    z = z - z.mean(0)  # family B needs the mean of the law itself, so both clouds are centred on theirs exactly
    law = data.at(problem.path, problem.start_time)
    return law.mean() + law.covariance()[0, 0].sqrt() * z, problem.path.sigma(problem.start_time) * z


def _uniform(generator: Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64, device=generator.device))


def _laws(path: VP, stop: float, data: Gaussian, model: Gaussian, rho: float) -> dict[str, float]:
    """Bound and W2 of the laws themselves: exact moments, no particles; in float64 whatever the row's dtype."""
    problem = Diffusion(path, NoisedScore(data, path), NoisedScore(model, path), stop)
    panels = Panels.uniform(0.0, problem.span, 16)
    nodes = [float(s) for s in panels.nodes]
    drift = problem.drift(problem.model, rho)
    constants = np.array([drift.sampling_osl(problem.time(s)).mean for s in nodes])
    errors = np.array([_error(problem, data, model, problem.time(s), rho) for s in nodes])
    bound = gronwall_bound(panels, errors, constants, 0.0, bias="up").mean
    means, variances = _moments(problem, data, model, rho, np.array([problem.span]))
    target = data.at(problem.path, problem.stop_time)
    eye = torch.eye(data.dim).to(means[0])
    w2 = math.sqrt(bures_squared(target.mean(), target.covariance(), means[0], variances[0] * eye))
    values = {"bound": bound, "w2": w2, "ratio": bound / w2}
    if rho == 1.0:
        values["sharper"] = _sharper(problem, data, model)
    return values


def _error(problem: Diffusion, data: Gaussian, model: Gaussian, t: float, rho: float) -> float:
    """L2(p_t) norm of the drift error; the score error is affine: (x - m_t)(1/v' - 1/v) + (m_t - m'_t)/v'."""
    p, q = data.at(problem.path, t), model.at(problem.path, t)
    v, w = float(p.covariance()[0, 0]), float(q.covariance()[0, 0])
    shift = float((p.mean() - q.mean()).norm()) / w
    weight = (1 + rho) / 2 * float(problem.path.diffusion_squared(t))
    return weight * math.hypot(math.sqrt(data.dim * v) * abs(1 / w - 1 / v), shift)


def _moments(
    problem: Diffusion, data: Gaussian, model: Gaussian, rho: float, times: np.ndarray
) -> tuple[list[Tensor], list[float]]:
    """Means and variances of the model's law at sampling times: the moment equations of its affine drift."""
    path, d = problem.path, data.dim
    begin = data.at(path, problem.start_time)

    def rates(s: float, z: np.ndarray) -> np.ndarray:
        t = problem.time(s)
        f, g2 = float(path.drift(t)), float(path.diffusion_squared(t))
        law = model.at(path, t)
        w, mean = float(law.covariance()[0, 0]), law.mean().cpu().numpy()
        slope = -f - (1 + rho) / 2 * g2 / w
        return np.concatenate([slope * z[:d] + (1 + rho) / 2 * g2 / w * mean, [2 * slope * z[d] + rho * g2]])

    start = np.concatenate([begin.mean().cpu().numpy(), [float(begin.covariance()[0, 0])]])
    solved = integrate.solve_ivp(
        rates, (0.0, problem.span), start, method="DOP853", rtol=1e-12, atol=1e-14, t_eval=times
    )
    return [torch.from_numpy(z[:d].copy()).to(begin.mean()) for z in solved.y.T], [float(z[d]) for z in solved.y.T]


def _sharper(problem: Diffusion, data: Gaussian, model: Gaussian) -> float:
    """The sharper SDE inequality (W2B-9); the sign term of Gaussians of widths a, b is d (a/b + b/a - 2) (W2B-6)."""
    path, nodes = problem.path, np.linspace(0.0, problem.span, 401)
    drift = problem.drift(problem.model, 1.0)
    columns = []
    for s, mean, variance in zip(nodes, *_moments(problem, data, model, 1.0, nodes), strict=True):
        t = problem.time(float(s))
        law = data.at(path, t)
        a, b = math.sqrt(float(law.covariance()[0, 0])), math.sqrt(variance)
        distance = math.sqrt(data.dim * (a - b) ** 2 + float((law.mean() - mean).norm()) ** 2)
        sign = data.dim * (a / b + b / a - 2)
        half = float(path.diffusion_squared(t)) / 2
        columns.append((_error(problem, data, model, t, 1.0), drift.sampling_osl(t).mean, half, sign, distance))
    errors, constants, halves, signs, distances = zip(*columns, strict=True)
    return sharper_sde_bound(list(nodes), errors, constants, halves, signs, distances).mean
