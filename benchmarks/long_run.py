"""A million Euler steps on a 2-vector: time that ends exactly, memory that does not grow, seconds.

``python -m benchmarks.long_run [--steps 1000000]``.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

import torch
from torch import Tensor

from gflow.ode import EULER, ConstantStep, ExplicitRK, Solution, solve_ivp
from gflow.velocity import Time

H = 1e-3


def rotate(t: Time, y: Tensor, /) -> Tensor:  # noqa: ARG001
    """The harmonic oscillator."""
    return torch.stack((-y[1], y[0]))


def walk(steps: int) -> Solution[Tensor]:
    """Euler steps whose ends alone are kept."""
    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return solve_ivp(rotate, y0, 0.0, steps * H, method=ExplicitRK(EULER), controller=ConstantStep(H), max_steps=steps)


def resident() -> float:
    """Peak resident memory in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Print what the long run cost beside a short one."""
    parser = argparse.ArgumentParser(description="many Euler steps")
    parser.add_argument("--steps", type=int, default=1_000_000)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    walk(steps // 10)
    before, start = resident(), time.perf_counter()
    solution = walk(steps)
    spent, grown = time.perf_counter() - start, resident() - before
    print(f"load {os.getloadavg()}, torch {torch.__version__}")
    print(f"{solution.stats.accepted} steps in {spent:.1f} s, {1e6 * spent / steps:.1f} microseconds a step")
    print(
        f"error of the end time {solution.ts[-1] - steps * H}; peak memory {grown:+.2f} MiB over a tenth of the steps"
    )


if __name__ == "__main__":
    main()
