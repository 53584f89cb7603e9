"""Velocities at points that are no particles, and the score that points carry along a flow."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.fields.particles import (
    CarriedScore,
    DriftingFlow,
    GaussianKernel,
    KernelDensityFlow,
    LaplacianKernel,
    MMDFlow,
    RefittedFlow,
    SinkhornFlow,
    SteinFlow,
)
from gflow.learn import MLP
from gflow.ode import RK4, ConstantStep, ExplicitRK, solve_ivp
from gflow.ratio import LEAST_SQUARES, LOGIT, SATURATING, DensityRatioEstimator, KernelDensityEstimator
from gflow.transport import Sinkhorn
from tests.strategies import F64, floats, points, spd, tensors, untyped


def critic():
    """A critic that is trained for a few steps: its velocity is a function of the cloud, good or bad."""
    return DensityRatioEstimator(
        network=MLP(2, 1, hidden=(8, 8), generator=torch.Generator().manual_seed(0)),
        objective=LEAST_SQUARES,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
        steps=100,
        batch=8,
        held_out=0.3,
        every=10,
        patience=10,
    )


DATA = points(7, 2, 0)
SOLVER = Sinkhorn(eps=0.5, tolerance=1e-12)
FIELDS = {
    "Stein": SteinFlow(torch.neg, GaussianKernel(0.8)),
    "MMD": MMDFlow(DATA, GaussianKernel(0.8)),
    "drifting": DriftingFlow(DATA, LaplacianKernel(0.9)),
    "drifting, unit speed": DriftingFlow(DATA, GaussianKernel(0.9), normalised=True),
    "density": KernelDensityFlow(DATA, 0.7),
    "density and score": KernelDensityFlow(torch.neg, 0.7),
    "Sinkhorn": SinkhornFlow(DATA, SOLVER),
    "refitted density": RefittedFlow(KernelDensityEstimator(factors=(1.0,)), DATA, LOGIT, 0),
    "refitted critic": RefittedFlow(critic(), DATA, SATURATING, 0),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_particle_moves_as_any_point_at_its_place_and_points_do_not_see_each_other(name):
    """The Sinkhorn solver multiplies in another order for other rows: its potentials agree to its tolerance."""
    field, y, x = FIELDS[name], points(6, 2, 1), points(3, 2, 2)
    velocity = field.given(y)
    assert torch.allclose(field(0.0, y), velocity(y), rtol=1e-9, atol=1e-9)
    assert torch.allclose(velocity(x)[1:2], velocity(x[1:2]), rtol=1e-12, atol=1e-14)


def test_the_entropic_map_is_differentiable_in_the_point_with_the_plan_held():
    velocity, x = FIELDS["Sinkhorn"].given(points(6, 2, 1)), points(1, 2, 3)
    step = torch.tensor([[1e-5, 0.0]], dtype=F64)
    difference = (velocity(x + step) - velocity(x - step)) / 2e-5
    derivative = torch.func.jacrev(lambda z: velocity(z).squeeze(0))(x)[:, 0, 0]
    assert torch.allclose(derivative, difference.squeeze(0), rtol=1e-7, atol=1e-9)


def test_two_batches_have_no_velocity_at_other_points():
    with pytest.raises(ValueError, match="two_batches: particles in two batches have no one velocity"):
        SinkhornFlow(DATA, SOLVER, two_batches=True).given(points(4, 2, 0))


class Cubic:
    """``u(x) = B x - R^T (R x)^3``, entry by entry, for orthogonal R: nonlinear, and no particle is looked at."""

    def __init__(self, B, R):
        self.B, self.R = B, R

    def __call__(self, t, y):
        return self.given(y)(y)

    def given(self, y):
        return lambda x: x @ self.B.mT - (x @ self.R.mT).pow(3) @ self.R


def carry(field, start, t, steps):
    return solve_ivp(CarriedScore(field), start, 0.0, t, method=ExplicitRK(RK4), controller=ConstantStep(t / steps)).y1


def of(points_):
    """A start with law N(0, I), whose score is -x."""
    return {"particles": points_, "points": points_, "score": -points_}


@settings(max_examples=6)
@given(tensors((9, 2), -1.0, 1.0), floats(0.0, 3.0), floats(0.2, 1.0))
def test_wgf_2_the_carried_score_is_the_gradient_of_the_transported_density(x, angle, t):
    """``x' = -x^3`` has the flow ``x / sqrt(1 + 2 t x^2)``: its inverse and density are differentiated instead.

    RK4 with 48 steps leaves 1e-7.
    """
    c, s = torch.tensor(angle, dtype=F64).cos(), torch.tensor(angle, dtype=F64).sin()
    R = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    end = carry(Cubic(torch.zeros(2, 2, dtype=F64), R), of(x), t, 48)

    def log_density(z):
        z = R @ z
        inverse = z / (1 - 2 * t * z.square()).sqrt()
        return (-inverse.square() / 2 - 1.5 * torch.log1p(-2 * t * z.square())).sum()

    expected = torch.func.vmap(torch.func.grad(log_density))(end["points"])
    assert torch.allclose(end["score"], expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=6)
@given(tensors((3, 2), -2.0, 2.0), tensors((2, 2), -1.0, 1.0), spd(2), floats(0.1, 1.0))
def test_orc_2_under_a_linear_flow_the_score_stays_that_of_a_normal_law(x, B, S, t):
    class Linear(Cubic):
        def given(self, y):
            return lambda z: z @ self.B.mT

    start = {"particles": x, "points": x, "score": -torch.linalg.solve(S, x.mT).mT}
    end = carry(Linear(B, B), start, t, 32)
    flow = torch.linalg.matrix_exp(t * B)
    expected = -torch.linalg.solve(flow @ S @ flow.mT, end["points"].mT).mT
    assert torch.allclose(end["score"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["MMD", "density", "Stein", "drifting, unit speed"])
def test_the_particles_move_as_without_points_and_scores_agree_with_differences_of_the_flow_map(name):
    """Two neighbours of a point give log det of the flow map by differences: an independent route to the density."""
    field, y, x = FIELDS[name], points(6, 2, 1), points(2, 2, 4)
    end = carry(field, {"particles": y, "points": x, "score": -x}, 0.3, 6)
    alone = solve_ivp(field, y, 0.0, 0.3, method=ExplicitRK(RK4), controller=ConstantStep(0.05)).y1
    assert torch.allclose(end["particles"], alone, rtol=1e-10, atol=1e-10)

    # All neighbours of neighbours in one solve: points do not see each other.
    h, e = 3e-3, torch.cat([torch.eye(2, dtype=F64), -torch.eye(2, dtype=F64)])
    centres = torch.cat([x, (x[:, None] + h * e).reshape(-1, 2)])
    stencil = (centres[:, None] + h * e).reshape(-1, 2)
    moved = carry(field, {"particles": y, "points": stencil, "score": torch.zeros_like(stencil)}, 0.3, 6)["points"]
    moved = moved.reshape(-1, 4, 2)
    slope = ((moved[:, :2] - moved[:, 2:]) / (2 * h)).mT
    log_density = -centres.square().sum(1) / 2 - slope.det().abs().log()
    around = log_density[2:].reshape(2, 4)
    by_start = (around[:, :2] - around[:, 2:]) / (2 * h)
    expected = torch.linalg.solve(slope[:2].mT, by_start)
    assert torch.allclose(end["score"], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": None}, r"y: expected the blocks \['particles', 'points', 'score'\], got"),
        ({"score": points(2, 2, 0)}, r"score: expected shape \(k, d\) as the points"),
        (
            {"points": points(3, 2, 0).float(), "score": points(3, 2, 0).float()},
            "points: must share dtype and device with the particles",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(changes, message):
    state = {k: v for k, v in {**of(points(3, 2, 0)), **changes}.items() if v is not None}
    with pytest.raises(ValueError, match=message), untyped():
        CarriedScore(FIELDS["MMD"])(0.0, state)


@given(st.sampled_from(["MMD", "density"]))
def test_float32_is_kept(name):
    field = {"MMD": MMDFlow(DATA.float(), GaussianKernel(0.8)), "density": KernelDensityFlow(DATA.float(), 0.7)}[name]
    moved = CarriedScore(field)(0.0, of(points(3, 2, 0).float()))
    assert {x.dtype for x in moved.values()} == {torch.float32}
