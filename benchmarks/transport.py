"""Exact W2 against its peers: certified and uncertified solves, polish, and warm start along a flow.

``python -m benchmarks.transport [--n 4000] [--repeats 3] [--only NAME ...] [--dims D ...]``. Every row is a ratio of
CPU seconds of one thread, measured side by side in one run: the rivals take turns, and the median
over the repeats counts. All times include the cost matrix, which each rival builds by the same function.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

from gflow.transport import ExactW2, Solver, TransportPlan
from gflow.transport.cost import cost_matrix
from gflow.transport.solvers import installed

Cloud = torch.Tensor
Rival = Callable[[Cloud, Cloud], float]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    seconds: float
    against: str
    ratio: float
    goal: str
    met: bool
    note: str = ""

    def __str__(self) -> str:
        mark = "ok" if self.met else "MISSED"
        measured = f"{self.name:<34}{self.seconds:>8.3f} s {self.ratio:>7.2f}x of {self.against:<22}"
        return f"{measured} {self.goal:<22} {mark:<7} {self.note}"


def clouds(n: int, d: int, seed: int = 0) -> tuple[Cloud, Cloud]:
    """Overlapping Gaussian clouds: N(0, I) and N(1/sqrt(d), 2.25 I)."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return x, 1.5 * y + d**-0.5


def emd2(x: Cloud, y: Cloud) -> float:
    """POT to optimality."""
    import ot

    return float(ot.emd2([], [], cost_matrix(x.numpy(), y.numpy(), root=False), numItermax=10**9))


def lapx(x: Cloud, y: Cloud) -> float:
    """Package lapx, float32 kernel (its default)."""
    import lap

    return float(lap.lapjvs(cost_matrix(x.numpy(), y.numpy(), root=False))[0]) / len(x)


def scipy_assignment(x: Cloud, y: Cloud) -> float:
    """scipy.optimize.linear_sum_assignment."""
    cost = cost_matrix(x.numpy(), y.numpy(), root=False)
    return float(cost[linear_sum_assignment(cost)].mean())


def interleaved(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each task; the tasks take turns."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def certified(n: int, repeats: int, d: int) -> Iterator[Row]:
    """The certified solve against the solver alone, and what polish adds."""
    x, y = clouds(n, d)
    rival, name = (emd2, "ot.emd2") if d <= 6 else (lapx, "lapx lapjvs")
    plans: dict[str, TransportPlan] = {}
    tasks: dict[str, Callable[[], object]] = {
        "rival": lambda: rival(x, y),
        "ours": lambda: plans.update(ours=ExactW2().solve(x, y)),
        "polish": lambda: plans.update(polish=ExactW2(polish=True).solve(x, y)),
    }
    if d <= 6:
        del tasks["polish"]
    seconds = interleaved(tasks, repeats)
    limit, gap = (1.1, 1e-9) if d <= 6 else (1.8, 2e-8)
    ratio = seconds["ours"] / seconds["rival"]
    met = ratio <= limit and plans["ours"].gap <= gap
    goal = f"<= {limit}x, gap <= {gap:.0e}"
    yield Row(f"certified, d = {d}", seconds["ours"], name, ratio, goal, met, f"gap {plans['ours'].gap:.1e}")
    if d > 6:
        ratio, gap = seconds["polish"] / seconds["rival"], plans["polish"].gap
        note = f"gap {gap:.1e}, {seconds['polish'] - seconds['ours']:+.3f} s"
        yield Row(f"polished, d = {d}", seconds["polish"], name, ratio, "gap <= 1e-09", gap <= 1e-9, note)


def uncertified(n: int, repeats: int, d: int) -> Iterator[Row]:
    """Without a certificate, against the fastest peer."""
    x, y = clouds(n, d)
    rivals: dict[str, Rival] = {"ot.emd2": emd2}
    if d > 2:  # in the plane the assignment solvers take minutes
        rivals |= {"scipy": scipy_assignment, "lapx lapjvs": lapx}
    tasks: dict[str, Callable[[], object]] = {"ours": lambda: ExactW2(certify=False)(x, y)}
    tasks |= {name: lambda rival=rival: rival(x, y) for name, rival in rivals.items()}  # type: ignore[misc]
    seconds = interleaved(tasks, repeats)
    fastest = min(rivals, key=seconds.__getitem__)
    ratio = seconds["ours"] / seconds[fastest]
    others = ", ".join(f"{name} {seconds[name]:.2f} s" for name in rivals)
    yield Row(f"uncertified, d = {d}", seconds["ours"], f"{fastest} (fastest)", ratio, "<= 1.1x", ratio <= 1.1, others)


def warm(n: int, repeats: int, d: int, step: float, snapshots: int = 20) -> Iterator[Row]:
    """A flow of particles towards the second cloud, each snapshot solved from the last and from scratch."""
    x, y = clouds(n, d)
    target = torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1.5 + d**-0.5
    flow = [x + step * k * (target - x) for k in range(snapshots)]
    values: dict[str, list[float]] = {}
    estimator = ExactW2()
    seconds = interleaved(
        {
            "cold": lambda: values.update(cold=[estimator(z, y).mean for z in flow]),
            "warm": lambda: values.update(warm=[e.mean for e in estimator.along_flow(flow, y)]),
        },
        repeats,
    )
    worst = max(abs(a / b - 1) for a, b in zip(values["warm"], values["cold"], strict=True))
    gain = seconds["cold"] / seconds["warm"]
    name = f"{snapshots} snapshots, d = {d}, step {step:g}"
    note = f"{gain:.1f}x faster, values to {worst:.0e}"
    met = gain >= 1.7 and worst <= 1e-8
    yield Row(name, seconds["warm"], "from scratch", 1 / gain, ">= 1.7x faster", met, note)


def parts(n: int, repeats: int, dims: Sequence[int]) -> dict[str, Callable[[], Iterator[Row]]]:
    """Every part by name; a flow takes 20 solves, so it runs once."""
    return {
        "certified": lambda: (row for d in dims for row in certified(n, repeats, d)),
        "uncertified": lambda: (row for d in dims for row in uncertified(n, repeats, d)),
        "warm": lambda: (row for d in dims for s in (1e-3, 1e-2) for row in warm(n, 1, d, s)),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=4000, help="points per cloud")
    parser.add_argument("--repeats", type=int, default=3, help="turns per rival; the median counts")
    parser.add_argument("--only", nargs="*", choices=list(parts(2, 1, ())), help="parts to run")
    parser.add_argument("--dims", type=int, nargs="*", default=[2, 6, 16, 64], help="dimensions")
    options = parser.parse_args()
    torch.set_num_threads(1)
    have = {solver.name: installed(solver) for solver in Solver}
    print(f"n = {options.n}, median of {options.repeats}, numpy {np.__version__}, installed {have}")
    emd2(*clouds(50, 2))  # imports
    # NumPy's threads wait for each other by spinning: beside other work that is most of the CPU time counted.
    with threadpool_limits(1):
        for name, part in parts(options.n, options.repeats, options.dims).items():
            if not options.only or name in options.only:
                for row in part():
                    print(row, flush=True)


if __name__ == "__main__":
    main()
