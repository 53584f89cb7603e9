"""Explicit against implicit steps on a stiff target: N(0, diag(1, 1/kappa)), every law normal and known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.fields import AffineGenerator
from gflow.ode import (
    EULER,
    RK4,
    ConstantStep,
    ExplicitRK,
    ImplicitMidpoint,
    Method,
    RosenbrockEuler,
    observed_order,
    solve_ivp,
)
from gflow.problems import Gaussian
from gflow.problems.oracles import gaussian_jko_step
from studies.wasserstein_flow.config import Case, Config

if TYPE_CHECKING:
    from gflow.study import Context

METHODS: dict[str, Method] = {
    "euler": ExplicitRK(EULER),
    "rk4": ExplicitRK(RK4),
    "rosenbrock": RosenbrockEuler(tolerance=1e-10),
    "midpoint": ImplicitMidpoint(tolerance=1e-12, max_iterations=50),
}
"""One-step methods on the parameters of the affine generator; ``jko`` steps are exact and stand beside them."""
SPAN = 1.0
WITHIN = 0.1
"""How far from 1 the order of exact JKO steps may be."""
_F64 = torch.float64
_BACK = 20  # steps after which a small displacement must have shrunk
_BISECTIONS = 13  # of a factor of 100: the step is known to 0.1 %
_SMALL = 1e-4
_LOST = 1e6

Law = Float[Tensor, "2 2"]
"""Means (first row) and standard deviations (second) of the two axes; W2 is the Frobenius norm of a difference."""
Laws = Float[Tensor, "steps 2 2"]
Scheme = Callable[[Law, float, int], Laws]
"""``(start, h, n)`` -> the laws after 0 to n steps, or up to the step that failed."""


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: every scheme at every number of steps, the largest stable steps, and the order of JKO."""
    kappa = float(case.problem)
    generator = AffineGenerator(_target(kappa))
    start = _start(context)
    end = generator.exact(SPAN, _theta(start))
    exact = _laws(end["m"], end["A"])
    schemes = {name: _one_step(generator, method) for name, method in METHODS.items()} | {"jko": _jko(generator.target)}
    row: dict[str, Any] = {"steps": list(config.stiff_steps), "start_w2": float((start - exact).norm())}
    row |= {"w2": {}, "kl_falls": {}}
    for name, scheme in schemes.items():
        paths = [scheme(start, SPAN / n, n) for n in config.stiff_steps]
        whole = [len(path) == n + 1 for path, n in zip(paths, config.stiff_steps, strict=True)]
        row["w2"][name] = [_w2(path[-1], exact) if ok else None for path, ok in zip(paths, whole, strict=True)]
        row["kl_falls"][name] = [ok and _falls(path, kappa) for path, ok in zip(paths, whole, strict=True)]
    order = observed_order(
        lambda n: schemes["jko"](start, SPAN / n, n)[-1],
        steps=config.stiff_steps,
        span=SPAN,
        reference=exact,
        nominal=1,
        tolerance=WITHIN,
    )
    return {
        **row,
        "jko_order": order.order,
        "jko_verdict": order.verdict.name,
        "predicted": {"mean": 2.0 / kappa, "deviation": 1.0 / kappa},
        "stable": {name: _largest_stable(kappa, schemes["euler"], k) for k, name in enumerate(("mean", "deviation"))},
    }


def _target(kappa: float) -> Gaussian:
    return Gaussian(torch.zeros(2, dtype=_F64), torch.diag(torch.tensor([1.0, 1.0 / kappa], dtype=_F64)))


def _start(context: Context) -> Law:
    """A law of size 1 on both axes, the same for all condition numbers: the stiff axis starts far from its end."""
    generator = context.generator_for("start", key="stiff", device="cpu")
    u = torch.rand(2, 2, generator=generator, dtype=_F64)
    return torch.stack((1.0 + u[0], 0.5 + u[1]))


def _theta(law: Law) -> dict[str, Tensor]:
    """The parameters of the affine generator with that law."""
    return {"m": law[0], "A": torch.diag(law[1])}


def _laws(m: Float[Tensor, "*steps 2"], A: Float[Tensor, "*steps 2 2"]) -> Float[Tensor, "*steps 2 2"]:
    """The laws of parameters; an explicit step may turn the sign of A, which is the same law."""
    return torch.stack((m, A.diagonal(dim1=-2, dim2=-1).abs()), -2)


def _one_step(generator: AffineGenerator, method: Method) -> Scheme:
    """A method of gflow.ode on the parameters, its critic optimal at every stage."""

    def run(start: Law, h: float, n: int) -> Laws:
        # A step that is too long ends in infinity, or in an implicit equation without solution: that is the finding.
        found = solve_ivp(
            generator.tracking,
            _theta(start),
            0.0,
            n * h,
            method=method,
            controller=ConstantStep(h),
            save_every=1,
            throw=False,
        )
        return _laws(found.ys["m"], found.ys["A"])

    return run


def _jko(target: Gaussian) -> Scheme:
    """Exact minimising movements (WGF-4)."""

    def run(start: Law, h: float, n: int) -> Laws:
        law, laws = Gaussian(start[0], torch.diag(start[1].square())), [start]
        for _ in range(n):
            law = gaussian_jko_step(target, law, h)
            laws.append(torch.stack((law.mu, law.C.diagonal().sqrt())))
        return torch.stack(laws)

    return run


def _w2(law: Law, exact: Law) -> float | None:
    """W2 between laws with the same axes; None where it is no number of any use."""
    w2 = float((law - exact).norm())
    return w2 if w2 < _LOST else None


def _falls(laws: Laws, kappa: float) -> bool:
    """Whether KL(q || p) fell in every step, up to rounding."""
    moments = laws.square().sum(1) * laws.new_tensor([1.0, kappa])
    kl = 0.5 * (moments - 1.0 - (laws[:, 1].square() * laws.new_tensor([1.0, kappa])).log()).sum(1)
    return bool((kl.diff() <= 1e-12 * (1.0 + kl[:-1])).all())


def _largest_stable(kappa: float, euler: Scheme, block: int) -> float:
    """The largest step from which a small displacement of the mean (0) or deviation (1) of the stiff axis returns."""
    goal = torch.tensor([[0.0, 0.0], [1.0, kappa**-0.5]], dtype=_F64)
    start = goal.clone()
    start[block, 1] += _SMALL * kappa**-0.5

    def returns(h: float) -> bool:
        laws = euler(start, h, _BACK)
        return len(laws) == _BACK + 1 and bool((laws[-1] - goal)[block].norm() < _SMALL * kappa**-0.5)

    low, high = math.log(0.1 / kappa), math.log(10.0 / kappa)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if returns(math.exp(middle)) else (low, middle)
    return math.exp((low + high) / 2.0)
