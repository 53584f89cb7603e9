"""How far a numerical solution is from the exact flow of its field, in W2, from what the solver has itself (W2B-20)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import check_cloud
from gflow.bounds.rungs import exp, log, log_rms, rms
from gflow.bounds.tube import TubeStep
from gflow.estimate import Estimate
from gflow.lipschitz import BallLogNorm, check_rows_independent
from gflow.ode import (
    ConstantStep,
    DenseOutput,
    ExplicitRK,
    Interpolant,
    Method,
    Solution,
    StepController,
    solve_ivp,
)
from gflow.velocity import VelocityField


class Form(Enum):
    """Which of the three a question is about."""

    PATHWISE = "pathwise, uncertified"
    LOCAL = "local, uncertified"
    RIGOROUS = "rigorous"


class Status(Enum):
    """What became of the rigorous form."""

    RIGOROUS = "the rigorous form holds for all of the interval, where the steps resolve the field in time"
    NOT_ASKED = "no bound of the logarithmic norm over balls was given: only the uncertified forms are known"
    BLOW_UP = "the radius of the rigorous form grew without bound: take a smaller step, or give a sharper bound"


@dataclass(frozen=True)
class Certificate:
    """Three upper bounds of W2 between the exact flow's cloud and the numerical one, never to be confused.

    All are bounds for the cloud that was given. In time a field known as code is only sampled: ``rigorous`` adds
    what the polynomials through the nodes of a step may miss, which is a bound where the Legendre coefficients
    beyond their last halve each time (W2B-20), as they do for smooth fields whose scales the steps resolve.
    """

    pathwise: Estimate
    """Logarithmic norm at the numerical points: exact to first order in the error, uncertified (bias ``unknown``)."""
    local: Estimate
    """The largest of those norms over the particles at each time; uncertified."""
    rigorous: Estimate | None
    """A bound of the norm over the ball that holds the exact flow; None where ``status`` says why."""
    status: Status
    detail: str
    """Where the rigorous form was lost, in words; empty otherwise."""
    interpolant: Interpolant
    order: int
    """Order of the forms in the step: the lesser of the method's and the defect's."""
    solution: Solution[Tensor]
    """The numerical solution, with its statistics and dense output."""
    s: tuple[float, ...]
    """Times of the profile: the ends of the steps, (K + 1)."""
    radius: tuple[float, ...]
    """The pathwise form at those times, (K + 1)."""
    defect: tuple[float, ...]
    """L2 norm over the particles of the mean defect of each step, (K)."""

    def value(self, form: Form) -> Estimate | None:
        """The bound of one form."""
        return {Form.PATHWISE: self.pathwise, Form.LOCAL: self.local, Form.RIGOROUS: self.rigorous}[form]


def certify(
    v: VelocityField[Tensor],
    y0: Float[Tensor, "n d"],
    s0: float,
    s1: float,
    *,
    method: Method,
    controller: StepController,
    ball: BallLogNorm | None = None,
) -> Certificate:
    """Integrate v, and bound the W2 distance of the result from the exact flow of v from the same cloud.

    The numerical solution, joined by an interpolant u, solves u' = v(u) + r exactly. Between it and
    the exact flow |e|' <= |r| + mu |e|, with mu the logarithmic norm of the mean Jacobian on the
    segment (W2B-10 iii). ``pathwise`` takes mu at u, ``local`` the largest over the particles,
    ``rigorous`` a bound over the ball of radius rho around u, rho being the bound itself. The
    interpolant is the one whose defect has the method's order: linear for Euler, cubic Hermite for
    orders 2 and 3, the quartic of ``Interpolant`` or the pair's own extension for orders 4 and 5.

    Costs 6 evaluations and 4 Jacobians a step, beside the solve; each widening of a ball, 4 calls of ``ball``.

    Args:
        v: field in the direction of integration; row i acts on particle i alone. Its ``.jacobian`` is
            used where it has one.
        y0: initial cloud, any floating dtype and device.
        s0: initial time.
        s1: final time, larger than ``s0``.
        method: a method with slopes, such as ``ExplicitRK(HEUN)``.
        controller: its steps.
        ball: upper bound of the logarithmic norm over balls, for the rigorous form.

    Raises:
        ValueError: a bad cloud, ``s1 <= s0``, coupled rows, or a ball bound of another shape or NaN.
        SolveError: the integration failed.
    """
    check_cloud("y0", y0)
    if not s1 > s0:
        raise ValueError(f"certify: the field is in the direction of integration, needs s1 > s0, got {s0}, {s1}")
    check_rows_independent(v, s0, y0[:2])
    solution = solve_ivp(v, y0, s0, s1, method=method, controller=controller, dense=True)
    assert solution.dense is not None
    kind = _interpolant(method)
    with torch.no_grad():
        return _Climb(v, solution, solution.dense.using(kind), method, ball).certificate()


def steps_for(
    v: VelocityField[Tensor],
    y0: Float[Tensor, "n d"],
    s0: float,
    s1: float,
    *,
    method: Method,
    w2: float,
    form: Form,
    first: int,
    most: int,
    ball: BallLogNorm | None = None,
) -> tuple[int, Certificate]:
    """How many equal steps make the certificate at most ``w2``, and that certificate.

    Steps are refined by the order of the form, from ``first`` on, until the bound lies between 0.8
    and 1 times ``w2``, or is below it at ``first``. ``certificate.solution.stats`` has the evaluations.

    Raises:
        ValueError: as ``certify``; ``w2 <= 0``, ``first < 1`` or ``most < first``; the rigorous form
            without a ball bound.
        RuntimeError: more than ``most`` steps would be needed; the message says the bound reached.
    """
    if not 0 < w2 < math.inf or not 1 <= first <= most:
        raise ValueError(f"steps_for: needs w2 > 0 and 1 <= first <= most, got {w2}, {first}, {most}")
    if form is Form.RIGOROUS and ball is None:
        raise ValueError("steps_for: the rigorous form needs a ball bound; give ball=, or ask for Form.PATHWISE")
    below, above, n = 0, most + 1, first
    found: dict[int, Certificate] = {}
    while True:
        step = ConstantStep((s1 - s0) / n)
        found[n] = certify(v, y0, s0, s1, method=method, controller=step, ball=ball)
        bound = found[n].value(form)
        ratio = math.inf if bound is None else bound.mean / w2
        if ratio <= 1:
            above = n
            if ratio >= 0.8 or n <= max(first, below + 1):
                return n, found[n]
        else:
            below = n
            if n == most or above == below + 1:
                if above <= most:
                    return above, found[above]
                raise RuntimeError(f"steps_for: {most} steps leave the {form.value} bound at {ratio:.3g} times w2")
        n = _next(n, ratio, found[n].order, below, above)


def _next(n: int, ratio: float, order: int, below: int, above: int) -> int:
    """The count that the order predicts, a little finer, inside what is known."""
    guess = 2 * n if math.isinf(ratio) else math.ceil(n * min(max(1.08 * ratio, 1e-3), 1e3) ** (1 / order))
    return min(max(guess, below + 1), above - 1)


def _interpolant(method: Method) -> Interpolant:
    """The interpolant whose defect has the method's order."""
    if method.order == 1:
        return Interpolant.LINEAR
    if isinstance(method, ExplicitRK) and method.tableau.b_dense is not None:
        return Interpolant.EXTENSION
    return Interpolant.HERMITE if method.order <= 3 else Interpolant.QUARTIC


_DEFECT_ORDER = {
    Interpolant.LINEAR: 1,
    Interpolant.HERMITE: 3,
    Interpolant.QUARTIC: 4,
    Interpolant.EXTENSION: 4,
}


class _Climb:
    """The bounds, carried from step to step in log form."""

    def __init__(
        self,
        v: VelocityField[Tensor],
        solution: Solution[Tensor],
        dense: DenseOutput,
        method: Method,
        ball: BallLogNorm | None,
    ) -> None:
        self.v, self.solution, self.dense, self.ball = v, solution, dense, ball
        self.shape = solution.y1.shape
        self.order = min(method.order, _DEFECT_ORDER[dense.interpolant])
        nothing = solution.y1.new_full((self.shape[0],), -math.inf)
        self.log_pathwise, self.log_local = nothing, -math.inf
        self.rho: Tensor | None = None if ball is None else torch.zeros_like(nothing)
        self.detail = ""

    def certificate(self) -> Certificate:
        """Climb over all steps."""
        radius, defects = [0.0], []
        for k in range(len(self.dense.ts) - 1):
            step = TubeStep.of(self.v, self.dense, k, self.shape)
            self.log_pathwise = step.carry(self.log_pathwise, step.mu, step.size)
            self.log_local = step.carry_largest(self.log_local)
            if self.rho is not None and self.ball is not None:
                self.rho = step.widen(self.rho, self.ball)
                if self.rho is None:
                    self.detail = f"between t = {self.dense.ts[k]:.6g} and t = {self.dense.ts[k + 1]:.6g}"
            radius.append(exp(log_rms(self.log_pathwise)))
            defects.append(rms(step.mean_defect))
        status = Status.NOT_ASKED if self.ball is None else Status.BLOW_UP if self.rho is None else Status.RIGOROUS
        return Certificate(
            pathwise=Estimate.bound(log_rms(self.log_pathwise), bias="unknown"),
            local=Estimate.bound(self.log_local, bias="unknown"),
            rigorous=None if self.rho is None else Estimate.bound(log(rms(self.rho)), bias="up"),
            status=status,
            detail=self.detail,
            interpolant=self.dense.interpolant,
            order=self.order,
            solution=self.solution,
            s=tuple(self.dense.ts),
            radius=tuple(radius),
            defect=tuple(defects),
        )
