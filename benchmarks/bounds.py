"""Cost of the bound ladder: time against the two ODE solves that it needs, and peak memory in high dimension.

``python -m benchmarks.bounds [--repeats 3] [--only NAME ...]``. Ratios of CPU seconds of one thread,
measured side by side in one run; the median over the repeats counts. Memory is the growth of the
peak resident set of a fresh process that only makes the ladder.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gflow.bounds import ladder, variation_bound
from gflow.fields import ProbabilityFlow, reverse
from gflow.ode import DOPRI5, ExplicitRK, PIController, solve_ivp
from gflow.problems import VP, GaussianMixture, NoisedScore
from gflow.velocity import Time, VelocityField

Field = VelocityField[Tensor]
STOP = 0.999
TOL = 1e-9


def mixtures(moved: float = 0.05) -> tuple[Field, Field, Tensor]:
    """Two four-mode flows with closed Jacobians and 1000 noised points in d = 2."""
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    means = torch.tensor([[0.5, 0.5], [0.5, -0.5], [-0.5, 0.5], [-0.5, -0.5]], dtype=torch.float64)
    path = VP(0.1, 20.0)
    laws = [GaussianMixture(weights, m, torch.full_like(weights, 0.01)) for m in (means, means + moved)]
    f, g = (reverse(ProbabilityFlow(path, NoisedScore(law, path)), 1.0) for law in laws)
    return f, g, laws[0].at(path, 1.0).sample(1000, torch.Generator().manual_seed(0))


class Network:
    """A tanh network of (s, x) with fixed weights: no closed Jacobian."""

    def __init__(self, d: int, hidden: tuple[int, ...], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        sizes = (d + 1, *hidden, d)
        self.layers = [
            torch.randn(a, b, generator=generator, dtype=torch.float64) / a**0.5
            for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        ]

    def __call__(self, s: Time, x: Tensor) -> Tensor:
        """The velocity."""
        z = torch.cat((x, torch.as_tensor(s, dtype=x.dtype).expand(len(x), 1)), 1)
        for w in self.layers[:-1]:
            z = torch.tanh(z @ w)
        return z @ self.layers[-1]


def networks(n: int, d: int, hidden: tuple[int, ...]) -> tuple[Field, Field, Tensor]:
    """Two networks and n normal points."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Network(d, hidden, 2), Network(d, hidden, 3), x


def solves(f: Field, g: Field, x: Tensor, s1: float, tol: float) -> None:
    """The two ODE solves that any comparison of the flows needs."""
    for v in (f, g):
        solve_ivp(v, x, 0.0, s1, method=ExplicitRK(DOPRI5), controller=PIController(rtol=tol, atol=tol))


def seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def ratio(problem: tuple[Field, Field, Tensor], s1: float, repeats: int, *, tol: float = TOL) -> tuple[float, float]:
    """Seconds of the ladder, and its median ratio to the two solves, taken in turns."""
    f, g, x = problem
    ladder(f, g, x[:8], None, 0.0, s1, tol=1e-4)
    pairs = [
        (seconds(lambda: solves(f, g, x, s1, tol)), seconds(lambda: ladder(f, g, x, None, 0.0, s1, tol=tol)))
        for _ in range(repeats)
    ]
    return statistics.median(b for _, b in pairs), statistics.median(b / a for a, b in pairs)


def closed(repeats: int) -> None:
    """Closed-form Jacobian, d = 2."""
    time_, times = ratio(mixtures(), STOP, repeats)
    report(
        "ladder, closed Jacobian, n = 1000, d = 2", f"{time_:.2f} s, {times:.1f}x the two solves", "<= 8x", times <= 8
    )


def network(repeats: int) -> None:
    """A 3 x 64 network, d = 2."""
    time_, times = ratio(networks(1000, 2, (64, 64, 64)), 1.0, repeats)
    report(
        "ladder, 3x64 network, n = 1000, d = 2", f"{time_:.2f} s, {times:.1f}x the two solves", "<= 25x", times <= 25
    )


def memory(_: int) -> None:
    """2000 particles, d = 64, 64-128-128-64 network, in a process of its own."""
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.bounds", "--measure-memory"], capture_output=True, text=True, check=True
    ).stdout
    gib, time_ = map(float, out.split())
    report(
        "ladder, 128x128 network, n = 2000, d = 64", f"{gib:.2f} GiB above baseline, {time_:.0f} s", "< 1 GiB", gib < 1
    )


def variation(repeats: int) -> None:
    """Tangents from 17 nodes, n = 300."""
    f, g, x = mixtures()
    variation_bound(f, g, x[:8], None, 0.0, STOP, nodes=5, tol=1e-3)
    times = statistics.median(
        seconds(lambda: variation_bound(f, g, x[:300], None, 0.0, STOP, nodes=17, tol=1e-6)) for _ in range(repeats)
    )
    report("variation bound, 17 nodes, n = 300, d = 2", f"{times:.2f} s", "< 5 s", times < 5)


def measure_memory() -> None:
    """Print GiB above baseline and CPU seconds of one ladder."""
    f, g, x = networks(2000, 64, (128, 128))
    ladder(f, g, x[:4], None, 0.0, 1.0, tol=1e-2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = seconds(lambda: ladder(f, g, x, None, 0.0, 1.0))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20, spent)


def report(name: str, measured: str, goal: str, met: bool) -> None:
    """One line of the table."""
    print(f"{name:<44}{measured:<34}{goal:<10}{'ok' if met else 'MISSED'}", flush=True)


BENCHMARKS = {"closed": closed, "network": network, "memory": memory, "variation": variation}


def main() -> None:
    """Run the chosen benchmarks."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description="cost of the bound ladder")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--measure-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure_memory:
        measure_memory()
        return
    for name in options.only:
        BENCHMARKS[name](options.repeats)


if __name__ == "__main__":
    main()
