"""Samplers: errors, work-precision and certificates of probability flows, a rectified flow, and digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gflow.bounds import Certificate, Form, certify, steps_for
from gflow.fields import ProbabilityFlow, RectifiedFlow, reverse
from gflow.lipschitz import FieldLogNorm
from gflow.ode import ConstantStep, ExplicitRK, PIController, solve_ivp
from gflow.problems import LINEAR, VP, Gaussian, GaussianMixture, NoisedScore, gaussian_flow_map
from gflow.transport import ExactW2
from studies.discretization import digits
from studies.discretization.config import Case, Config
from studies.discretization.measure import TABLEAUX, ladder, order_of_values, rms, stepped
from studies.discretization.sampler import Sampler, tight

if TYPE_CHECKING:
    from gflow.study import Context

_FIRST, _MOST = 5, 4000  # steps between which the number for a given W2 is looked for


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: a sampler from a random cloud, by one method."""
    sampler = PROBLEMS[case.problem](config, context)
    most = config.certified_up_to // (4 if case.problem == "digits" else 1)
    tableau = TABLEAUX[case.scheme]

    def at(n: int) -> Tensor:
        return stepped(sampler.field, sampler.x0, 0.0, sampler.span, tableau, n)  # type: ignore[return-value]

    spent = tableau.stages - tableau.fsal
    row = ladder(
        at,
        case.steps(sampler.steps),
        sampler.span,
        sampler.exact,
        case.order,
        evaluations=lambda n: n * spent + tableau.fsal,
    )
    # A certificate is asked for where a sampler works, not where an order at last shows.
    coarse = sampler.steps if case.finer > 1 else case.steps(sampler.steps)
    certified = {n: _certify(case, sampler, n) for n in coarse if n <= most}
    distances = [ExactW2()(c.solution.y1, sampler.exact).sqrt() for c in certified.values()]
    return {
        **row,
        "n": len(sampler.x0),
        "d": sampler.x0.shape[1],
        "certificate": {**_forms(certified, sampler.span), "w2": distances},
        "adaptive": _adaptive(config, case, sampler),
        "needed": _needed(config, case, sampler),
        "arrays": _profile(certified, case, sampler, context),
    }


def _forms(certified: dict[int, Certificate], span: float) -> dict[str, Any]:
    """The three forms along the steps, and the orders with which they fall."""
    steps, found = list(certified), list(certified.values())
    values: dict[str, list[Any]] = {
        "pathwise": [c.pathwise for c in found],
        "local": [c.local for c in found],
        "rigorous": [c.rigorous for c in found],
    }
    orders = {
        name: order_of_values([e.mean for e in column], steps, span, float(found[0].order))
        for name, column in values.items()
        if len(steps) >= 4 and all(e is not None and 0 < e.mean < float("inf") for e in column)
    }
    return {
        "steps": steps,
        **values,
        "status": [c.status.name for c in found],
        "interpolant": found[0].interpolant.name,
        "order": found[0].order,
        "orders": orders,
    }


def _certify(case: Case, sampler: Sampler, n: int) -> Certificate:
    method, step = ExplicitRK(TABLEAUX[case.scheme]), ConstantStep(sampler.span / n)
    ball = FieldLogNorm(sampler.field, 1)  # type: ignore[arg-type]  # all four samplers bound themselves
    return certify(sampler.field, sampler.x0, 0.0, sampler.span, method=method, controller=step, ball=ball)


def _adaptive(config: Config, case: Case, sampler: Sampler) -> list[dict[str, Any]]:
    """Error against evaluations under step control, where the method has an error estimate."""
    tableau = TABLEAUX[case.scheme]
    if tableau.embedded_order is None:
        return []
    points = []
    for tol in config.tolerances:
        controller = PIController(rtol=tol, atol=tol)
        solution = solve_ivp(
            sampler.field, sampler.x0, 0.0, sampler.span, method=ExplicitRK(tableau), controller=controller
        )
        error = rms(solution.y1 - sampler.exact)
        points.append({"tol": tol, "error": error, "evaluations": solution.stats.evaluations})
    return points


def _needed(config: Config, case: Case, sampler: Sampler) -> list[dict[str, Any]]:
    """Steps for which the pathwise form falls below a given W2; on the mixture, the question of the how-to."""
    if case.problem != "mixture" or case.scheme not in ("euler", "heun", "rk4", "dopri5"):
        return []
    method, rows = ExplicitRK(TABLEAUX[case.scheme]), []
    for w2 in config.targets:
        n, certificate = steps_for(
            sampler.field,
            sampler.x0,
            0.0,
            sampler.span,
            method=method,
            w2=w2,
            form=Form.PATHWISE,
            first=_FIRST,
            most=_MOST,
        )
        true = ExactW2()(certificate.solution.y1, sampler.exact).sqrt()
        evaluations = certificate.solution.stats.evaluations
        rows.append(
            {"target": w2, "steps": n, "evaluations": evaluations, "pathwise": certificate.pathwise, "w2": true}
        )
    return rows


def _profile(certified: dict[int, Certificate], case: Case, sampler: Sampler, context: Context) -> str:
    """Where the error enters along sampling time, at the middle of the ladder, for the figure."""
    middle = sampler.steps[len(sampler.steps) // 2 - 1]
    certificate = certified[middle] if middle in certified else _certify(case, sampler, middle)
    s = torch.tensor(certificate.s, dtype=torch.float64)
    return context.save_arrays(
        "profile",
        s=s,
        radius=torch.tensor(certificate.radius, dtype=torch.float64),
        defect=torch.tensor(certificate.defect, dtype=torch.float64),
    )


def _gaussian(config: Config, context: Context) -> Sampler:
    """N(m, diag(.25, .64)) by the probability flow of VP, beta = 1 on [0, 2] (ORC-10)."""
    like = torch.zeros(2, dtype=context.dtype, device=context.device)
    data = Gaussian(like + 0.5, torch.diag(torch.tensor([0.25, 0.64]).to(like)))
    path = VP(1.0, 1.0, 2.0)
    flow = ProbabilityFlow(path, NoisedScore(data, path))
    x0 = data.at(path, 2.0).sample(config.n, context.generator_for("start", key="gaussian"))
    exact = gaussian_flow_map(data, path, 2.0, 0.0, x0)
    return Sampler(reverse(flow, 2.0), x0, 2.0, exact, config.steps)


def _mixture(config: Config, context: Context) -> Sampler:
    """Four modes at (+-1, +-1) of width 0.3 by the probability flow of VP, beta = 1 on [0, 3] (W2B-20)."""
    like = torch.zeros(2, dtype=context.dtype, device=context.device)
    means = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).to(like)
    data = GaussianMixture(like.new_full((4,), 0.25), means, like.new_full((4,), 0.09))
    path = VP(1.0, 1.0, 3.0)
    flow = ProbabilityFlow(path, NoisedScore(data, path))
    x0 = data.at(path, 3.0).sample(config.n, context.generator_for("start", key="mixture"))
    return Sampler(reverse(flow, 3.0), x0, 3.0, tight(reverse(flow, 3.0), x0, 3.0), config.steps)


def _rectified(config: Config, context: Context) -> Sampler:
    """The rectified flow from N(0, I) to three modes on a line, on [0, 1]."""
    like = torch.zeros(2, dtype=context.dtype, device=context.device)
    means = torch.tensor([[-2.0, 0.0], [0.0, 1.0], [2.0, 0.0]]).to(like)
    target = GaussianMixture(torch.tensor([0.3, 0.4, 0.3]).to(like), means, like.new_full((3,), 0.25))
    start = Gaussian(like, torch.eye(2).to(like))
    flow = RectifiedFlow(LINEAR, start, target)
    x0 = start.sample(config.n, context.generator_for("start", key="rectified"))
    return Sampler(flow, x0, 1.0, tight(flow, x0, 1.0), config.steps)


PROBLEMS: dict[str, Callable[[Config, Any], Sampler]] = {
    "gaussian": _gaussian,
    "mixture": _mixture,
    "rectified": _rectified,
    "digits": digits.sampler,
}
