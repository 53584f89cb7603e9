"""The outside solvers behind one signature. Their packages are imported at the first use, not before."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix

from gflow.transport.cost import Matrix
from gflow.transport.plan import Solver, TransportError

_MAX_ITERATIONS = 10**9  # POT's default of 10**5 is wrong by per cents from n = 4000 on
_UNSET = 1e30
_CRUMB = 1e-6  # share of the smallest mass: what the simplex leaves on degenerate arcs by rounding


@dataclass(frozen=True)
class RawPlan:
    """What a solver found, unchecked; v may be None or only nearly optimal."""

    rows: Int[np.ndarray, " k"]
    columns: Int[np.ndarray, " k"]
    mass: Float[np.ndarray, " k"]
    v: Float[np.ndarray, " m"] | None
    u: Float[np.ndarray, " n"] | None = None
    """The c-transform of v, where it is known."""

    @classmethod
    def pairing(
        cls,
        columns: Int[np.ndarray, " n"],
        v: Float[np.ndarray, " n"] | None,
        u: Float[np.ndarray, " n"] | None = None,
    ) -> RawPlan:
        """Row i to ``columns[i]``, uniform mass."""
        n = len(columns)
        return cls(np.arange(n), columns.astype(np.int64), np.full(n, 1 / n), v, u)

    @property
    def is_permutation(self) -> bool:
        """Whether each row sends all its mass to a column of its own."""
        order = np.arange(len(self.rows))
        return np.array_equal(self.rows, order) and np.array_equal(np.sort(self.columns), order)


@cache
def installed(solver: Solver) -> bool:
    """Whether the package behind ``solver`` can be imported."""
    if solver is Solver.LAPJV:
        return importlib.util.find_spec("lapjv") is not None
    if solver is Solver.LAPX:
        # The package "lap" owns the same import name, without this module.
        return importlib.util.find_spec("lap") is not None and importlib.util.find_spec("lap._lapjvs") is not None
    return True


def network_simplex(
    cost: Matrix,
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
    start: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]] | None = None,
) -> RawPlan:
    """``ot.emd`` to optimality (Bonneel et al. 2011), any sizes and masses; ``start`` are potentials.

    Raises:
        TransportError: it stopped before the optimum.
    """
    import ot

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the status below says the same, and is not lost
        plan, log = ot.emd(a, b, cost, numItermax=_MAX_ITERATIONS, log=True, potentials_init=start)
    if log["warning"] is not None:
        raise TransportError(f"network simplex: {log['warning']}")
    rows, columns = np.divmod(np.flatnonzero(plan.ravel() > 0), len(b))
    mass = plan[rows, columns]
    kept = mass > _CRUMB * min(a[a > 0].min(), b[b > 0].min())
    return RawPlan(rows[kept], columns[kept], mass[kept], log["v"])


def sparse_simplex(
    i: Int[np.ndarray, " k"], j: Int[np.ndarray, " k"], costs: Float[np.ndarray, " k"], n: int
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]] | None:
    """Optimal permutation within the arcs (i, j), which hold at least one, and potentials v of its columns.

    POT's network simplex on that graph alone; its vertices are permutations where all masses are equal.
    None where it stopped before the optimum or at a plan that is no permutation.
    """
    import ot

    masses = np.full(n, 1 / n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the None below says the same
        graph = coo_matrix((costs, (i, j)), shape=(n, n))
        plan, log = ot.emd(masses, masses, graph, numItermax=_MAX_ITERATIONS, log=True)
    moved = plan.tocoo()
    kept = moved.data > 0.5 / n
    if log["warning"] is not None or np.count_nonzero(kept) != n:
        return None
    columns = np.empty(n, dtype=np.int64)
    columns[moved.row[kept]] = moved.col[kept]
    return columns, np.asarray(log["v"])


def assignment(cost: Matrix, solver: Solver) -> RawPlan:
    """A permutation by lapjv or lapx; both search in float32, so potentials hold about 7 digits."""
    if solver is Solver.LAPX:
        import lap

        columns, _ = lap.lapjvs(cost, return_cost=False, jvx_like=False)
        return RawPlan.pairing(columns, None)
    import lapjv

    columns, _, (_, _, v) = lapjv.lapjv(cost)
    # For one point lapjv leaves its initial v, minus the largest float32. Any finite v is valid.
    return RawPlan.pairing(columns, np.where(np.abs(v) < _UNSET, v, 0.0).astype(np.float64))
