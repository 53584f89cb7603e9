"""Estimated flows: W2 along time and evaluations, and the error of their velocity where the exact one is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gflow.bounds import Panels, gronwall_bound
from gflow.estimate import Estimate
from gflow.fields.particles import CarriedScore, MeanField
from gflow.ode import HEUN, ConstantStep, ExplicitRK, solve_ivp
from gflow.ratio import KnownLogRatio
from gflow.transport import ExactW2
from studies.wasserstein_flow.config import Case, Config
from studies.wasserstein_flow.estimators import Flow, flow
from studies.wasserstein_flow.targets import EARLY, SPAN, Target, target

if TYPE_CHECKING:
    from gflow.study import Context

_LOOKS = 8
"""Times, beside the start, at which a flow is looked at."""
_IMAGES = 12
"""Digits that are stored for the report."""
_LATTICE = 21
"""Points a side at which the first velocity is stored for the report."""


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: one estimator towards one target with a quarter, half and all of the steps."""
    aim = target(case.problem, config, context)
    chosen = flow(case.scheme, aim, config, context)
    speed = _speed(chosen, aim)
    most = config.steps if chosen.walk is None else _LOOKS
    ladder = [most // 4, most // 2, most]
    began = time.perf_counter()
    paths = [_solve(chosen, aim, speed, steps, looks=steps == most) for steps in ladder]
    context.note(seconds_per_evaluation=(time.perf_counter() - began) / sum(ladder))
    finest = paths[-1]
    row = {
        "n": config.n,
        "d": aim.data.shape[1],
        "speed": speed,
        "times": [SPAN * k / _LOOKS for k in range(_LOOKS + 1)],
        "w2": [_w2(x, aim.fresh) for x in finest],
        "floor": aim.floor,
        "evaluations": ladder,
        "ends": [_w2(path[-1], aim.fresh) for path in paths],
        "error": None,
        "budget": None,
        "arrays": context.save_arrays("race", **_drawn(finest, aim), **_first_velocity(chosen, aim, speed)),
    }
    if chosen.held is not None and aim.law is not None:
        seen = _measure(chosen.held, aim, speed, config.steps)
        row["error"] = {name: seen[name] for name in ("times", "relative", "cosine")}
        if chosen.kl:
            row["budget"] = _budget(aim, seen, finest[round(_LOOKS * EARLY / SPAN)])
    return row


def _speed(chosen: Flow, aim: Target) -> float:
    """Units of the field's time in one of the study's.

    Flows of KL keep their time where the law is known, and take the data's average variance for its unit on digits:
    the time in which a normal law of that variance is approached. Any other has what makes its first speed that
    of the W2 flow, W2(q_0, p).
    """
    if chosen.kl:
        return 1.0 if aim.law is not None else float(aim.data.var(0).mean())
    state = chosen.begin(aim.start)
    first = chosen.field.at_step(0) if hasattr(chosen.field, "at_step") else chosen.field
    return aim.w2_start / _rms(chosen.particles(first(0.0, state)))


def _solve(chosen: Flow, aim: Target, speed: float, steps: int, *, looks: bool) -> Tensor:
    """Particles at the start, at all looks or none, and at the end, (k, n, d)."""
    if chosen.walk is not None:
        return chosen.walk(steps)
    found = solve_ivp(
        chosen.field,
        chosen.begin(aim.start),
        0.0,
        speed * SPAN,
        method=chosen.method(steps),
        controller=ConstantStep(speed * SPAN / steps),
        save_every=steps // _LOOKS if looks else None,
    )
    return chosen.particles(found.ys)


def _measure(field: MeanField, aim: Target, speed: float, steps: int) -> dict[str, Any]:
    """The velocity against that of the KL flow at the *current* law, whose score the points carry (W2B-21).

    By Heun's method, so that the error of the steps is small beside that of the velocity.
    """
    law = aim.law
    assert law is not None
    start = {"particles": aim.start, "points": aim.points, "score": aim.origin.score(aim.points)}
    found = solve_ivp(
        CarriedScore(field),
        start,
        0.0,
        speed * EARLY,
        method=ExplicitRK(HEUN),
        controller=ConstantStep(speed * SPAN / steps),
        save_every=1,
    )
    seen: dict[str, Any] = {"absolute": [], "relative": [], "cosine": [], "end": found.y1["particles"]}
    for y, x, score in zip(*(found.ys[name] for name in ("particles", "points", "score")), strict=True):
        u, v = field.given(y)(x), law.score(x) - score
        seen["absolute"].append(_rms(u - v))
        seen["relative"].append(_rms(u - v) / _rms(v))
        seen["cosine"].append(float((u * v).sum()) / (len(u) * _rms(u) * _rms(v)))
    return seen | {"times": [float(t) / speed for t in found.ts]}


def _drawn(path: Tensor, aim: Target) -> dict[str, Tensor]:
    """What the figures show: all points in the plane, a few images."""
    shown = len(aim.start) if aim.law is not None else _IMAGES
    return {"particles": path[[0, _LOOKS // 4, _LOOKS], :shown].float(), "data": aim.fresh[:shown].float()}


def _first_velocity(chosen: Flow, aim: Target, speed: float) -> dict[str, Tensor]:
    """The velocity of the first evaluation on a lattice, beside the exact log-ratio and its gradient."""
    if chosen.held is None or aim.law is None:
        return {}
    axis = torch.linspace(-3.0, 3.0, _LATTICE, dtype=aim.start.dtype, device=aim.start.device)
    x = torch.cartesian_prod(axis, axis)
    exact = KnownLogRatio(aim.law, aim.origin)
    velocity = speed * chosen.held.given(aim.start)(x)
    found = {"lattice": x, "log_ratio": exact(x), "exact": exact.gradient(x), "velocity": velocity.detach()}
    return {name: values.float() for name, values in found.items()}


def _budget(aim: Target, seen: dict[str, Any], particles: Tensor) -> dict[str, Any]:
    """The terms of W2 between the particles and the exact flow at the time ``EARLY``, and that distance.

    Monte Carlo: two samples of one law; that of p stands for that of the flow.
    """
    assert aim.law is not None
    assert aim.exact is not None
    panels = Panels.uniform(0.0, EARLY, 4)
    errors = np.interp(panels.nodes, seen["times"], seen["absolute"])
    model = gronwall_bound(panels, errors, np.full_like(errors, aim.law.score_osl().hi), 0.0)
    terms = {
        "model": model,
        "discretization": Estimate.exact(_rms(particles - seen["end"])),
        "monte_carlo": Estimate.exact(aim.floor),
    }
    return {"terms": terms, "measured": _w2(particles, aim.exact)}


def _w2(x: Tensor, y: Tensor) -> Estimate:
    return ExactW2()(x, y).sqrt()


def _rms(rows: Tensor) -> float:
    """Root mean square length of the rows."""
    return float(rows.square().sum(1).mean().sqrt())
