"""What an exact solve will cost in memory and time, known before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from gflow.transport.plan import Solver

DEFAULT_MEMORY_LIMIT = 4 * 2**30
"""Bytes; 4 GiB admits about 10,000 points by network simplex and 18,000 by assignment."""

# Bytes per entry of the cost matrix, peak, matrix included: the simplex keeps costs, flows and the
# plan per arc; the assignment solvers copy the matrix to float32. Measured at n = 2000 to 10,000.
_BYTES_PER_ENTRY = {Solver.EMD: 41, Solver.LAPJV: 13, Solver.LAPX: 13}
# Seconds at sqrt(n m) = 1000 and exponent, by dimension from which they hold; overlapping Gaussian
# clouds on one 2.6 GHz Zen 4 core. Clouds of low intrinsic dimension take an assignment solver longer.
_SECONDS = {
    Solver.EMD: {2: (0.10, 2.4), 7: (0.13, 2.6)},
    Solver.LAPJV: {2: (1.0, 3.5), 7: (0.06, 2.9), 12: (0.025, 2.4), 40: (0.02, 2.2)},
    Solver.LAPX: {2: (1.0, 3.5), 7: (0.12, 2.9), 12: (0.05, 2.4), 40: (0.035, 2.2)},
}


@dataclass(frozen=True)
class SolveCost:
    """What a solve takes; the time is good to a factor of about 3."""

    bytes: int
    """Peak memory above that of the clouds themselves."""
    seconds: float
    """Wall time on one core."""

    def __str__(self) -> str:
        return f"{self.bytes / 2**30:.2f} GiB and about {self.seconds:.2g} s"


def predict(solver: Solver, n: int, m: int, d: int) -> SolveCost:
    """Memory and time of ``solver`` on n and m points in d dimensions."""
    if solver is Solver.SORT:
        return SolveCost(bytes=48 * (n + m), seconds=1e-4 + 2e-7 * (n + m))
    table = _SECONDS[solver]
    seconds, exponent = table[max(k for k in table if k <= max(d, 2))]
    matrix = 1e-9 * n * m * (4 + d / 2)
    return SolveCost(
        bytes=_BYTES_PER_ENTRY[solver] * n * m + 64 * (n + m),
        seconds=1e-3 + matrix + seconds * ((n * m) ** 0.5 / 1000) ** exponent,
    )


def check_memory(cost: SolveCost, solver: Solver, n: int, m: int, limit: int) -> None:
    """Raise before any work if ``cost`` is above ``limit``.

    Raises:
        MemoryError: the message gives the need, the limit and the remedies.
    """
    if cost.bytes > limit:
        raise MemoryError(
            f"memory_limit: exact transport between {n} and {m} points by the {solver.value} needs {cost}, "
            f"the limit is {limit / 2**30:.2f} GiB; raise memory_limit to {cost.bytes} bytes or use fewer points"
        )
