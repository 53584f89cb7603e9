"""The discretization certificate: an inequality where it says so, an equality where it must be, of the right order."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gflow.bounds import Form, Status, certify, steps_for
from gflow.bounds.certificate import _interpolant
from gflow.bounds.quadrature import Panels
from gflow.bounds.rungs import rms
from gflow.estimate import Estimate
from gflow.fields import ProbabilityFlow, reverse
from gflow.lipschitz import ClosedForm, FieldLogNorm
from gflow.ode import (
    BOSH3,
    DOPRI5,
    EULER,
    HEUN,
    MIDPOINT,
    RK4,
    TSIT5,
    ConstantStep,
    ExplicitRK,
    ImplicitMidpoint,
    Interpolant,
    PIController,
    solve_ivp,
)
from gflow.problems import VP, GaussianMixture, NoisedScore
from gflow.transport import ExactW2
from tests.strategies import F64, floats, points, tensors, untyped

TIGHT = PIController(rtol=1e-12, atol=1e-12)
ORDERS = {EULER: 1, MIDPOINT: 2, HEUN: 2, BOSH3: 3, RK4: 4, DOPRI5: 4, TSIT5: 4}


def certificate(v, y0, tableau, n, s1=1.0, ball=None):
    return certify(v, y0, 0.0, s1, method=ExplicitRK(tableau), controller=ConstantStep(s1 / n), ball=ball)


def exact(v, y0: Tensor, s1: float = 1.0) -> Tensor:
    return solve_ivp(v, y0, 0.0, s1, method=ExplicitRK(DOPRI5), controller=TIGHT).y1


def four_modes(n: int, seed: int = 0):
    """The problem of W2B-20's CHECKED line, in sampling time, with its start."""
    means = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=F64)
    data = GaussianMixture(means.new_full((4,), 0.25), means, means.new_full((4,), 0.09))
    path = VP(1.0, 1.0, 3.0)
    x0 = data.at(path, 3.0).sample(n, torch.Generator().manual_seed(seed))
    return reverse(ProbabilityFlow(path, NoisedScore(data, path)), 3.0), x0


@given(rate=floats(0.1, 2.0), n=st.integers(3, 30))
def test_w2b_20_it_is_an_equality_for_scalar_fields_whose_defect_has_one_sign(rate, n):
    """y' = rate y + exp(s) from y > 0: all derivatives are positive, so Euler's defect is negative."""

    def v(s, y):
        return rate * y + math.exp(s)

    y0 = torch.linspace(0.5, 2.0, 8, dtype=F64)[:, None]
    made = certificate(v, y0, EULER, n)
    gap = (exact(v, y0) - made.solution.y1).norm(dim=1).square().mean().sqrt().item()
    assert made.pathwise.mean == pytest.approx(gap, rel=1e-8)


@given(a=tensors((2, 2), -2.0, 2.0), tableau=st.sampled_from([EULER, HEUN, RK4, TSIT5]), n=st.integers(3, 20))
def test_w2b_20_pathwise_and_rigorous_agree_for_linear_fields(a, tableau, n):
    def v(s, y):
        return y @ a.mT

    top = float(torch.linalg.eigvalsh((a + a.mT) / 2)[-1])
    ball = ClosedForm(lambda s: Estimate.exact(top))
    y0 = points(6, 2, 0)
    made = certificate(v, y0, tableau, n, ball=ball)
    assert made.status is Status.RIGOROUS
    assert made.rigorous is not None
    assert made.rigorous.mean == pytest.approx(made.pathwise.mean, rel=1e-9)
    assert made.local.mean >= made.pathwise.mean * (1 - 1e-9)  # by Minkowski's inequality in time
    gap = (exact(v, y0) - made.solution.y1).norm(dim=1).square().mean().sqrt().item()
    assert made.rigorous.mean >= gap * (1 - 1e-9) - 1e-13


@settings(max_examples=8)
@given(
    tableau=st.sampled_from(list(ORDERS)),
    n=st.integers(8, 40),
    seed=st.integers(0, 99),
)
def test_w2b_20_the_rigorous_form_is_at_least_the_true_w2(tableau, n, seed):
    v, x0 = four_modes(12, seed)
    made = certificate(v, x0, tableau, n, 3.0, FieldLogNorm(v, 1))
    w2 = ExactW2()(made.solution.y1, exact(v, x0, 3.0)).sqrt()
    if made.rigorous is None:
        assert made.status is Status.BLOW_UP
        assert "between t =" in made.detail
    else:
        assert made.status is Status.RIGOROUS
        assert made.rigorous.bias == "up"
        assert made.rigorous.mean >= w2.lo * (1 - 1e-9)
        assert made.rigorous.mean >= made.pathwise.mean * (1 - 1e-9)
    assert made.local.mean >= made.pathwise.mean * (1 - 1e-9)


@pytest.mark.parametrize("tableau", ORDERS, ids=lambda t: t.name)
@settings(max_examples=15)
@given(
    w=tensors((2, 3), -2.0, 2.0),
    back=tensors((3, 2), -1.0, 1.0),
    n=st.integers(4, 12),
    rate=floats(-3.0, 3.0),
    speed=floats(0.5, 4.0),
)
def test_w2b_20_integrals_over_time_err_upwards(tableau, w, back, n, rate, speed):
    """Against 64 nodes a step, for a norm that changes in time with a known integral; |r| has kinks where r turns."""

    def v(s, y):
        return torch.sin(y @ w + torch.arange(3.0, dtype=F64) + speed * s) @ back

    def norm(t, centres, radii):
        return torch.full_like(radii, rate * math.sin(speed * t))

    made = certificate(v, points(6, 2, 0), tableau, n, ball=norm)
    dense = made.solution.dense
    assert dense is not None
    assert made.rigorous is not None
    dense = dense.using(made.interpolant)
    panels = Panels.uniform(0.0, 1.0, 8 * n)
    sizes = torch.stack([dense.defect(s).norm(dim=1) for s in panels.nodes])
    growth = np.exp(rate / speed * (np.cos(speed * panels.nodes) - math.cos(speed)))
    fine = rms(torch.tensor(panels.weights * growth, dtype=F64) @ sizes)
    assert made.rigorous.mean >= fine * (1 - 1e-3) - 1e-13
    assert made.rigorous.mean <= 2.5 * fine + 1e-13


@pytest.mark.parametrize(("tableau", "order"), list(ORDERS.items()), ids=[t.name for t in ORDERS])
def test_w2b_20_each_form_falls_with_the_order_of_method_and_defect(tableau, order):
    def v(s, y):
        turned = torch.stack((-y[:, 1], y[:, 0]), 1)
        return turned * (1 + 0.3 * torch.sin(y[:, :1])) + 0.2 * math.cos(s) * y

    y0 = points(5, 2, 1, scale=0.7)
    steps = (40, 80, 160) if order < 4 else (20, 40, 80)
    made = [certificate(v, y0, tableau, n) for n in steps]
    assert made[0].order == order
    for form in (Form.PATHWISE, Form.LOCAL):
        values = [c.value(form).mean for c in made]
        assert math.log2(values[1] / values[2]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("tableau", [EULER, HEUN], ids=["Euler", "Heun"])
def test_w2b_20_on_four_modes_pathwise_is_within_4_and_local_within_35_times_w2(tableau):
    v, x0 = four_modes(200)
    true = exact(v, x0, 3.0)
    for n in (20, 40, 80):
        made = certificate(v, x0, tableau, n, 3.0)
        w2 = ExactW2()(made.solution.y1, true).sqrt().mean
        assert 1 <= made.pathwise.mean / w2 <= 4
        assert made.local.mean / w2 <= 35


def test_the_profile_ends_with_the_bound_and_forms_are_labelled():
    v, x0 = four_modes(10)
    made = certificate(v, x0, HEUN, 12, 3.0)
    assert made.status is Status.NOT_ASKED
    assert made.rigorous is None
    assert made.radius[0] == 0
    assert made.radius[-1] == pytest.approx(made.pathwise.mean, rel=1e-12)
    assert len(made.s) == len(made.radius) == len(made.defect) + 1 == 13
    assert made.pathwise.bias == made.local.bias == "unknown"


def test_a_ball_bound_that_grows_with_the_radius_blows_up_with_its_time():
    v, x0 = four_modes(10)
    made = certificate(v, x0, EULER, 8, 3.0, lambda t, centres, radii: 50.0 * radii + 1.0)
    assert made.status is Status.BLOW_UP
    assert made.rigorous is None
    assert made.detail.startswith("between t = ")
    assert math.isfinite(made.pathwise.mean)


def test_interpolants_have_the_defect_that_the_order_needs():
    kinds = {t.name: _interpolant(ExplicitRK(t)) for t in ORDERS}
    assert kinds[EULER.name] is Interpolant.LINEAR
    assert kinds[HEUN.name] is kinds[BOSH3.name] is Interpolant.HERMITE
    assert kinds[RK4.name] is Interpolant.QUARTIC
    assert kinds[DOPRI5.name] is kinds[TSIT5.name] is Interpolant.EXTENSION
    assert _interpolant(ImplicitMidpoint(1e-10, 20)) is Interpolant.HERMITE


@pytest.mark.parametrize("form", [Form.PATHWISE, Form.RIGOROUS], ids=["pathwise", "rigorous"])
def test_steps_for_a_w2_meet_it_without_waste(form):
    v, x0 = four_modes(8)
    ball = FieldLogNorm(v, 1)
    n, made = steps_for(v, x0, 0.0, 3.0, method=ExplicitRK(HEUN), w2=0.02, form=form, first=4, most=2000, ball=ball)
    bound = made.value(form)
    assert bound is not None
    assert 0.8 * 0.02 <= bound.mean <= 0.02
    assert made.solution.stats.accepted == n
    fewer = certificate(v, x0, HEUN, int(0.85 * n), 3.0, ball).value(form)
    assert fewer is None or fewer.mean > 0.02


def test_steps_for_takes_the_first_count_where_that_is_enough_and_refuses_beyond_the_last():
    v, x0 = four_modes(10)
    method = ExplicitRK(HEUN)
    n, _ = steps_for(v, x0, 0.0, 3.0, method=method, w2=10.0, form=Form.PATHWISE, first=20, most=50)
    assert n == 20
    with pytest.raises(RuntimeError, match="50 steps leave the pathwise"):
        steps_for(v, x0, 0.0, 3.0, method=method, w2=1e-6, form=Form.PATHWISE, first=20, most=50)
    with pytest.raises(ValueError, match="needs a ball bound"):
        steps_for(v, x0, 0.0, 3.0, method=method, w2=0.1, form=Form.RIGOROUS, first=20, most=50)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"s1": -1.0}, "needs s1 > s0"),
        ({"y0": torch.full((3, 2), math.nan, dtype=F64)}, "y0: expected finite numbers"),
        ({"v": lambda s, y: y - y.mean(0)}, "must depend on row i"),
        ({"ball": lambda t, c, r: r[:1]}, r"ball at t = .*expected \(3,\) numbers"),
    ],
)
def test_bad_arguments_are_refused_by_name(changes, message):
    arguments = {"v": lambda s, y: torch.sin(y), "y0": points(3, 2, 0), "s0": 0.0, "s1": 1.0} | changes
    with untyped(), pytest.raises(ValueError, match=message):
        certify(**arguments, method=ExplicitRK(HEUN), controller=ConstantStep(0.25))


def test_float32_is_certified_in_its_own_dtype():
    v, x0 = four_modes(10)
    single = certificate(lambda s, y: v(s, y.double()).float(), x0.float(), HEUN, 20, 3.0)
    double = certificate(v, x0, HEUN, 20, 3.0)
    assert single.solution.y1.dtype == torch.float32
    assert single.pathwise.mean == pytest.approx(double.pathwise.mean, rel=1e-2)
