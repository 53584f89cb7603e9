"""Parameter flows with a critic: tracked, frozen between refreshes, or lagging (INT-3, PARAM-8, PARAM-9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gflow.fields import AffineGenerator
from gflow.ode import DOPRI5, ConstantStep, ExplicitRK, PIController, solve_ivp
from gflow.problems import Gaussian
from studies.discretization.config import Case, Config
from studies.discretization.measure import TABLEAUX, ladder, stepped

if TYPE_CHECKING:
    from gflow.study import Context

Theta = Mapping[str, Tensor]
_SPAN = 1.0
_TIGHT = PIController(rtol=1e-10, atol=1e-10)


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: the affine generator towards a random Gaussian, by one scheme."""
    generator, theta = problem(context)
    exact = generator.exact(_SPAN, theta)
    tableau = TABLEAUX[case.scheme]
    if case.problem == "tracking":

        def tracked(n: int) -> Any:
            return stepped(generator.tracking, theta, 0.0, _SPAN, tableau, n)

        steps = case.steps(config.steps)
        return ladder(tracked, steps, _SPAN, exact, case.order, evaluations=lambda n: n * tableau.stages)
    if case.problem == "one-refresh":
        frozen = generator.frozen(generator.critic(theta))

        def refreshed_once(n: int) -> Any:
            return stepped(frozen, theta, 0.0, _SPAN, tableau, n)

        reference = frozen.exact(_SPAN, theta)
        return ladder(
            refreshed_once, config.steps, _SPAN, reference, case.order, evaluations=lambda n: n * tableau.stages
        )
    inner = 1 if case.problem == "frozen" else int(case.problem.split("-")[0])

    def refreshing(n: int) -> Any:
        return _with_refreshes(generator, theta, case.scheme, n, inner)

    # Twice the steps are multiples of 8, so that no refresh is cut short.
    return ladder(
        refreshing, [2 * n for n in config.steps], _SPAN, exact, case.order, evaluations=lambda n: n * tableau.stages
    )


def run_lag(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: a critic that follows at rate kappa, against the tracked flow; the 'step' is 1/kappa."""
    generator, theta = problem(context)
    start = {"theta": theta, "critic": generator.critic(theta)}

    def lagging(kappa: int) -> Any:
        field = generator.joint(float(kappa))
        return solve_ivp(field, start, 0.0, _SPAN, method=ExplicitRK(DOPRI5), controller=_TIGHT).y1["theta"]

    return ladder(
        lagging,
        [int(k) for k in config.kappas],
        1.0,
        generator.exact(_SPAN, theta),
        case.order,
        evaluations=lambda kappa: kappa,  # the rate itself: what the lag is paid with
    )


def problem(context: Context) -> tuple[AffineGenerator, dict[str, Tensor]]:
    """A target N(mu, P) and a start, drawn for the seed and shared by all critics."""
    draw = context.generator_for("target", key="critic")
    a, b = (torch.randn(2, 2, generator=draw, dtype=torch.float64, device=draw.device) for _ in range(2))
    eye = torch.eye(2, dtype=torch.float64, device=a.device)
    mean, start = torch.randn(2, 2, generator=draw, dtype=torch.float64, device=draw.device)
    target = Gaussian(mean.to(context.device), (a @ a.mT / 4 + 0.5 * eye).to(context.device))
    # Singular values in [1/2, 3/2]: a critic frozen at a nearly singular generator blows up.
    theta = {"m": start.to(context.device), "A": (b / (2 * torch.linalg.matrix_norm(b, 2)) + eye).to(context.device)}
    return AffineGenerator(target), theta


def _with_refreshes(generator: AffineGenerator, theta: Theta, scheme: str, n: int, inner: int) -> Theta:
    """``n`` steps in all, the critic refreshed after each ``inner`` of them and held in between."""
    method, h, done = ExplicitRK(TABLEAUX[scheme]), _SPAN / n, 0
    while done < n:
        count = min(inner, n - done)
        held = generator.frozen(generator.critic(theta))
        theta = solve_ivp(held, theta, 0.0, count * h, method=method, controller=ConstantStep(h)).y1
        done += count
    return theta
