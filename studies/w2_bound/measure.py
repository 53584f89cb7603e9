"""One row: the ladder of a model against its reference, its slack, and the budget of the sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds import (
    ErrorBudget,
    FreshData,
    SamplerRun,
    SlackLedger,
    ode_budget,
    sde_budget,
    slack_ledger,
)
from gflow.bounds.climbing import OneSidedConstant
from gflow.bounds.discrete import StepConstant
from gflow.estimate import Estimate
from gflow.ode import EULER, HEUN, RK4, BrownianPath, ConstantStep, ExplicitRK
from gflow.transport import ExactW2, sampling_floor
from gflow.velocity import VelocityField
from studies.w2_bound.config import Case, Config
from studies.w2_bound.problem import Diffusion

if TYPE_CHECKING:
    from gflow.study import Context

METHODS = {"euler": EULER, "heun": HEUN, "rk4": RK4}
_REFINEMENT = 4  # the finer grid behind the discretization term of an SDE


def sample_run(
    problem: Diffusion,
    case: Case,
    x0: Float[Tensor, "n d"],
    y0: Float[Tensor, "n d"],
    fresh: FreshData | None,
    context: Context,
    *,
    osl: OneSidedConstant | None = None,
    step_constant: StepConstant | None = None,
    max_steps: int = 1_000_000,
) -> SamplerRun:
    """Run the case's sampler with reference and model, and account for its error."""
    rho = 1.0 if case.sampler == "sde" else 0.0
    f, g = problem.fields(rho)
    if case.sampler == "ode":
        return ode_run(f, g, x0, y0, problem.span, case, fresh, osl, max_steps)
    return sde_budget(
        f,
        g,
        x0,
        y0,
        0.0,
        problem.span,
        steps=case.steps,
        refinement=_REFINEMENT,
        diffusion=lambda s: problem.diffusion(s, rho),
        noise=brownian(problem, case, x0, context),
        fresh=fresh,
        step_constant=step_constant,
    )


def ode_run(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    x0: Float[Tensor, "n d"],
    y0: Float[Tensor, "n d"],
    span: float,
    case: Case,
    fresh: FreshData | None,
    osl: OneSidedConstant | None,
    max_steps: int = 1_000_000,
) -> SamplerRun:
    """The budget of an ODE sampler with equal steps."""
    method, step = ExplicitRK(METHODS[case.method]), ConstantStep(span / case.steps)
    return ode_budget(
        f, g, x0, y0, 0.0, span, method=method, controller=step, fresh=fresh, osl=osl, max_steps=max_steps
    )


def brownian(problem: Diffusion, case: Case, x0: Float[Tensor, "n d"], context: Context) -> BrownianPath:
    """The noise of a case: one path per seed, so that runs with more steps see the same one, refined."""
    levels = (case.steps * _REFINEMENT - 1).bit_length()
    seed = context.seed_for("noise", key=case.kind)
    return BrownianPath(0.0, problem.span, tuple(x0.shape), levels=levels, seed=seed, dtype=x0.dtype, device=x0.device)


def row(
    case: Case,
    run: SamplerRun,
    floor: Estimate,
    context: Context,
    *,
    clouds: dict[str, Tensor] | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """What a repeat of a case stores; ``w2`` is certified for the clouds of its ladder."""
    climbed = run.model_ladder
    w2 = ExactW2()(climbed.x, climbed.y).sqrt()
    return {
        "sampler": case.sampler,
        "n": len(climbed.x),
        "d": climbed.x.shape[1],
        "w2": w2,
        "sampling_floor": floor,
        "ladder": climbed.bounds,
        "kinds": {name: climbed.kind(name) for name in climbed.bounds},
        "slack": slack_values(slack_ledger(climbed, w2)),
        "budget": budget_values(run.budget),
        "arrays": save(context, run, clouds or {}),
        **extra,
    }


def slack_values(ledger: SlackLedger) -> dict[str, Any]:
    """The slack ledger as it is stored."""
    return {
        "account": ledger.account,
        "coupling": ledger.coupling,
        "alignment": ledger.alignment,
        "lipschitz": ledger.lipschitz,
    }


def budget_values(budget: ErrorBudget) -> dict[str, Any]:
    """The budget as it is stored."""
    return {
        "terms": budget.terms,
        "total": budget.total,
        "measured": budget.measured,
        "slack": budget.slack,
        "target": budget.target,
    }


def save(context: Context, run: SamplerRun, clouds: dict[str, Tensor], most: int = 400) -> str:
    """Arrays behind the figures: the profile along sampling time, and points of both clouds."""
    profile = run.model_ladder.profile
    return context.save_arrays(
        "run",
        s=torch.tensor(profile.s),
        distance=torch.tensor(profile.distance),
        model_error=torch.tensor(profile.model_error),
        entering=torch.tensor(profile.entering),
        arriving=torch.tensor(profile.arriving),
        reference=run.reference[:most].float(),
        sampled=run.sampled[:most].float(),
        **{name: cloud[:most].float() for name, cloud in clouds.items()},
    )


def floor_of(source: Any, n: int, config: Config, context: Context, key: str) -> Estimate:
    """W2 between two independent samples of one law (not squared)."""
    generator = context.generator_for("floor", key=key)
    return sampling_floor(source, n=n, repeats=config.floor_repeats, generator=generator).sqrt()
