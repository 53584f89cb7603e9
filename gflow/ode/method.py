"""One step of a time integrator. Proposes a state and an error; never accepts or rejects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode.brownian import BrownianPath
from gflow.ode.tableau import ButcherTableau

FlatField = Callable[[float, Tensor], Tensor]
"""v(t, y) on the flat state (size,), as the solver hands it to a method."""


@dataclass(frozen=True)
class StepResult:
    """What one step proposes."""

    y: Tensor
    """Candidate state at t + h, (size,)."""
    error: Tensor | None
    """Estimate of the local error, (size,), or None."""
    slope: Tensor | None
    """v(t, y) at the start of the step, or None where a derivative has no meaning."""
    carry: Tensor | None
    """v(t + h, y1), where the method has it already (FSAL)."""
    evaluations: int
    """Evaluations of the field that this step spent."""


@runtime_checkable
class Method(Protocol):
    """A one-step method on flat states."""

    @property
    def order(self) -> int:
        """Order of convergence of the solution that is advanced."""
        ...

    @property
    def error_order(self) -> int | None:
        """Order of the embedded solution behind the error estimate, or None."""
        ...

    def step(self, v: FlatField, t: float, h: float, y: Tensor, carry: Tensor | None, /) -> StepResult:
        """One step from (t, y) to t + h; ``carry`` is v(t, y) if it is known."""
        ...


@dataclass(frozen=True)
class ExplicitRK:
    """The explicit Runge-Kutta method of a tableau."""

    tableau: ButcherTableau

    @property
    def order(self) -> int:
        """Order of the tableau."""
        return self.tableau.order

    @property
    def error_order(self) -> int | None:
        """Order of the embedded method."""
        return self.tableau.embedded_order

    def step(
        self, v: FlatField, t: float, h: float, y: Float[Tensor, " size"], carry: Float[Tensor, " size"] | None, /
    ) -> StepResult:
        """One step; costs ``stages`` evaluations, one fewer where ``carry`` is given."""
        tableau = self.tableau
        weights = _weights(tableau, y.dtype, y.device)
        k = y.new_empty((tableau.stages, y.numel()))
        k[0] = v(t, y) if carry is None else carry
        for i in range(1, tableau.stages):
            k[i] = v(t + weights.c[i] * h, torch.addmv(y, k[:i].T, weights.a[i], alpha=h))
        # One stage is written as the update of an optimizer: Euler's iterates are gradient descent's, bit for bit.
        y_next = torch.add(y, k[0], alpha=h) if tableau.stages == 1 else torch.addmv(y, k.T, weights.b, alpha=h)
        error = None if weights.b_error is None else torch.mv(k.T, weights.b_error) * h
        return StepResult(
            y=y_next,
            error=error,
            slope=k[0],
            carry=k[-1] if tableau.fsal else None,
            evaluations=tableau.stages - (carry is not None),
        )


@dataclass(frozen=True)
class EulerMaruyama:
    """Euler-Maruyama for dy = v dt + diffusion(t) dW with additive noise: y + h v + diffusion(t) (W(t+h) - W(t)).

    For additive noise the strong order is 1 (Kloeden and Platen 1992, sec. 10.3). Runs that share
    ``path`` are synchronously coupled (W2B-5).
    """

    diffusion: Callable[[float], float]
    """Diffusion coefficient at time t, in the solver's time."""
    path: BrownianPath
    """The noise; its shape is the state's, its grid must hold every step."""

    @property
    def order(self) -> int:
        """Strong order for additive noise."""
        return 1

    @property
    def error_order(self) -> int | None:
        """No error estimate."""
        return None

    def step(
        self, v: FlatField, t: float, h: float, y: Float[Tensor, " size"], carry: Float[Tensor, " size"] | None, /
    ) -> StepResult:
        """One step, one evaluation; the slope is None because the path has no derivative."""
        noise = self.path.increment(t, t + h).reshape(-1)
        _check_noise(noise, y)
        slope = v(t, y) if carry is None else carry
        y_next = torch.add(torch.add(y, slope, alpha=h), noise, alpha=float(self.diffusion(t)))
        return StepResult(y=y_next, error=None, slope=None, carry=None, evaluations=1 - (carry is not None))


def _check_noise(noise: Tensor, y: Tensor) -> None:
    if noise.numel() != y.numel():
        raise ValueError(f"EulerMaruyama: path has {noise.numel()} numbers, the state has {y.numel()}")
    if noise.dtype != y.dtype or noise.device != y.device:
        raise ValueError(
            f"EulerMaruyama: path is {noise.dtype} on {noise.device}, the state is {y.dtype} on {y.device}; "
            "give BrownianPath the state's dtype and device"
        )


@dataclass(frozen=True)
class _Weights:
    """Coefficients of a tableau in the state's dtype, on its device."""

    a: tuple[Tensor, ...]
    b: Tensor
    b_error: Tensor | None
    c: tuple[float, ...]


@lru_cache(maxsize=64)
def _weights(tableau: ButcherTableau, dtype: torch.dtype, device: torch.device) -> _Weights:
    def row(values: tuple[object, ...]) -> Tensor:
        return torch.tensor([float(x) for x in values], dtype=dtype, device=device)  # type: ignore[arg-type]

    return _Weights(
        a=tuple(row(r) for r in tableau.a),
        b=row(tableau.b),
        b_error=None if tableau.b_error is None else row(tableau.b_error),
        c=tuple(float(x) for x in tableau.c),
    )
