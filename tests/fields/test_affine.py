"""The affine generator: its flows in closed form, and the orders that depend on how its critic moves."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence
from torch.func import grad, jacrev

from gflow.fields import AffineGenerator
from gflow.ode import EULER, HEUN, MIDPOINT, RK4, ButcherTableau
from gflow.problems import Gaussian
from tests.halving import end, fine, gap, orders
from tests.ode.problems import named
from tests.strategies import F64, build, dims, floats, gaussians, points, spd, tensors, untyped

Theta = dict[str, Tensor]
seeds = st.integers(0, 1000)


@st.composite
def invertible(draw: st.DrawFn, d: int) -> Tensor:
    """A matrix whose square ``A A^T`` is an ``spd`` one, turned and perhaps mirrored."""
    root = torch.linalg.cholesky(draw(spd(d)))
    turn = torch.linalg.qr(points(d, d, draw(seeds))).Q
    return root @ turn


@st.composite
def trainings(draw: st.DrawFn, commuting: bool | None = None) -> tuple[AffineGenerator, Theta]:
    """A generator's target and its start; ``commuting``: whether A A^T commutes with the target's covariance."""
    d = draw(dims) if commuting is None else draw(st.integers(2, 4))
    target, A = draw(gaussians(d)), draw(invertible(d))
    if commuting:
        A = target.axes * draw(tensors((d,), 0.3, 2.0)) @ torch.linalg.qr(A).Q
        if draw(st.booleans()):  # every covariance commutes with an isotropic one
            target, A = build(Gaussian, target.mu, target.values[0] * torch.eye(d, dtype=F64)), draw(invertible(d))
    return build(AffineGenerator, target), {"m": draw(tensors((d,), -2.0, 2.0)), "A": A}


@st.composite
def critics(draw: st.DrawFn, d: int) -> Theta:
    return {"m": draw(tensors((d,), -2.0, 2.0)), "S": draw(spd(d))}


def law(theta: Theta) -> MultivariateNormal:
    return MultivariateNormal(theta["m"], theta["A"] @ theta["A"].mT)


@settings(max_examples=15)
@given(trainings(), st.data(), seeds)
def test_param_3_samples_move_with_the_gradient_of_the_critic(
    training: tuple[AffineGenerator, Theta], data: st.DataObject, seed: int
) -> None:
    generator, theta = training
    critic = data.draw(critics(generator.target.dim))
    v, z = generator.velocity(theta, critic), points(5, generator.target.dim, seed, 1.0)
    x = theta["m"] + z @ theta["A"].mT
    ratio = generator.target.score(x) - Gaussian(critic["m"], critic["S"]).score(x)
    torch.testing.assert_close(v["m"] + z @ v["A"].mT, ratio, rtol=1e-9, atol=1e-9)


@settings(max_examples=10)
@given(trainings(), st.data())
def test_param_3_the_velocity_is_the_mean_pull_back_of_that_gradient(
    training: tuple[AffineGenerator, Theta], data: st.DataObject
) -> None:
    generator, theta = training
    d = generator.target.dim
    critic = data.draw(critics(d))
    # Two Gauss-Hermite nodes per axis integrate the squares in E[J^T v(g(z))] exactly.
    nodes, weights = np.polynomial.hermite_e.hermegauss(2)
    z = torch.tensor(list(product(nodes, repeat=d)), dtype=F64)
    w = torch.tensor([math.prod(p) for p in product(weights / weights.sum(), repeat=d)], dtype=F64)

    def g(y: Theta) -> Tensor:
        return y["m"] + z @ y["A"].mT

    v = generator.target.score(g(theta)) - Gaussian(critic["m"], critic["S"]).score(g(theta))
    pulled = grad(lambda y: (w * (g(y) * v).sum(1)).sum())(theta)
    assert gap(generator.velocity(theta, critic), pulled) < 1e-10


@given(trainings())
def test_param_3_the_tracked_flow_descends_the_kl_divergence(training: tuple[AffineGenerator, Theta]) -> None:
    generator, theta = training
    p = MultivariateNormal(generator.target.mu, generator.target.C)
    moving = {name: x.clone().requires_grad_() for name, x in theta.items()}
    slopes = torch.autograd.grad(kl_divergence(law(moving), p), list(moving.values()))
    tracked = generator.tracking(0.0, theta)
    assert gap(tracked, {name: -slope for name, slope in zip(moving, slopes, strict=True)}) < 1e-9
    assert gap(tracked, generator.velocity(theta, generator.critic(theta))) < 1e-9


@pytest.mark.parametrize("commuting", [None, True], ids=["general", "commuting"])
@settings(max_examples=6)
@given(data=st.data(), t=floats(0.05, 1.0))
def test_orc_2_the_exact_law_is_the_ornstein_uhlenbeck_law(
    data: st.DataObject, t: float, commuting: bool | None
) -> None:
    generator, theta = data.draw(trainings(commuting))
    p, moved = generator.target, generator.exact(t, theta)
    decay = torch.linalg.matrix_exp(-t * torch.linalg.inv(p.C))
    mean = p.mu + decay @ (theta["m"] - p.mu)
    covariance = p.C + decay @ (theta["A"] @ theta["A"].mT - p.C) @ decay
    torch.testing.assert_close(moved["m"], mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(moved["A"] @ moved["A"].mT, covariance, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("commuting", [None, True], ids=["general", "commuting"])
@settings(max_examples=3)
@given(data=st.data(), t=floats(0.05, 0.3))
def test_orc_2_the_exact_parameters_solve_the_tracked_flow(
    data: st.DataObject, t: float, commuting: bool | None
) -> None:
    # The law alone would not tell A from A times a rotation.
    generator, theta = data.draw(trainings(commuting))
    assert gap(generator.exact(t, theta), fine(generator.tracking, theta, t, 50)) < 1e-9


def test_orc_2_on_the_line() -> None:
    generator, theta = line(0.36, m=1.5, A=-0.5)
    moved, decay = generator.exact(0.7, theta), math.exp(-0.7 / 0.36)
    assert float(moved["m"]) == pytest.approx(1.5 * decay, rel=1e-12)
    assert float(moved["A"]) == pytest.approx(-math.sqrt(0.36 + (0.25 - 0.36) * decay**2), rel=1e-12)
    far = generator.exact(1e3, theta)
    assert (float(far["m"]), float(far["A"])) == pytest.approx((0.0, -0.6), abs=1e-12)
    assert gap(generator.exact(0.0, theta), theta) < 1e-15


@settings(max_examples=10)
@given(trainings(), st.data(), floats(-1.0, 1.0))
def test_the_frozen_flow_is_a_matrix_exponential(
    training: tuple[AffineGenerator, Theta], data: st.DataObject, t: float
) -> None:
    generator, theta = training
    p, critic = generator.target, data.draw(critics(generator.target.dim))
    slope = torch.linalg.inv(critic["S"]) - torch.linalg.inv(p.C)
    drive = torch.linalg.solve(p.C, p.mu) - torch.linalg.solve(critic["S"], critic["m"])
    block = torch.zeros(p.dim + 1, p.dim + 1, dtype=F64)
    block[:-1, :-1], block[:-1, -1] = slope, drive
    flow_map = torch.linalg.matrix_exp(t * block)
    moved = generator.frozen(critic).exact(t, theta)
    size = float(flow_map.abs().max())
    assert gap(moved["A"], flow_map[:-1, :-1] @ theta["A"]) < 1e-10 * size
    assert gap(moved["m"], flow_map[:-1] @ torch.cat([theta["m"], theta["m"].new_ones(1)])) < 1e-10 * size


def test_a_critic_that_knows_the_spread_of_the_target_moves_the_mean_at_constant_speed() -> None:
    generator, theta = line(2.0, m=1.0, A=0.5)
    critic = {"m": torch.tensor([0.4], dtype=F64), "S": torch.tensor([[2.0]], dtype=F64)}
    moved = generator.frozen(critic).exact(3.0, theta)
    assert float(moved["m"]) == pytest.approx(1.0 - 3.0 * 0.2, rel=1e-12)
    assert float(moved["A"]) == pytest.approx(0.5, rel=1e-12)


def line(variance: float, m: float, A: float) -> tuple[AffineGenerator, Theta]:
    """The target N(0, variance) and a start in one dimension."""
    target = Gaussian(torch.zeros(1, dtype=F64), torch.full((1, 1), variance, dtype=F64))
    return AffineGenerator(target), {"m": torch.tensor([m], dtype=F64), "A": torch.tensor([[A]], dtype=F64)}


@cache
def plane() -> tuple[AffineGenerator, Theta, Theta]:
    """A target and a start that do not commute, and the end of the tracked flow at HORIZON."""
    covariance = torch.tensor([[1.5, 0.6], [0.6, 1.0]], dtype=F64)
    generator = AffineGenerator(Gaussian(torch.tensor([0.5, -0.3], dtype=F64), covariance))
    theta = {"m": torch.tensor([-0.5, 1.0], dtype=F64), "A": torch.tensor([[0.9, 0.2], [-0.3, 0.7]], dtype=F64)}
    return generator, theta, generator.exact(HORIZON, theta)


HORIZON = 0.5


def refreshed(generator: AffineGenerator, theta: Theta, tableau: ButcherTableau, steps: int, k: int) -> Theta:
    """``steps`` steps to HORIZON whose critic is made optimal before every k-th and frozen in between (PARAM-8)."""
    for _ in range(steps // k):
        theta = end(generator.frozen(generator.critic(theta)), theta, k * HORIZON / steps, tableau, k)
    return theta


@pytest.mark.parametrize("tableau", **named([EULER, MIDPOINT, HEUN, RK4]))
def test_int_3_with_a_tracking_critic_a_tableau_has_its_order(tableau: ButcherTableau) -> None:
    generator, theta, exact = plane()
    found = orders(lambda n: gap(end(generator.tracking, theta, HORIZON, tableau, n), exact), (10, 20, 40))
    assert found[-1] == pytest.approx(tableau.order, abs=0.1)


@pytest.mark.parametrize("tableau", **named([EULER, MIDPOINT, RK4]))
def test_int_3_with_a_frozen_critic_every_tableau_has_order_one(tableau: ButcherTableau) -> None:
    generator, theta, exact = plane()
    found = orders(lambda n: gap(refreshed(generator, theta, tableau, n, 1), exact), (10, 20, 40))
    assert found[-1] == pytest.approx(1.0, abs=0.1)


def test_int_3_the_frozen_midpoint_rule_has_order_two_for_the_frozen_flow() -> None:
    generator, theta, tracked = plane()
    flow = generator.frozen(generator.critic(theta))
    exact = flow.exact(HORIZON, theta)
    found = orders(lambda n: gap(end(flow, theta, HORIZON, MIDPOINT, n), exact), (10, 20, 40))
    assert found[-1] == pytest.approx(2.0, abs=0.1)
    assert gap(exact, tracked) > 1e-2  # one refresh is another flow altogether


def test_int_3_the_joint_midpoint_rule_has_order_two_for_the_joint_flow() -> None:
    generator, theta, tracked = plane()
    flow, y0 = generator.joint(10.0), {"theta": theta, "critic": generator.critic(theta)}
    exact = fine(flow, y0, HORIZON, 40)
    found = orders(lambda n: gap(end(flow, y0, HORIZON, MIDPOINT, n), exact), (20, 40))
    assert found[-1] == pytest.approx(2.0, abs=0.1)
    assert gap(exact["theta"], tracked) > 1e-2  # the lag, which no step size removes


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_param_8_k_steps_per_critic_have_order_one_and_a_constant_that_grows_with_k(k: int) -> None:
    generator, theta, exact = plane()
    steps = (32, 64)
    errors = {n: gap(refreshed(generator, theta, EULER, n, k), exact) for n in steps}
    assert orders(lambda n: errors[n], steps)[-1] == pytest.approx(1.0, abs=0.1)
    if k > 1:
        fewer = gap(refreshed(generator, theta, EULER, 64, k // 2), exact)
        assert 1.5 < errors[64] / fewer < 3.0


@pytest.mark.parametrize("k", [2, 4, 8])
def test_param_8_one_refresh_deviates_as_predicted(k: int) -> None:
    generator, theta, _ = plane()
    eta = 1e-4

    def second_slot(y: Theta) -> Theta:
        """F with the generator where it is and the critic optimal for y."""
        return generator.velocity(theta, generator.critic(y))

    tracked = end(generator.tracking, theta, k * eta, EULER, k)
    frozen = end(generator.frozen(generator.critic(theta)), theta, k * eta, EULER, k)
    slopes, v = jacrev(second_slot)(theta), generator.tracking(0.0, theta)
    for name in theta:
        along_m = torch.tensordot(slopes[name]["m"], v["m"], 1)
        change = along_m + torch.tensordot(slopes[name]["A"], v["A"], 2)
        predicted = 0.5 * eta**2 * k * (k - 1) * change
        torch.testing.assert_close(tracked[name] - frozen[name], predicted, rtol=1e-2, atol=1e-12)


@given(floats(-2.0, 2.0), floats(0.05, 0.9), st.integers(1, 6))
def test_param_8_in_the_mean_family_k_frozen_steps_are_one_long_step(m: float, eta: float, k: int) -> None:
    generator, theta = line(1.0, m=m, A=1.0)
    short = end(generator.frozen(generator.critic(theta)), theta, k * eta, EULER, k)
    assert gap(short, end(generator.tracking, theta, k * eta, EULER, 1)) < 1e-13


def test_param_9_the_error_of_a_lagging_critic_halves_as_its_rate_doubles() -> None:
    generator, theta, tracked = plane()
    y0 = {"theta": theta, "critic": generator.critic(theta)}
    ends = {kappa: fine(generator.joint(kappa), y0, HORIZON, int(kappa)) for kappa in (20.0, 40.0, 80.0)}
    errors = [gap(y["theta"], tracked) for y in ends.values()]
    assert all(1.8 <= a / b <= 2.3 for a, b in pairwise(errors))
    # And the critic is behind by D critic*.F / kappa: what is left over is of second order.
    left = []
    for kappa, y in ends.items():
        v, A = generator.tracking(0.0, y["theta"]), y["theta"]["A"]
        drift = {"m": v["m"], "S": v["A"] @ A.mT + A @ v["A"].mT}
        optimal = generator.critic(y["theta"])
        left.append(gap({x: optimal[x] - drift[x] / kappa for x in drift}, y["critic"]))
    assert all(3.2 <= a / b <= 5.0 for a, b in pairwise(left))


@pytest.mark.parametrize(("h", "grows"), [(0.99e-3, False), (1.01e-3, True)])
def test_int_8_a_narrow_target_is_stiff(h: float, grows: bool) -> None:
    generator, fixed = line(1e-3, m=0.0, A=math.sqrt(1e-3))
    rates = [jacrev(lambda x, n=name: generator.tracking(0.0, {**fixed, n: x})[n])(fixed[name]) for name in fixed]
    assert [float(rate) for rate in rates] == pytest.approx([-1e3, -2e3], rel=1e-10)
    start = {**fixed, "A": fixed["A"] * (1 + 1e-6)}
    moved = end(generator.tracking, start, 50 * h, EULER, 50)
    # Euler multiplies the offset by 1 - 2 h / variance: by -0.98 or -1.02.
    assert gap(moved, fixed) / gap(start, fixed) == pytest.approx(abs(1 - 2e3 * h) ** 50, rel=1e-2)
    assert (gap(moved, fixed) > gap(start, fixed)) is grows


@given(trainings(), st.data(), seeds)
def test_w2_is_the_shift_ignores_rotations_and_is_below_the_coupling_by_noise(
    training: tuple[AffineGenerator, Theta], data: st.DataObject, seed: int
) -> None:
    generator, theta = training
    d = generator.target.dim
    shift, other = data.draw(tensors((d,), -2.0, 2.0)), {"m": theta["m"], "A": data.draw(invertible(d))}
    turned = {"m": theta["m"] + shift, "A": theta["A"] @ torch.linalg.qr(points(d, d, seed)).Q}
    square = float(shift.square().sum())
    assert generator.w2_squared(theta, turned) == pytest.approx(square, rel=1e-9, abs=1e-12)
    coupled = float((theta["A"] - other["A"]).square().sum())
    assert generator.w2_squared(theta, other) <= coupled * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_device_are_those_of_the_parameters(dtype: torch.dtype) -> None:
    def to(y: Theta) -> Theta:
        return {name: x.to(dtype) for name, x in y.items()}

    reference, theta, exact = plane()
    target = Gaussian(reference.target.mu.to(dtype), reference.target.C.to(dtype))
    # A factory without device= would land on "meta" here, and mixing it with theta raises.
    with torch.device("meta"):
        generator, theta = AffineGenerator(target), to(theta)
        critic = generator.critic(theta)
        frozen, moved = generator.frozen(critic), generator.exact(HORIZON, theta)
        results = [generator.tracking(0.0, theta), frozen(0.0, theta), frozen.exact(1.0, theta), moved]
        results += [*generator.joint(2.0)(0.0, {"theta": theta, "critic": critic}).values()]
    assert {(x.dtype, x.device.type) for y in results for x in y.values()} == {(dtype, "cpu")}
    assert gap({name: x.double() for name, x in moved.items()}, exact) < (1e-5 if dtype == torch.float32 else 1e-12)


def test_bad_arguments_are_named() -> None:
    generator, theta, _ = plane()
    critic = generator.critic(theta)
    wrong = [
        ({"m": theta["m"]}, r"theta: expected the blocks m and A, got \['m'\]"),
        ({**theta, "A": theta["A"][:1]}, r"theta.A: expected shape \(d, d\) = \(2, 2\), got \(1, 2\)"),
        ({**theta, "m": torch.zeros(3, dtype=F64)}, "theta.m: expected shape"),
        ({**theta, "A": theta["A"].float()}, "theta.A: must share dtype and device with the target"),
    ]
    for bad, message in wrong:
        with untyped(), pytest.raises(ValueError, match=message):
            generator.tracking(0.0, bad)
        with untyped(), pytest.raises(ValueError, match=message):
            generator.velocity(bad, critic)
    with untyped(), pytest.raises(ValueError, match="critic: expected the blocks m and S"):
        generator.velocity(theta, theta)
    with untyped(), pytest.raises(ValueError, match="critic.S: must be positive definite"):
        generator.frozen({**critic, "S": -critic["S"]})
    for kappa in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="kappa: must be positive and finite"):
            generator.joint(kappa)
    for t in (-1e-3, math.inf, math.nan):
        with pytest.raises(ValueError, match="t: must be finite and not negative"):
            generator.exact(t, theta)
    with pytest.raises(ValueError, match=r"theta: A A\^T: must be positive definite"):
        generator.exact(1.0, {**theta, "A": torch.ones(2, 2, dtype=F64)})
