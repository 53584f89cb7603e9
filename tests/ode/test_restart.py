"""What the loop tells its observers, and that a run goes on from a record to the last bit."""

import math
import pickle
from dataclasses import replace
from io import BytesIO

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.ode import (
    BOSH3,
    DOPRI5,
    EULER,
    HEUN_EULER,
    RK4,
    TSIT5,
    AlternatingEuler,
    BrownianPath,
    Carry,
    ConstantStep,
    EulerMaruyama,
    ExplicitRK,
    ImplicitMidpoint,
    OptimisticEuler,
    PIController,
    Result,
    StepRecord,
    solve_ivp,
)
from gflow.ode.result import Stats
from gflow.state import Layout
from tests.ode.problems import Counted, limit_cycle, start

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")


def nested(t, y):
    """The limit cycle with a kick to and fro that makes adaptive controllers reject steps."""
    kick = 20 * (t - 1)
    v = limit_cycle(t, torch.cat((y["a"], y["b"]["c"]))) + 8 * kick * math.exp(-(kick**2))
    return {"b": {"c": v[1:]}, "a": v[:1]}


def nested_start():
    return {"a": start()[:1], "b": {"c": start()[1:]}}


class Minibatches:
    """Another field at every step."""

    def at_step(self, k):
        def v(t, y):
            slope, factor = nested(t, y), 1 + 0.3 * math.sin(k)
            return {"a": factor * slope["a"], "b": {"c": factor * slope["b"]["c"]}}

        return v


LOOSE = PIController(rtol=3e-3, atol=3e-4)
TIGHT = PIController(rtol=1e-4, atol=1e-5)
CASES = {
    "Euler": (ExplicitRK(EULER), ConstantStep(0.07)),
    "RK4, h that divides": (ExplicitRK(RK4), ConstantStep(0.1)),
    "optimistic": (OptimisticEuler(), ConstantStep(0.07)),
    "alternating": (AlternatingEuler(("b", "a")), ConstantStep(0.07)),
    "Heun-Euler": (ExplicitRK(HEUN_EULER), PIController(rtol=1e-2, atol=3e-3)),
    "BOSH3": (ExplicitRK(BOSH3), LOOSE),
    "DOPRI5": (ExplicitRK(DOPRI5), TIGHT),
    "TSIT5": (ExplicitRK(TSIT5), TIGHT),
    "DOPRI5, constant": (ExplicitRK(DOPRI5), ConstantStep(0.07)),
    "implicit midpoint": (ImplicitMidpoint(1e-10, 10), ConstantStep(0.2)),
    "noise": (EulerMaruyama(lambda t: 0.3, BrownianPath(0.5, 1.5, (6,), levels=4, seed=1)), ConstantStep(1 / 16)),
}


def saved(record):
    """Through torch.save, read back without trusting the file."""
    buffer = BytesIO()
    torch.save(record, buffer)
    buffer.seek(0)
    with torch.serialization.safe_globals([StepRecord, Carry, Stats]):
        return torch.load(buffer, weights_only=True)


def pickled(record):
    return pickle.loads(pickle.dumps(record))


def same(one, two):
    """Equal to the last bit, tensors included."""
    layout = Layout.of(one.y)
    tensors = zip(
        (layout.flatten(one.y), one.carry.slope, one.carry.memory),
        (layout.flatten(two.y), two.carry.slope, two.carry.memory),
        strict=True,
    )
    plain = [(r.k, r.t, r.h, r.memory, r.grid, r.stats) for r in (one, two)]
    return plain[0] == plain[1] and all(
        (x is None and y is None) or (x is not None and y is not None and torch.equal(x, y)) for x, y in tensors
    )


def whole_run(name="DOPRI5", ends=(0.5, 1.5), v=nested, **options):
    """The run of a case, and its records."""
    method, controller = CASES[name]
    seen = []
    solution = solve_ivp(v, nested_start(), *ends, method=method, controller=controller, on_step=seen.append, **options)
    return solution, seen


@pytest.mark.parametrize("name", list(CASES))
@settings(max_examples=3)
@given(
    backward=st.booleans(), stepwise=st.booleans(), part=st.floats(0.0, 1.0), travel=st.sampled_from([pickled, saved])
)
def test_a_run_from_a_record_is_the_uninterrupted_run_bit_for_bit(name, backward, stepwise, part, travel):
    # A Brownian path starts at its t0.
    options = {"ends": (1.5, 0.5) if backward and name != "noise" else (0.5, 1.5), "save_every": 3}
    options["v"] = Minibatches() if stepwise else nested
    whole, seen = whole_run(name, **options)
    record = seen[min(int(part * len(seen)), len(seen) - 1)]
    rest, again = whole_run(name, **options, restart=travel(record))
    assert len(again) == len(seen) - record.k
    assert all(same(one, two) for one, two in zip(again, seen[record.k :], strict=True))
    assert (rest.stats, rest.result) == (whole.stats, Result.SUCCESS)
    # It saves the record's state, then at the steps where the whole run does.
    later = [k for k, t in enumerate(whole.ts) if abs(t - whole.ts[0]) > abs(record.t - whole.ts[0])]
    assert rest.ts == (record.t, *(whole.ts[k] for k in later))
    assert torch.equal(rest.ys["a"][1:], whole.ys["a"][later])
    assert torch.equal(rest.ys["b"]["c"][1:], whole.ys["b"]["c"][later])


def test_the_bit_for_bit_test_meets_what_a_record_must_carry():
    """Rejected steps, controllers with a memory, slopes and memories in the carry, grids that go on for steps."""
    records = {name: whole_run(name)[1][-1] for name in ("BOSH3", "DOPRI5", "optimistic", "Euler")}
    assert records["DOPRI5"].memory not in (1.0, 1e-4)
    assert all(records[name].stats.rejected > 1 for name in ("BOSH3", "DOPRI5"))
    assert records["DOPRI5"].carry.slope is not None
    assert records["optimistic"].carry.memory is not None
    assert records["Euler"].grid == (0.5, 0, 0.07)


def test_a_restarted_run_is_dense_from_the_record_on():
    whole, seen = whole_run(dense=True)
    rest, _ = whole_run(dense=True, restart=seen[2])
    for t in (seen[2].t, 1.1, 1.5):
        assert torch.equal(rest.interpolate(t)["b"]["c"], whole.interpolate(t)["b"]["c"])
        assert torch.equal(rest.defect(t)["a"], whole.defect(t)["a"])
    with pytest.raises(ValueError, match="outside the computed"):
        rest.interpolate(seen[1].t)


def test_the_cap_on_steps_counts_those_before_the_record():
    whole, seen = whole_run(max_steps=5, throw=False)
    rest, _ = whole_run(max_steps=5, throw=False, restart=seen[1])
    assert whole.result is rest.result is Result.MAX_STEPS
    assert (whole.ts[-1], whole.stats) == (rest.ts[-1], rest.stats)


def test_a_record_at_t1_has_nothing_left_to_do():
    whole, seen = whole_run()
    rest, again = whole_run(restart=seen[-1])
    assert again == []
    assert (rest.ts, rest.stats) == ((1.5,), whole.stats)
    assert torch.equal(rest.y1["a"], whole.y1["a"])


def record_of(name, ends):
    return whole_run(name, ends)[1][2]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (lambda: record_of("Euler", (1.5, 0.5)), "restart must be a record of a run from 0.5 to 1.5"),
        (lambda: record_of("DOPRI5", (1.5, 0.5)), "restart must be a record of a run from 0.5 to 1.5"),
        (lambda: record_of("Euler", (0.4, 1.5)), r"grid = \(0.4, 0, 0.07\)"),
        (lambda: replace(record_of("Euler", (0.5, 1.5)), t=1.6), "got t = 1.6"),
        (lambda: replace(record_of("Euler", (0.5, 1.5)), t=math.nan), "got t = nan"),
        (lambda: replace(record_of("Euler", (0.5, 1.5)), k=-1), "k = -1"),
        (lambda: replace(record_of("Euler", (0.5, 1.5)), k=9), "k = 9.*accepted = 3"),
        (lambda: replace(record_of("Euler", (0.5, 1.5)), h=-0.1), "h = -0.1"),
        (
            lambda: replace(record_of("optimistic", (0.5, 1.5)), carry=Carry(memory=torch.ones(5))),
            r"restart.carry.memory must have 6 numbers in torch.float64 on cpu, got \(5,\) in torch.float32",
        ),
        (
            lambda: replace(record_of("DOPRI5", (0.5, 1.5)), carry=Carry(slope=torch.ones(6))),
            "restart.carry.slope must have 6 numbers in torch.float64",
        ),
        (
            lambda: replace(record_of("Euler", (0.5, 1.5)), y={"a": start()}),
            r"restart.y: expected the structure \['a', 'b.c'\], got \['a'\]",
        ),
        (
            lambda: replace(record_of("Euler", (0.5, 1.5)), y={"a": start()[:1], "b": {"c": math.nan * start()[1:]}}),
            "restart.y: needs finite numbers, got non-finite entries in b.c: 2 of 2 rows",
        ),
    ],
    ids=[
        "direction",
        "direction, adaptive",
        "t0",
        "t",
        "nan",
        "k",
        "k of stats",
        "h",
        "memory",
        "slope",
        "y",
        "finite",
    ],
)
def test_a_foreign_record_is_refused(record, message):
    with pytest.raises(ValueError, match=message):
        whole_run("Euler", restart=record())


# What observers see


@pytest.mark.parametrize("name", ["Euler", "BOSH3", "DOPRI5"])
def test_records_are_the_accepted_steps_in_order_and_are_not_written_to_again(name):
    solution, seen = whole_run(name, save_every=1)
    assert [record.k for record in seen] == list(range(1, solution.stats.accepted + 1))
    assert [record.t for record in seen] == list(solution.ts[1:])
    assert all(record.stats.accepted == record.k for record in seen)
    assert seen[-1].stats == solution.stats
    for k, record in enumerate(seen, start=1):
        # Looked at only now, when the run is over.
        assert torch.equal(record.y["a"], solution.ys["a"][k])
        assert torch.equal(record.y["b"]["c"], solution.ys["b"]["c"][k])


def test_a_record_keeps_no_more_than_states_alive():
    for record in whole_run("DOPRI5")[1]:
        for x in (record.y["a"], record.carry.slope):
            assert x.untyped_storage().nbytes() == 6 * 8


# Stopping


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 2.0), (2.0, 0.0)], ids=["forward", "backward"])
@pytest.mark.parametrize("controller", [ConstantStep(0.125), LOOSE], ids=["constant", "PI"])
def test_stop_when_ends_the_run_at_the_first_step_where_it_holds_without_an_error(controller, t0, t1):
    asked = []

    def halved(t, y):
        asked.append((t, y["x"].item()))
        return y["x"] < 0.5

    def decay(t, y):
        return {"x": -math.copysign(1.0, t1 - t0) * y["x"]}

    options = {"method": ExplicitRK(BOSH3), "controller": controller, "save_every": 1, "dense": True}
    y0 = {"x": torch.ones(1, dtype=torch.float64)}
    whole = solve_ivp(decay, y0, t0, t1, **options)
    solution = solve_ivp(decay, y0, t0, t1, stop_when=halved, **options)
    n = next(k for k, x in enumerate(whole.ys["x"]) if x < 0.5)
    assert solution.result is Result.STOPPED
    assert solution.result.ok
    assert f"at t = {whole.ts[n]:.6g}" in solution.detail
    assert solution.ts == whole.ts[: n + 1]
    assert torch.equal(solution.ys["x"], whole.ys["x"][: n + 1])
    # Asked after each accepted step, and not at the start.
    assert asked == [(t, x.item()) for t, x in zip(whole.ts[1 : n + 1], whole.ys["x"][1 : n + 1], strict=True)]
    assert torch.equal(solution.interpolate(solution.ts[-1])["x"], solution.y1["x"])


def test_a_stopped_run_goes_on_from_its_last_record():
    whole, _ = whole_run()
    stopped, seen = whole_run(stop_when=lambda t, y: t > 0.9)
    assert stopped.result is Result.STOPPED
    rest, _ = whole_run(restart=seen[-1])
    assert rest.stats == whole.stats
    assert torch.equal(rest.y1["b"]["c"], whole.y1["b"]["c"])


def test_a_predicate_that_never_holds_changes_nothing_and_costs_no_evaluation():
    field = Counted(nested)
    solution, _ = whole_run(v=field, stop_when=lambda t, y: False)
    assert (solution.result, solution.ts[-1]) == (Result.SUCCESS, 1.5)
    assert solution.stats == whole_run()[0].stats
    assert len(field.times) == solution.stats.evaluations
