"""torchdiffeq's fields here, and gflow's fields under torchdiffeq."""

import pytest
import torch
import torchdiffeq
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.ode import (
    DOPRI5,
    RK4,
    ConstantStep,
    ExplicitRK,
    ImplicitMidpoint,
    PIController,
    for_torchdiffeq,
    from_torchdiffeq,
    solve_ivp,
)
from gflow.velocity import VelocityField
from tests.ode.problems import limit_cycle, limit_cycle_exact, start
from tests.strategies import untyped

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")


class Func(torch.nn.Module):
    """A field as torchdiffeq's examples write it: time is a tensor, and is used as one."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.net = torch.nn.Linear(2, 2, bias=False, dtype=dtype)
        torch.nn.init.eye_(self.net.weight)
        self.times = []

    def forward(self, t, y):
        self.times.append(t)
        return torch.tanh(self.net(y)) * t.cos() - y * t.clamp_min(0.5)


def test_a_torchdiffeq_module_runs_here_and_agrees_with_odeint():
    func, times = Func(), torch.tensor([0.2, 1.7], dtype=torch.float64)
    with torch.no_grad():
        theirs = torchdiffeq.odeint(func, start(), times, method="dopri5", rtol=1e-8, atol=1e-8)[-1]
    controller = PIController(rtol=1e-8, atol=1e-8)
    v = from_torchdiffeq(func)
    assert isinstance(v, VelocityField)
    ours = solve_ivp(v, start(), 0.2, 1.7, method=ExplicitRK(DOPRI5), controller=controller).y1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_torchdiffeq_field_gets_a_0_d_float64_time_whatever_the_states_dtype(dtype):
    func = Func(dtype)
    y1 = solve_ivp(
        from_torchdiffeq(func), start().to(dtype), 0.1, 0.4, method=ExplicitRK(RK4), controller=ConstantStep(0.1)
    ).y1
    assert y1.dtype == dtype
    assert all(t.shape == () and t.dtype == torch.float64 and t.device == y1.device for t in func.times)
    assert func.times[0].item() == 0.1  # not rounded to the state's dtype


def test_a_torchdiffeq_field_can_be_differentiated_by_an_implicit_step():
    options = {"method": ImplicitMidpoint(1e-12, 10), "controller": ConstantStep(0.1)}
    ours = solve_ivp(from_torchdiffeq(Func()), start(), 0.0, 0.5, **options).y1
    reference = solve_ivp(
        from_torchdiffeq(Func()), start(), 0.0, 0.5, method=ExplicitRK(RK4), controller=ConstantStep(0.1)
    ).y1
    torch.testing.assert_close(ours, reference, rtol=0, atol=5e-3)


def nested(t, y):
    """The limit cycle, in an order of keys other than the state's."""
    v = limit_cycle(t, torch.cat((y["a"]["b"], y["c"].reshape(1, 2))))
    return {"c": v[2], "a": {"b": v[:2]}}


@settings(max_examples=3)
@given(t0=st.floats(-1.0, 1.0), span=st.floats(0.2, 1.0), backward=st.booleans())
def test_a_nested_state_under_torchdiffeq_agrees_with_solve_ivp_and_with_the_truth(t0, span, backward):
    y0 = {"a": {"b": start()[:2]}, "c": start()[2]}
    t1 = t0 - span if backward else t0 + span
    adapter = for_torchdiffeq(nested, y0)
    times = torch.tensor([t0, (t0 + t1) / 2, t1], dtype=torch.float64)
    theirs = adapter.state(torchdiffeq.odeint(adapter, adapter.y0, times, method="dopri5", rtol=1e-8, atol=1e-8))
    ours = solve_ivp(
        nested, y0, t0, t1, method=ExplicitRK(DOPRI5), controller=PIController(rtol=1e-8, atol=1e-8), dense=True
    )
    assert theirs["a"]["b"].shape == (3, 2, 2)
    assert theirs["c"].shape == (3, 2)
    middle = ours.interpolate((t0 + t1) / 2)
    for k, state in ((0, y0), (1, middle), (2, ours.y1)):
        torch.testing.assert_close(theirs["a"]["b"][k], state["a"]["b"], rtol=0, atol=5e-7)
        torch.testing.assert_close(theirs["c"][k], state["c"], rtol=0, atol=5e-7)
    exact = limit_cycle_exact(start(), t0, t1)
    torch.testing.assert_close(torch.cat((theirs["a"]["b"][2], theirs["c"][2:])), exact, rtol=0, atol=5e-7)


def test_a_field_that_returns_another_structure_is_named_under_torchdiffeq_too():
    adapter = for_torchdiffeq(lambda t, y: y["a"], {"a": start()})
    with pytest.raises(ValueError, match=r"velocity at t = 0: expected the structure \['a'\], got \['a tensor'\]"):
        torchdiffeq.odeint(adapter, adapter.y0, torch.tensor([0.0, 1.0]), method="euler")


def test_what_is_no_state_is_refused():
    with pytest.raises(ValueError, match="y0: needs at least one number"):
        for_torchdiffeq(nested, {})
    with untyped(), pytest.raises(TypeError, match="y0: a must be a tensor or a mapping of states, got list"):
        for_torchdiffeq(nested, {"a": [1.0]})
