"""The step rule eps / sqrt(1 + |v|^2): the loop it is taken from, its order, orbits, fixed points and clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev

from gflow.fields import AffineGenerator, TimeChange
from gflow.ode import DOPRI5, EULER, ConstantStep, ExplicitRK, solve_ivp
from gflow.problems import SMOOTH_GAME, BilinearGame, DiracGan, GameFlow, Gaussian
from gflow.velocity import Time
from tests.halving import end, fine, gap, orders
from tests.strategies import F64, points, untyped

Players = dict[str, Tensor]
seeds = st.integers(0, 1000)


def players(n: int, seed: int, scale: float = 1.0) -> Players:
    theta, phi = points(2, n, seed, scale)
    return {"theta": theta, "phi": phi}


def speed(v: Players) -> float:
    return math.hypot(*(float(x.norm()) for x in v.values()))


@dataclass(frozen=True)
class Scaled:
    """A field times a number."""

    field: GameFlow[Tensor]
    factor: float

    def __call__(self, t: Time, y: Players) -> Players:
        return {name: self.factor * x for name, x in self.field(t, y).items()}


@settings(max_examples=10)
@given(st.floats(0.01, 1.0), seeds)
def test_int_6_euler_with_a_constant_step_is_the_rule_as_training_loops_write_it(eps0: float, seed: int) -> None:
    flow, y0 = GameFlow(SMOOTH_GAME), players(2, seed)
    y, elapsed = y0, 0.0
    for _ in range(8):
        v = flow(0.0, y)
        eps = eps0 / math.sqrt(1.0 + speed(v) ** 2)
        y, elapsed = {name: y[name] + eps * v[name] for name in y}, elapsed + eps
    moved = end(TimeChange(flow), TimeChange.start(y0), 8 * eps0, EULER, 8)
    assert gap(moved["y"], y) < 1e-13
    assert float(moved["elapsed"]) == pytest.approx(elapsed, rel=1e-13)


@given(st.floats(0.01, 2.0), st.floats(-3.0, 6.0), seeds)
def test_int_6_no_step_is_as_long_as_eps0(eps0: float, power: float, seed: int) -> None:
    field = TimeChange(Scaled(GameFlow(BilinearGame()), 10.0**power))
    y0 = players(2, seed)
    moved = end(field, TimeChange.start(y0), eps0, EULER, 1)
    step = speed({name: moved["y"][name] - y0[name] for name in y0})
    fast = 10.0**power * speed(y0)
    assert step < eps0
    assert step == pytest.approx(eps0 * fast / math.hypot(1.0, fast), rel=1e-6)


@pytest.mark.parametrize(("dtype", "huge"), [(torch.float32, 1e30), (torch.float64, 1e200)])
def test_a_velocity_whose_square_overflows_still_takes_a_step_of_eps0(dtype: torch.dtype, huge: float) -> None:
    field = TimeChange(lambda t, y: huge * y)
    moved = field(0.0, TimeChange.start(torch.tensor([3.0, -4.0], dtype=dtype)))
    torch.testing.assert_close(moved["y"], torch.tensor([0.6, -0.8], dtype=dtype))
    for bad in (math.inf, math.nan):
        assert not torch.isfinite(TimeChange(lambda t, y, b=bad: b * y)(0.0, TimeChange.start(y0_line()))["y"]).all()


def y0_line() -> Tensor:
    return torch.ones(2, dtype=F64)


@settings(max_examples=5)
@given(st.floats(0.3, 2.0), seeds)
def test_int_6_orbits_are_those_of_the_field_read_at_the_elapsed_time(clock: float, seed: int) -> None:
    game, y0 = BilinearGame(), players(2, seed)
    moved = end(TimeChange(GameFlow(game)), TimeChange.start(y0), clock, DOPRI5, 20)
    elapsed = float(moved["elapsed"])
    assert gap(moved["y"], game.exact(elapsed, y0)) < 1e-7
    # On the circle |v| is constant, and the flow's own time is not the rule's.
    assert elapsed == pytest.approx(clock / math.sqrt(1.0 + speed(y0) ** 2), rel=1e-7)


def test_int_6_the_rule_has_order_one_for_the_reparametrised_flow_and_none_for_the_flow_at_k_eps0() -> None:
    field, y0 = TimeChange(GameFlow(SMOOTH_GAME)), TimeChange.start(players(2, 0))
    exact = fine(field, y0, 0.5, 20)
    found = orders(lambda n: gap(end(field, y0, 0.5, EULER, n), exact), (10, 20, 40))
    assert found == pytest.approx([1.0] * 2, abs=0.1)
    ends = [end(field, y0, 0.5, EULER, n)["y"] for n in (10, 20, 40)]
    wrong = [gap(y, fine(GameFlow(SMOOTH_GAME), y0["y"], 0.5, 20)) for y in ends]
    assert min(wrong) > 0.1


@given(st.floats(0.0, 2.0))
def test_int_6_the_jacobian_at_a_fixed_point_is_that_of_the_field(gamma: float) -> None:
    flow = GameFlow(DiracGan(torch.sin, gamma))

    def bare(y: Tensor) -> Tensor:
        return torch.cat([*flow(0.0, {"theta": y[:1], "phi": y[1:]}).values()])

    def changed(y: Tensor) -> Tensor:
        return torch.cat([*TimeChange(flow)(0.0, TimeChange.start({"theta": y[:1], "phi": y[1:]}))["y"].values()])

    def clock(y: Tensor) -> Tensor:
        return TimeChange(flow)(0.0, TimeChange.start({"theta": y[:1], "phi": y[1:]}))["elapsed"]

    origin, away = torch.zeros(2, dtype=F64), torch.tensor([1.0, -0.5], dtype=F64)
    torch.testing.assert_close(jacrev(changed)(origin), jacrev(bare)(origin), rtol=0.0, atol=1e-12)
    assert float(clock(origin)) == 1.0
    assert float((jacrev(changed)(away) - jacrev(bare)(away)).abs().max()) > 1e-2


@pytest.mark.parametrize(("eps0", "swing"), [(0.35, 0.0), (0.37, 0.044)])
def test_int_6_the_stability_limit_is_two_over_the_fastest_rate(eps0: float, swing: float) -> None:
    # KL flow to N(0, 0.36): rates -2.778 and -5.556 at the target, so the limit is 0.36.
    generator = AffineGenerator(Gaussian(torch.zeros(1, dtype=F64), torch.full((1, 1), 0.36, dtype=F64)))
    start = TimeChange.start({"m": torch.tensor([0.5], dtype=F64), "A": torch.tensor([[0.5]], dtype=F64)})
    moved = end(TimeChange(generator.tracking), start, 600 * eps0, EULER, 600)
    assert abs(float(moved["y"]["A"]) - 0.6) == pytest.approx(swing, abs=5e-3)
    assert abs(float(moved["y"]["m"])) < 1e-10


def cooling(t: Time, y: Tensor) -> Tensor:
    """``y' = cos(t) y``, so y = exp(sin t - sin t0) y0; takes a 0-d tensor as library fields do."""
    return torch.cos(torch.as_tensor(t, dtype=y.dtype)) * y


@given(st.floats(-2.0, 2.0), st.floats(-1.5, 1.5), seeds)
def test_a_field_that_depends_on_time_is_read_on_its_own_clock(elapsed: float, clock: float, seed: int) -> None:
    y0, changed = points(1, 3, seed)[0], TimeChange(cooling)
    controller = ConstantStep(0.05)
    # The solver's own time starts anywhere and may run backward: the field does not see it.
    moved = solve_ivp(
        changed, changed.start(y0, elapsed), 7.0, 7.0 + clock, method=ExplicitRK(DOPRI5), controller=controller
    ).y1
    now = float(moved["elapsed"])
    exact = math.exp(math.sin(now) - math.sin(elapsed)) * y0
    torch.testing.assert_close(moved["y"], exact, rtol=1e-6, atol=1e-6)
    assert (now - elapsed) * clock >= 0.0


def test_the_clock_has_the_dtype_and_device_of_the_state() -> None:
    y0 = {"a": {"b": torch.ones(2, dtype=torch.float32)}, "c": torch.ones(1, dtype=torch.float32)}
    # A factory without device= would land on "meta" here, and mixing it with y0 raises.
    with torch.device("meta"):
        state = TimeChange.start(y0)
        v = TimeChange(lambda t, y: {"a": {"b": t + y["a"]["b"]}, "c": 2 * y["c"]})(0.0, state)
    assert state["elapsed"].shape == v["elapsed"].shape == ()
    assert {(x.dtype, x.device.type) for x in (state["elapsed"], v["elapsed"], v["y"]["a"]["b"], v["y"]["c"])} == {
        (torch.float32, "cpu")
    }
    # One norm for all blocks: 1 / sqrt(1 + 1 + 1 + 4).
    assert float(v["elapsed"]) == pytest.approx(7**-0.5, rel=1e-6)
    torch.testing.assert_close(v["y"]["c"], torch.full((1,), 2 * 7**-0.5))


def test_a_state_without_its_clock_is_refused() -> None:
    field = TimeChange(lambda t, y: y)
    with untyped(), pytest.raises(ValueError, match=r"state: expected the blocks y and elapsed, got \['y'\]"):
        field(0.0, {"y": torch.ones(1)})
    with pytest.raises(ValueError, match="y0: needs at least one number"):
        TimeChange.start({})
