"""Work at equal error of gflow's integrators against torchdiffeq, torchode and diffrax, and the solver's own share.

``python -m benchmarks.integrators [--repeats 5] [--only NAME ...] [--compile]``, in an environment of its own:

    python -m venv peers && peers/bin/python -m pip install -r benchmarks/peers.txt

Every problem is solved in float64, on one core, at several tolerances or numbers of steps by solvers that
take turns; work at equal error is read off their log-log curves. A ratio is gflow's work over the peer's: below 1
gflow is cheaper. Its quartiles are over the repeats, each of which gives every curve anew. diffrax is compiled
with the field, its first run is not counted.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.integrator_peers import by_diffrax, by_torchdiffeq, by_torchode, require
from benchmarks.integrator_problems import PROBLEMS, Problem
from gflow.ode import (
    DOPRI5,
    EULER,
    RK4,
    RK4_38,
    ConstantStep,
    ExplicitRK,
    PIController,
    Work,
    WorkPrecision,
    fixed_steps,
    from_torchdiffeq,
    solve_ivp,
    tolerances,
    work_precision,
)
from gflow.ode.work import Entry
from gflow.state import Layout, State

TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
OURS = "gflow"


def rivals(problem: Problem, *, compiled: bool) -> dict[str, dict[str, Entry]]:
    """Entries by method and name."""
    v, arguments = problem.v, (problem.y0, 0.0, problem.t1)
    dopri5 = {
        OURS: tolerances(v, *arguments, ExplicitRK(DOPRI5)),
        "torchdiffeq": by_torchdiffeq(problem, "dopri5"),
        "torchode": by_torchode(problem),
        "diffrax": by_diffrax(problem, "dopri5"),
    }
    # torchdiffeq's method of this name is the 3/8 rule, and torchode has none of order 4.
    eighths = {OURS: fixed_steps(v, *arguments, ExplicitRK(RK4_38)), "torchdiffeq": by_torchdiffeq(problem, "rk4")}
    rk4 = {OURS: fixed_steps(v, *arguments, ExplicitRK(RK4)), "diffrax": by_diffrax(problem, "rk4")}
    if compiled:
        fused = from_torchdiffeq(torch.compile(problem.v))
        dopri5["gflow, f compiled"] = tolerances(fused, *arguments, ExplicitRK(DOPRI5))
        rk4["gflow, f compiled"] = fixed_steps(fused, *arguments, ExplicitRK(RK4))
    return {"DOPRI5": dopri5, "RK4 3/8": eighths, "RK4": rk4}


def exact(problem: Problem) -> torch.Tensor:
    """The end state, flat, by a solve that is tighter than all others."""
    control = PIController(rtol=1e-12, atol=1e-12)
    y1 = solve_ivp(problem.v, problem.y0, 0.0, problem.t1, method=ExplicitRK(DOPRI5), controller=control).y1
    return Layout.of(problem.y0).flatten(y1)


def curves(
    problem: Problem, entries: dict[str, Entry], settings: tuple[float, ...], repeats: int
) -> list[WorkPrecision]:
    """A diagram for each repeat."""
    layout, truth = Layout.of(problem.y0), exact(problem)

    def error(y: State) -> float:
        return float((layout.flatten(y) - truth).square().mean().sqrt())

    return [work_precision(entries, settings, error=error, repeats=1) for _ in range(repeats)]


def seconds_at(diagram: WorkPrecision, name: str, level: float) -> float:
    """Seconds at the level, between the two points of the entry's front in evaluations that enclose it.

    A front in seconds would lose points to the noise of the clock. NaN where none enclose the level.
    """
    front = WorkPrecision(diagram.of(name), diagram.repeats).pareto(Work.EVALUATIONS)
    for above, below in zip(front, front[1:], strict=False):
        if above.error and below.error and above.error >= level >= below.error:
            part = math.log(above.error / level) / math.log(above.error / below.error)
            return above.work(Work.SECONDS) ** (1 - part) * below.work(Work.SECONDS) ** part
    return math.nan


def compare(problem: Problem, method: str, entries: dict[str, Entry], repeats: int) -> None:
    """A line of the table for each peer, and for gflow with its field compiled."""
    settings = TOLERANCES if method == "DOPRI5" else tuple(map(float, problem.steps))
    found = curves(problem, entries, settings, repeats)
    spent = {name: found[0].cost_at(problem.level, entry=name, by=Work.EVALUATIONS) or math.nan for name in entries}
    times = {name: [seconds_at(d, name, problem.level) for d in found] for name in entries}
    for name in list(entries)[1:]:
        ratios = [a / b for a, b in zip(times[OURS], times[name], strict=True)]
        q1, median, q3 = statistics.quantiles(ratios, n=4, method="inclusive") if repeats > 1 else 3 * ratios
        print(
            f"| {problem.name} | {method} | {name} | {spent[OURS]:.0f} / {spent[name]:.0f} = "
            f"{spent[OURS] / spent[name]:.2f} | {1e3 * statistics.median(times[OURS]):.1f} / "
            f"{1e3 * statistics.median(times[name]):.1f} | {median:.2f} ({q1:.2f} to {q3:.2f}) |",
            flush=True,
        )


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of this thread in one call, which other processes disturb less than wall time."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def overhead(problem: Problem, repeats: int) -> None:
    """What a solver spends beside the field, in microseconds an evaluation: solve - evaluations x field."""
    v, y = problem.v, problem.y0
    control = PIController(rtol=1e-6, atol=1e-6)
    solvers = {
        "gflow DOPRI5": lambda: solve_ivp(v, y, 0.0, problem.t1, method=ExplicitRK(DOPRI5), controller=control),
        "gflow RK4": lambda: solve_ivp(v, y, 0.0, problem.t1, method=ExplicitRK(RK4), controller=ConstantStep(0.02)),
        "gflow Euler": lambda: solve_ivp(
            v, y, 0.0, problem.t1, method=ExplicitRK(EULER), controller=ConstantStep(0.01)
        ),
    }
    spent: dict[str, int] = {name: solver().stats.evaluations for name, solver in solvers.items()}
    tasks: dict[str, Callable[[], object]] = dict(solvers)
    for name, setting in (("dopri5", 1e-6), ("rk4", problem.t1 / 0.02)):
        peer = by_torchdiffeq(problem, name)
        spent[f"torchdiffeq {name}"] = peer(setting)[1]
        tasks[f"torchdiffeq {name}"] = lambda peer=peer, setting=setting: peer(setting)
    times: dict[str, list[float]] = {name: [] for name in (*tasks, "f")}
    with torch.no_grad():
        for _ in range(5 * repeats):
            times["f"].append(seconds(lambda: [v(0.0, y) for _ in range(100)]) / 100)
            for name, task in tasks.items():
                times[name].append(seconds(task) / spent[name])
    field = min(times["f"])
    print(f"f itself {1e6 * field:.1f} microseconds; beside it, least of {5 * repeats}:")
    for name in tasks:
        print(f"  {name:20} {1e6 * (min(times[name]) - field):6.1f} microseconds an evaluation")


def main() -> None:
    """Print versions, the overhead and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="diagrams behind the quartiles")
    parser.add_argument("--only", nargs="*", choices=list(PROBLEMS), default=list(PROBLEMS), help="problems to run")
    parser.add_argument("--compile", action="store_true", help="also gflow with torch.compile of the field")
    options = parser.parse_args()
    # One core for all: XLA has threads of its own, which torch.set_num_threads does not reach.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    versions = {"torch": torch.__version__, **require()}
    print(f"{platform.processor() or platform.machine()}, one core, load {os.getloadavg()}, {versions}")
    if "cheap" in options.only:
        overhead(PROBLEMS["cheap"](), options.repeats)
    print("| problem | method | gflow against | evaluations | ms | time, median (quartiles) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.only:
        problem = PROBLEMS[name]()
        for method, entries in rivals(problem, compiled=options.compile).items():
            compare(problem, method, entries, options.repeats)
    print(f"load {os.getloadavg()}")


if __name__ == "__main__":
    main()
