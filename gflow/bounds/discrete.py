"""The ladder of Euler and Euler-Maruyama samplers: exact to round-off for the numbers they compute."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import (
    PROPAGATOR_UP_TO,
    Account,
    Ladder,
    Profile,
    Rates,
    assemble,
    ordered_pairs,
    row_chunks,
)
from gflow.bounds.matrix import spectral_norm
from gflow.bounds.rungs import Step, contributions, growth_rates, log, rms
from gflow.estimate import Estimate
from gflow.lipschitz import check_rows_independent, jacobian, mean_jacobian
from gflow.ode import EULER, BrownianPath, ConstantStep, EulerMaruyama, ExplicitRK, solve_ivp
from gflow.velocity import VelocityField

StepConstant = Callable[[float, float], Estimate]
"""(s, h) -> Lipschitz constant of the map y + h g(s, y); bias ``down`` where it is sampled."""


def discrete_ladder(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    x0: Float[Tensor, "n d"],
    y0: Float[Tensor, "n d"] | None,
    s0: float,
    s1: float,
    *,
    steps: int,
    diffusion: Callable[[float], float] | None = None,
    noise: BrownianPath | None = None,
    step_constant: StepConstant | None = None,
    nodes: int = 2,
    paired: bool = False,
) -> Ladder:
    """The ladder between two Euler, or two Euler-Maruyama, runs on one grid and one noise (W2B-19, W2B-5).

    With A_k the mean Jacobian of g between the pair at step k (secant correction), the difference
    obeys e_{k+1} = (I + h A_k) e_k + h delta_k but for round-off: shared additive noise cancels. The
    rungs use |I + h A_k| in place of exp(h mu), and c_k = e_{k+1} - (I + h A_k) e_k itself in place of
    h delta_k, which differs where points far from the origin leave more round-off than e_k is long.

    Args:
        f: reference drift in sampling time.
        g: model drift in sampling time.
        x0: initial cloud of the reference.
        y0: initial cloud of the model; None starts both from ``x0``; paired by an optimal plan
            unless ``paired``.
        s0: initial sampling time.
        s1: final sampling time, larger than ``s0``.
        steps: number of equal steps.
        diffusion: coefficient of the noise at sampling time s; None for Euler.
        noise: Brownian path on a grid that holds every step, shared by both runs.
        step_constant: Lipschitz constant of one model step, for the published rung.
        nodes: Gauss nodes on each segment.
        paired: row i of ``y0`` belongs to row i of ``x0``.

    Raises:
        ValueError: bad clouds, ``steps < 1``, ``s1 <= s0``, a diffusion without noise, noise of another
            shape or on a coarser grid, a negative constant, or fields that couple rows.
        SolveError: a run became non-finite.
    """
    x, y = ordered_pairs(x0, y0, paired=paired)
    if steps < 1 or not s1 > s0:
        raise ValueError(f"discrete_ladder: needs steps >= 1 and s1 > s0, got steps = {steps}, {s0}, {s1}")
    if (diffusion is None) != (noise is None):
        raise ValueError("discrete_ladder: diffusion and noise go together; give both or neither")
    for field in (f, g):
        check_rows_independent(field, s0, x[:2])
    method = ExplicitRK(EULER) if diffusion is None or noise is None else EulerMaruyama(diffusion, noise)
    h = (s1 - s0) / steps
    runs = [
        solve_ivp(v, z, s0, s1, method=method, controller=ConstantStep(h), save_every=1) for v, z in ((f, x), (g, y))
    ]
    with torch.no_grad():
        return _climb(f, g, runs[0].ts, runs[0].ys, runs[1].ys, step_constant, nodes)


def _climb(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    ts: tuple[float, ...],
    xs: Float[Tensor, "k n d"],
    ys: Float[Tensor, "k n d"],
    step_constant: StepConstant | None,
    nodes: int,
) -> Ladder:
    steps, account, seen = [], [], []
    certified = step_constant is not None
    for k, (s, s_next) in enumerate(zip(ts[:-1], ts[1:], strict=True)):
        constant = None if step_constant is None else step_constant(s, s_next - s)
        if constant is not None and not 0 <= constant.mean < math.inf:
            raise ValueError(f"step_constant: expected a finite number >= 0 at s = {s:.6g}, got {constant.mean}")
        certified = certified and constant is not None and constant.bias in ("none", "up")
        e_next = xs[k + 1] - ys[k + 1]
        step, growth, rates = _step(f, g, s, s_next - s, xs[k], ys[k], e_next, constant, nodes)
        after = rms(e_next.norm(dim=1))
        steps.append(step)
        account.append((growth, after - math.exp(growth) * rates.distance, (s_next - s) * rates.error))
        seen.append(rates)
    e_last = xs[-1] - ys[-1]
    entering, arriving = contributions(steps)
    distance = (*(r.distance for r in seen), rms(e_last.norm(dim=1)))
    error = (*(r.error for r in seen), rms((f(ts[-1], xs[-1]) - g(ts[-1], xs[-1])).norm(dim=1)))
    return assemble(
        xs[0] - ys[0],
        (xs[-1], ys[-1]),
        steps,
        certified=certified,
        profile=Profile(ts, distance, error, tuple(entering), tuple(arriving), growth_rates(steps, ts)),
        account=Account(*zip(*account, strict=True)),
        evaluations=2 * len(steps),
    )


def _step(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    s: float,
    h: float,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n d"],
    e_next: Float[Tensor, "n d"],
    constant: Estimate | None,
    nodes: int,
) -> tuple[Step, float, Rates]:
    """The step, the log of the exact growth of ||e|| without delta, and the rates at its start."""
    gx, gy = g(s, x), g(s, y)
    delta, e = f(s, x) - gx, x - y
    rates = Rates.at(e, delta, gx - gy, lambda: torch.bmm(jacobian(g, s, x), delta[:, :, None])[:, :, 0])
    moved = rms((e + h * (gx - gy)).norm(dim=1))
    measured = log(moved) - log(rates.distance) if rates.distance > 0 else 0.0
    # Round-off of the run itself belongs to the kick, so what is left is done in float64.
    transition, norm = _transition(g, s, h, x, y, gx, gy, nodes)
    before, after, source = e.double(), e_next.double(), h * delta.double().norm(dim=1)
    if transition is None:
        # Without transitions the kick is known by its length alone.
        source, kicks = torch.maximum(source, after.norm(dim=1) - norm * before.norm(dim=1)), None
    else:
        kicks = after[:, :, None] - torch.bmm(transition, before[:, :, None])
    growth = norm.log()
    step = Step.ordered(
        growth=growth,
        source=source,
        local_growth=float(growth.max()),
        log_local_source=log(rms(source)),
        global_growth=None if constant is None else log(constant.mean),
        log_global_source=log(rms(source)),
        transition=transition,
        kicks=kicks,
    )
    return step, measured, rates


def _transition(
    g: VelocityField[Tensor],
    s: float,
    h: float,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n d"],
    gx: Float[Tensor, "n d"],
    gy: Float[Tensor, "n d"],
    nodes: int,
) -> tuple[Float[Tensor, "n d d"] | None, Float[Tensor, " n"]]:
    """I + h A in float64, kept up to 8 dimensions only, and its norms."""
    eye = torch.eye(x.shape[1], dtype=torch.float64, device=x.device)
    transitions, norms = [], []
    for part in row_chunks(x):
        phi = eye + h * mean_jacobian(g, s, x[part], y[part], nodes=nodes, vx=gx[part], vy=gy[part]).A
        norms.append(spectral_norm(phi))
        transitions.append(phi if x.shape[1] <= PROPAGATOR_UP_TO else phi[:0])
    kept = torch.cat(transitions)
    return (kept if len(kept) else None), torch.cat(norms)
