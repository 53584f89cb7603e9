"""Memory of one velocity of 10^5 particles against 10^4 data points, kernel and Sinkhorn flows: at most 2 GiB.

``python -m benchmarks.particle_memory [--particles 100000] [--data 10000] [--dim 2] [--only NAME ...]``. Float32,
one thread; every flow in a process of its own, whose peak resident memory is compared with that before the call.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

import torch

from gflow.fields.particles import (
    DriftingFlow,
    GaussianKernel,
    KernelDensityFlow,
    MMDFlow,
    SinkhornFlow,
    SteinFlow,
)
from gflow.transport import Sinkhorn
from gflow.velocity import VelocityField

Cloud = torch.Tensor
LIMIT = 2.0
"""GiB that a velocity may add."""
KERNEL = GaussianKernel(0.5)
FLOWS = {
    "MMD": lambda x: MMDFlow(x, KERNEL),
    "drifting": lambda x: DriftingFlow(x, KERNEL),
    "kernel density": lambda x: KernelDensityFlow(x, 0.5),
    "SVGD": lambda x: SteinFlow(lambda y: x.mean(0) - y, KERNEL),
    # A large eps needs few iterations; memory is that of any eps. The self term is between two halves.
    "Sinkhorn": lambda x: SinkhornFlow(x, Sinkhorn(8.0, 1e-3), two_batches=True),
}


def resident() -> float:
    """Peak resident memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(name: str, particles: int, data: int, dim: int) -> str:
    """One line of the table: what one velocity adds to the peak, and its time."""
    generator = torch.Generator().manual_seed(0)
    y, x = (torch.randn(n, dim, generator=generator) for n in (particles, data))
    flow: VelocityField[Cloud] = FLOWS[name](x + 1.0)
    flow(0.0, y[:100])  # what libraries load at their first use
    before, start = resident(), time.perf_counter()
    flow(0.0, y)
    spent, added = time.perf_counter() - start, resident() - before
    return f"{name:<16}{added:>8.2f} GiB {spent:>8.1f} s  {'ok' if added <= LIMIT else 'MISSED'}"


def main() -> None:
    """Print the table, each flow measured in a fresh process."""
    parser = argparse.ArgumentParser(description="peak memory of particle velocities")
    parser.add_argument("--particles", type=int, default=100_000)
    parser.add_argument("--data", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=FLOWS, default=list(FLOWS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if len(options.only) == 1:
        print(measure(options.only[0], options.particles, options.data, options.dim), flush=True)
        return
    print(f"{options.particles} particles, {options.data} data points in {options.dim} dimensions, limit {LIMIT} GiB")
    print(f"load {os.getloadavg()}, torch {torch.__version__}", flush=True)
    sizes = [f"--{name}={getattr(options, name)}" for name in ("particles", "data", "dim")]
    for name in options.only:
        subprocess.run([sys.executable, "-m", "benchmarks.particle_memory", *sizes, "--only", name], check=True)


if __name__ == "__main__":
    main()
