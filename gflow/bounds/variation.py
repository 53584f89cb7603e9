"""The trajectory-local bound by variation of constants (Alekseev-Groebner, W2B-12), in any dimension."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy import integrate
from torch import Tensor
from torch.func import jvp

from gflow.bounds.climbing import model_error, ordered_pairs
from gflow.bounds.rungs import rms
from gflow.estimate import Estimate
from gflow.ode import DOPRI5, ExplicitRK, PIController, solve_ivp
from gflow.velocity import Time, VelocityField

Pair = dict[str, Tensor]


def variation_bound(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    x0: Float[Tensor, "n d"],
    y0: Float[Tensor, "n d"] | None,
    s0: float,
    s1: float,
    *,
    nodes: int,
    tol: float,
    paired: bool = False,
) -> Estimate:
    """``int ||DY_{s->S}(x_s) (f - g)(x_s)|| ds + ||Y(x_0) - Y(y_0)||`` in L2, Y the flow of g (W2B-12).

    The model error at x_s is carried to the end as a tangent of the model's flow, by forward-mode
    derivatives: no Jacobian and no Lipschitz constant (Benton et al. 2023 use the same formula).
    All nodes travel in one batch that grows along the way: about ``nodes / 2`` solves of the pair
    (point, tangent). The integral in time is Simpson's rule on nodes spread over the accepted steps
    of the reference, which crowd where the field is stiff; ``hi`` adds its difference to the rule
    on every second node.

    Args:
        f: reference field in sampling time.
        g: model field in sampling time, differentiable by ``torch.func.jvp``.
        x0: initial cloud of the reference.
        y0: initial cloud of the model; None starts both from ``x0``.
        s0: initial sampling time.
        s1: final sampling time.
        nodes: time nodes, 4 k + 1 of them, at least 5.
        tol: relative and absolute tolerance of the ODE solves.
        paired: row i of ``y0`` belongs to row i of ``x0``; otherwise an optimal plan pairs them.

    Raises:
        ValueError: bad clouds, ``s1 <= s0``, ``tol <= 0``, ``nodes`` not of the form 4 k + 1, or a field
            that returns another shape or is not finite.
        SolveError: a solve failed.
    """
    x, y = ordered_pairs(x0, y0, paired=paired)
    if not s1 > s0 or nodes < 5 or nodes % 4 != 1:
        raise ValueError(f"variation_bound: needs s1 > s0 and nodes = 4 k + 1, got {s0}, {s1}, {nodes}")
    if not 0 < tol < math.inf:
        raise ValueError(f"tol: must be positive and finite, got {tol}")
    method, controller = ExplicitRK(DOPRI5), PIController(rtol=tol, atol=tol)
    reference = solve_ivp(f, x, s0, s1, method=method, controller=controller, dense=True)
    assert reference.dense is not None
    steps = reference.dense.ts
    times = [float(t) for t in np.interp(np.linspace(0, len(steps) - 1, nodes), np.arange(len(steps)), steps)]
    points = [reference.interpolate(t) for t in times]
    errors = [model_error(f, g, t, p) for t, p in zip(times, points, strict=True)]
    # Tangents are linear in the error: at unit size the absolute tolerance means the same for all of them.
    unit = max(float(torch.cat(errors).norm()) / math.sqrt(nodes * len(x)), torch.finfo(x.dtype).tiny)
    carried = [unit * c for c in _carry(g, times, points, [e / unit for e in errors], method, controller)]
    value = float(integrate.simpson(carried, x=times))
    spread = abs(value - float(integrate.simpson(carried[::2], x=times[::2])))
    if y0 is not None:
        ends = [solve_ivp(g, z, s0, s1, method=method, controller=controller).y1 for z in (x, y)]
        value += rms((ends[0] - ends[1]).norm(dim=1))
    return Estimate(value, value, value + spread, bias="up")


def _carry(
    g: VelocityField[Tensor],
    times: list[float],
    points: list[Tensor],
    errors: list[Tensor],
    method: ExplicitRK,
    controller: PIController,
) -> list[float]:
    """L2 norms of the errors at the end, each pushed by the flow of g from its own time and point."""

    def tangent_field(s: Time, z: Pair) -> Pair:
        pushed = jvp(lambda q: g(s, q), (z["y"],), (z["v"],))
        return {"y": pushed[0], "v": pushed[1]}

    n = len(points[0])
    state: Pair = {"y": points[0], "v": errors[0]}
    for k in range(1, len(times)):
        if times[k] > times[k - 1]:
            state = solve_ivp(tangent_field, state, times[k - 1], times[k], method=method, controller=controller).y1
        state = {"y": torch.cat((state["y"], points[k])), "v": torch.cat((state["v"], errors[k]))}
    return [rms(part.norm(dim=1)) for part in torch.split(state["v"], n)]
