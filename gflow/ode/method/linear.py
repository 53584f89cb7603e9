"""The linear systems of implicit steps, (I - gamma Dv) x = b: dense where they are small, else by GMRES."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor
from torch.func import jvp, vmap

from gflow.ode.method.protocol import FlatField

DENSE_UP_TO = 128
"""Size of the state up to which the matrix is formed: one batched pass of products, one LU."""
_RESTART = 50


@dataclass(frozen=True)
class Solved:
    """A solution, or how far it is from one."""

    x: Float[Tensor, " size"]
    products: int
    """Products with the Jacobian that were spent."""
    failure: str = ""
    """Why ``x`` is no solution; empty where it is one."""


def solve_shifted(
    v: FlatField, t: float, y: Float[Tensor, " size"], gamma: float, b: Float[Tensor, " size"], tolerance: float
) -> Solved:
    """Solve (I - gamma Dv(t, y)) x = b, the Jacobian seen through forward-mode products.

    Up to ``DENSE_UP_TO`` numbers by LU on the device of ``y``; above by scipy's restarted GMRES on the
    CPU in float64, to a residual of ``tolerance`` relative to b. A b that is not finite comes back as x, at no cost:
    the solver then sees in which rows the field is not.
    """
    if not bool(torch.isfinite(b).all()):
        return Solved(b, 0)
    product = partial(_product, v, t, y)
    if y.numel() <= DENSE_UP_TO:
        return _dense(vmap(product)(torch.eye(len(y), dtype=y.dtype, device=y.device)).T, gamma, b)
    return _iterative(product, y, gamma, b, tolerance)


def _product(v: FlatField, t: float, y: Tensor, u: Tensor) -> Tensor:
    """Dv(t, y) u."""
    pushed: Tensor = jvp(lambda z: v(t, z), (y,), (u,))[1]
    return pushed


def _dense(jacobian: Tensor, gamma: float, b: Tensor) -> Solved:
    matrix = torch.eye(len(b), dtype=b.dtype, device=b.device) - gamma * jacobian
    x, info = torch.linalg.solve_ex(matrix, b)
    failure = "" if int(info) == 0 else f"I - {gamma:.3g} Dv is singular"
    return Solved(x, len(b), failure)


def _iterative(product: Callable[[Tensor], Tensor], y: Tensor, gamma: float, b: Tensor, tolerance: float) -> Solved:
    spent = 0

    def shifted(u: np.ndarray) -> np.ndarray:
        nonlocal spent
        spent += 1
        moved = torch.from_numpy(np.ascontiguousarray(u)).to(y)
        result: np.ndarray = (moved - gamma * product(moved)).double().cpu().numpy()
        return result

    operator = LinearOperator((y.numel(), y.numel()), matvec=shifted, dtype=np.float64)
    right = b.double().cpu().numpy()
    x, info = gmres(operator, right, rtol=tolerance, atol=0.0, restart=_RESTART, maxiter=4)
    failure = "" if info == 0 else f"GMRES did not reach the residual {tolerance:.3g} in {spent} products"
    return Solved(torch.from_numpy(x).to(y), spent, failure)
