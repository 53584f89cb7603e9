"""Work-precision: who is measured, in which turn, what beats what, and the file."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.ode import (
    DOPRI5,
    HEUN,
    RK4,
    ExplicitRK,
    PIController,
    Seconds,
    Work,
    WorkPoint,
    WorkPrecision,
    fixed_steps,
    solve_ivp,
    tolerances,
    work_precision,
)
from tests.ode.problems import Counted, limit_cycle, limit_cycle_exact, start
from tests.strategies import build, floats, untyped

T0, T1 = 0.3, 1.5
EXACT = limit_cycle_exact(start(), T0, T1)


def distance(y):
    return (y - EXACT).norm().item()


def zero(y):
    return 0.0


def solved(n):
    """An entry's answer: a state, and n evaluations."""
    return torch.zeros(2), n


def test_errors_and_evaluations_are_those_of_the_solver():
    entries = {
        "heun": fixed_steps(limit_cycle, start(), T0, T1, ExplicitRK(HEUN)),
        "dopri5": tolerances(limit_cycle, start(), T0, T1, ExplicitRK(DOPRI5)),
    }
    found = work_precision(entries, {"heun": [10, 20], "dopri5": [1e-4, 1e-7]}, error=distance, repeats=1)
    assert [(p.entry, p.setting) for p in found.points] == [
        ("heun", 10),
        ("heun", 20),
        ("dopri5", 1e-4),
        ("dopri5", 1e-7),
    ]
    assert [p.evaluations for p in found.of("heun")] == [20, 40]
    assert 3.5 < found.points[0].error / found.points[1].error < 4.5
    field = Counted(limit_cycle)
    controller = PIController(rtol=1e-7, atol=1e-7)
    end = solve_ivp(field, start(), T0, T1, method=ExplicitRK(DOPRI5), controller=controller).y1
    assert found.points[3].error == distance(end)
    assert found.points[3].evaluations == len(field.times)


def test_rivals_take_turns_and_the_first_solve_of_each_is_not_timed(monkeypatch):
    calls, clock = [], iter(range(10_000))

    def entry(name, seconds):
        def run(setting):
            calls.append((name, setting))
            first = calls.count((name, setting)) == 1
            for _ in range(1000 if first else seconds * int(setting)):
                next(clock)
            return solved(int(setting))

        return run

    # Reading the clock is one tick too.
    monkeypatch.setattr("gflow.ode.work.time.perf_counter", lambda: float(next(clock)))
    found = work_precision({"a": entry("a", 1), "b": entry("b", 3)}, [1.0, 2.0], error=zero, repeats=2)
    assert calls == 3 * [("a", 1.0), ("b", 1.0), ("a", 2.0), ("b", 2.0)]
    assert [p.seconds.median for p in found.points] == [2.0, 3.0, 4.0, 7.0]
    assert found.repeats == 2


def test_seconds_are_the_quartiles_of_the_repeats(monkeypatch):
    durations = iter([99.0, 5.0, 1.0, 4.0, 2.0, 3.0])
    now = [0.0]

    def run(setting):
        now[0] += next(durations)
        return solved(1)

    monkeypatch.setattr("gflow.ode.work.time.perf_counter", lambda: now[0])
    found = work_precision({"a": run}, [1.0], error=zero, repeats=5)
    assert found.points[0].seconds == Seconds(2.0, 3.0, 4.0)
    assert found.points[0].work(Work.SECONDS) == 3.0
    assert found.points[0].work(Work.EVALUATIONS) == 1.0


def blow_up(t, y):
    return y**2


def asserts(setting):
    assert setting > 10, "underflow in dt"
    return solved(1)


def asserts_later():
    calls = []

    def run(setting):
        calls.append(setting)
        assert len(calls) < 3, "worn out"
        return solved(1)

    return run


def overflows(setting):
    return torch.full((3,), math.inf), 5


def test_a_failed_solve_is_a_point_with_its_message():
    entries = {
        "blow-up": fixed_steps(blow_up, torch.tensor([1e3], dtype=torch.float64), 0.0, 10.0, ExplicitRK(RK4)),
        "asserts": asserts,
        "worn": asserts_later(),
        "overflows": overflows,
        "good": lambda setting: solved(7),
    }
    found = work_precision(entries, [4.0], error=zero, repeats=3)
    failures = {p.entry: p.failure for p in found.points}
    assert "SolveError: the state became NaN or infinite" in failures["blow-up"]
    assert failures["asserts"].startswith("AssertionError: underflow in dt")
    assert failures["worn"].startswith("AssertionError: worn out")
    assert "3 of 3 rows" in failures["overflows"]
    assert failures["good"] == ""
    failed = found.of("overflows")[0]
    assert failed.error is failed.evaluations is failed.seconds is None
    assert failed.work(Work.EVALUATIONS) == math.inf
    assert [p.entry for p in found.pareto(Work.EVALUATIONS)] == ["good"]


def test_an_error_that_is_no_number_is_a_failure_and_a_negative_one_an_argument():
    found = work_precision({"a": lambda s: solved(1)}, [1.0], error=lambda y: math.nan, repeats=1)
    assert found.points[0].failure == "the error is nan"
    with pytest.raises(ValueError, match=r"error must not be negative, got -1.0 for a"):
        work_precision({"a": lambda s: solved(1)}, [1.0], error=lambda y: -1.0, repeats=1)


def test_other_errors_of_an_entry_are_not_swallowed():
    with pytest.raises(ValueError, match="whole number of at least 1, got 2.5"):
        work_precision(
            {"heun": fixed_steps(limit_cycle, start(), T0, T1, ExplicitRK(HEUN))}, [2.5], error=distance, repeats=1
        )
    with pytest.raises(KeyError):
        work_precision({"a": lambda s: {}["typo"]}, [1.0], error=zero, repeats=1)


@st.composite
def points(draw, entry):
    """A point of few distinct values, so that ties occur, or a failure."""
    setting = draw(st.sampled_from([1e-3, 10.0]))
    if draw(st.integers(0, 5)) == 0:
        return build(lambda: WorkPoint(entry, setting, None, None, None, "SolveError: no"))
    error = draw(st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 1.0]))
    evaluations = draw(st.integers(1, 6))
    q1, median, q3 = sorted(draw(floats(0.1, 2.0)) for _ in range(3))
    return build(lambda: WorkPoint(entry, setting, error, evaluations, Seconds(q1, median, q3)))


@st.composite
def diagrams(draw):
    count = st.integers(1, 8)
    drawn = [draw(points(name)) for name in ("a", "b") for _ in range(draw(count))]
    return build(lambda: WorkPrecision(tuple(drawn), 3))


def beats(p, q, by):
    no_worse = p.error <= q.error and p.work(by) <= q.work(by)
    return no_worse and (p.error < q.error or p.work(by) < q.work(by))


@given(diagram=diagrams(), by=st.sampled_from(list(Work)))
def test_pareto_front_is_what_no_other_point_beats(diagram, by):
    solved_points = [p for p in diagram.points if not p.failure]
    front = diagram.pareto(by)
    brute = [p for p in solved_points if not any(beats(q, p, by) for q in solved_points)]
    assert sorted(map(repr, front)) == sorted(map(repr, brute))
    works = [p.work(by) for p in front]
    assert works == sorted(works)


def curve(pairs):
    return tuple(WorkPoint("a", float(n), error, n, Seconds(n / 10, n / 10, n / 10)) for n, error in pairs)


@given(order=floats(0.5, 6.0), constant=floats(0.1, 10.0), share=floats(0.0, 1.0), by=st.sampled_from(list(Work)))
def test_cost_at_is_exact_where_the_error_is_a_power_of_the_work(order, constant, share, by):
    measured = WorkPrecision(curve((n, constant * float(n) ** -order) for n in (10, 20, 80, 160)), 1)
    work = 10 * 16**share
    expected = work if by is Work.EVALUATIONS else work / 10
    # The ends are enclosed up to round-off only.
    error = min(max(constant * work**-order, measured.points[-1].error), measured.points[0].error)
    assert measured.cost_at(error, entry="a", by=by) == pytest.approx(expected, rel=1e-9)


def test_cost_at_goes_along_the_front_and_says_nothing_beyond_it():
    # The second point is beaten by the first, the fourth failed.
    worse, failed = curve([(20, 5e-1)]), WorkPoint("a", 40.0, None, None, None, "no")
    measured = WorkPrecision((*curve([(10, 1e-1)]), *worse, failed, *curve([(1000, 1e-3), (2000, 0.0)])), 1)
    assert measured.cost_at(1e-2, entry="a", by=Work.EVALUATIONS) == pytest.approx(100.0)
    assert measured.cost_at(1e-1, entry="a", by=Work.EVALUATIONS) == 10
    assert measured.cost_at(1e-4, entry="a", by=Work.EVALUATIONS) == 2000  # where the error is known to be reached
    assert measured.cost_at(0.2, entry="a", by=Work.EVALUATIONS) is None
    short = replace(measured, points=measured.points[:-1])
    assert short.cost_at(1e-4, entry="a", by=Work.EVALUATIONS) is None
    with pytest.raises(ValueError, match=r"one of the entries \['a'\], got 'b'"):
        measured.cost_at(1e-2, entry="b", by=Work.SECONDS)
    with pytest.raises(ValueError, match="error must be positive and finite, got 0"):
        measured.cost_at(0.0, entry="a", by=Work.SECONDS)


@given(diagram=diagrams())
def test_saved_and_loaded_is_the_same_value(tmp_path_factory, diagram):
    path = tmp_path_factory.mktemp("wp") / "wp.json"
    diagram.save(path)
    assert WorkPrecision.load(path) == diagram
    diagram.save(str(path))
    assert WorkPrecision.load(str(path)) == diagram
    assert [p.name for p in path.parent.iterdir()] == ["wp.json"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "wp.json"
    old = WorkPrecision(curve([(10, 1e-1)]), 1)
    old.save(path)

    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr("gflow.ode.work_points.Path.replace", full)
    with pytest.raises(OSError, match="no space left"):
        WorkPrecision(curve([(20, 1e-2)]), 1).save(path)
    assert WorkPrecision.load(path) == old
    assert [p.name for p in tmp_path.iterdir()] == ["wp.json"]


def corrupted(change):
    content = {
        "format": "gflow work-precision 1",
        "points": [
            {
                "entry": "a",
                "setting": 10.0,
                "error": 0.1,
                "evaluations": 20,
                "seconds": {"q1": 1.0, "median": 2.0, "q3": 3.0},
                "failure": "",
            }
        ],
        "repeats": 5,
    }
    change(content)
    return content


CORRUPTIONS = {
    "expected the format": lambda c: c.update(format="gflow work-precision 2"),
    "the file needs the fields": lambda c: c.pop("repeats"),
    "point 0 needs the fields": lambda c: c["points"][0].update(extra=1),
    "evaluations of point 0 must be int or NoneType, got 20.5": lambda c: c["points"][0].update(evaluations=20.5),
    "error of point 0 must be": lambda c: c["points"][0].update(error="0.1"),
    "evaluations of point 0 must be int or NoneType, got True": lambda c: c["points"][0].update(evaluations=True),
    "needs error, evaluations and seconds, or a failure": lambda c: c["points"][0].update(error=None),
    "finite error and evaluations >= 0": lambda c: c["points"][0].update(error=-1.0),
    "finite error and evaluations >= 0, got nan": lambda c: c["points"][0].update(error=math.nan),
    "the setting must be finite": lambda c: c["points"][0].update(setting=math.inf),
    "seconds of point 0 needs the fields": lambda c: c["points"][0].update(seconds={"median": 2.0}),
    "0 <= q1 <= median <= q3": lambda c: c["points"][0]["seconds"].update(q1=9.0),
    "repeats must be at least 1": lambda c: c.update(repeats=0),
    "points of the file must be list": lambda c: c.update(points={}),
}


def test_the_sound_file_behind_the_corrupted_ones_loads(tmp_path):
    path = tmp_path / "wp.json"
    path.write_text(json.dumps(corrupted(lambda content: None)))
    assert WorkPrecision.load(path).points[0].seconds.median == 2.0


@pytest.mark.parametrize("message", CORRUPTIONS)
def test_a_corrupted_file_is_refused_with_its_name_and_what_is_wrong(tmp_path, message):
    path = tmp_path / "wp.json"
    path.write_text(json.dumps(corrupted(CORRUPTIONS[message])))
    with pytest.raises(ValueError, match="wp.json is no saved work-precision") as caught, untyped():
        WorkPrecision.load(path)
    assert message in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "wp.json"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="wp.json is no saved work-precision"):
        WorkPrecision.load(path)
    with pytest.raises(FileNotFoundError):
        WorkPrecision.load(tmp_path / "none.json")


@given(cut=st.integers(0, 100))
def test_a_torn_file_is_refused(tmp_path_factory, cut):
    text = json.dumps(corrupted(lambda content: None))
    path = tmp_path_factory.mktemp("wp") / "wp.json"
    path.write_text(text[: len(text) * cut // 101])
    with pytest.raises(ValueError, match="wp.json is no saved work-precision"):
        WorkPrecision.load(path)


BAD = {
    "repeats must be at least 1, got 0": {"repeats": 0},
    "needs an entry and a setting for each": {"entries": {}},
    "needs an entry and a setting for each, got {'a': []}": {"settings": []},
    "settings must be finite, got nan": {"settings": [1.0, math.nan]},
    "needs settings for the entries ['a'], got them for ['b']": {"settings": {"b": [1.0]}},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message):
    good = {"entries": {"a": lambda s: solved(1)}, "settings": [1.0], "error": zero, "repeats": 1}
    arguments = {**good, **BAD[message]}
    with pytest.raises(ValueError, match="work_precision") as caught:
        work_precision(arguments.pop("entries"), arguments.pop("settings"), **arguments)
    assert message in str(caught.value)


def test_states_of_nested_tensors_are_measured_too():
    y0 = {"w": torch.ones(2, dtype=torch.float64)}
    entry = fixed_steps(lambda t, y: {"w": -y["w"]}, y0, 0.0, 1.0, ExplicitRK(RK4))
    found = work_precision({"rk4": entry}, [8], error=lambda y: abs(y["w"][0].item() - math.exp(-1)), repeats=1)
    assert found.points[0].evaluations == 32
    assert 0 < found.points[0].error < 1e-5
