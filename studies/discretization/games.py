"""Two-player games: joint stages against a frozen opponent, a penalty inside against outside them (CODE-1, CODE-2)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gflow.ode import DOPRI5, ButcherTableau, ConstantStep, ExplicitRK, PIController, solve_ivp
from gflow.problems import SMOOTH_GAME, GameFlow, PenalisedGame
from gflow.velocity import VelocityField
from studies.discretization.config import Case, Config
from studies.discretization.measure import TABLEAUX, ladder, stepped

if TYPE_CHECKING:
    from gflow.study import Context

NOTEBOOK_HEUN = ButcherTableau("notebook Heun", 1, ((), (Fraction(1, 2),)), (Fraction(1, 2), Fraction(1, 2)))
"""The tableau that the ODE-GAN notebook calls Heun's: sum b_i c_i = 1/4, so it has order 1 (CODE-1)."""
_SPAN = 2.0
_GAMMA = 0.05
_TIGHT = PIController(rtol=1e-14, atol=1e-14)

Players = Mapping[str, Tensor]


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: the smooth planar game from 8 random starts, by one scheme."""
    draw = context.generator_for("start", key="game")
    theta, phi = torch.randn(2, 8, generator=draw, dtype=torch.float64, device=draw.device).to(context.device)
    start = {"theta": theta, "phi": phi}
    tableau = NOTEBOOK_HEUN if case.scheme == "notebook" else TABLEAUX[case.scheme]
    flow, one_step = _scheme(case, tableau)
    exact = solve_ivp(flow, start, 0.0, _SPAN, method=ExplicitRK(DOPRI5), controller=_TIGHT).y1

    def scheme(n: int) -> Any:
        if one_step is None:
            return stepped(flow, start, 0.0, _SPAN, tableau, n)
        y: Players = start
        for _ in range(n):
            y = one_step(y, _SPAN / n)
        return y

    return ladder(scheme, case.steps(config.steps), _SPAN, exact, case.order, evaluations=lambda n: n * tableau.stages)


def _scheme(case: Case, tableau: ButcherTableau) -> tuple[VelocityField[Any], Any]:
    """The joint flow that is meant, and one step of the scheme where it is no method on that flow."""
    penalised = PenalisedGame(SMOOTH_GAME, _GAMMA)
    if case.problem == "joint":
        return GameFlow(SMOOTH_GAME), None
    if case.problem == "inside":
        return GameFlow(penalised), None
    if case.problem == "frozen":
        game = GameFlow(SMOOTH_GAME)
        return game, lambda y, h: _frozen_step(game, y, h, tableau)
    plain = GameFlow(SMOOTH_GAME)
    return GameFlow(penalised), lambda y, h: _penalty_outside(plain, penalised, y, h, tableau)


def _frozen_step(game: GameFlow[Tensor], y: Players, h: float, tableau: ButcherTableau) -> Players:
    """Each player takes a whole Runge-Kutta step against the other as it stood before the step."""
    theta = stepped(game.player("theta", y["phi"]), y["theta"], 0.0, h, tableau, 1)
    phi = stepped(game.player("phi", y["theta"]), y["phi"], 0.0, h, tableau, 1)
    return {"theta": theta, "phi": phi}  # type: ignore[dict-item]  # tensors, as given


def _penalty_outside(
    plain: GameFlow[Tensor], penalised: PenalisedGame[Tensor], y: Players, h: float, tableau: ButcherTableau
) -> Players:
    """A Runge-Kutta step of the game, then the penalty's gradient of the step's start times h."""
    moved = solve_ivp(plain, y, 0.0, h, method=ExplicitRK(tableau), controller=ConstantStep(h)).y1
    extra = penalised.penalty_velocity(0.0, y)
    return {name: moved[name] + h * extra[name] for name in ("theta", "phi")}
