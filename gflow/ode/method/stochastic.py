"""Steps of a stochastic differential equation with additive noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode.brownian import BrownianPath
from gflow.ode.method.protocol import NOTHING, Carry, FlatField, StepResult


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

    def step(self, v: FlatField, t: float, h: float, y: Float[Tensor, " size"], carry: Carry, /) -> StepResult:
        """One step, one evaluation; the slope is None because the path has no derivative."""
        noise = self.path.increment(t, t + h).reshape(-1)
        _check_noise(noise, y)
        slope = v(t, y) if carry.slope is None else carry.slope
        y_next = torch.add(torch.add(y, slope, alpha=h), noise, alpha=float(self.diffusion(t)))
        return StepResult(y=y_next, error=None, slope=None, carry=NOTHING, evaluations=1 - (carry.slope is not None))


def _check_noise(noise: Tensor, y: Tensor) -> None:
    if noise.numel() != y.numel():
        raise ValueError(f"EulerMaruyama: path has {noise.numel()} numbers, the state has {y.numel()}")
    if noise.dtype != y.dtype or noise.device != y.device:
        raise ValueError(
            f"EulerMaruyama: path is {noise.dtype} on {noise.device}, the state is {y.dtype} on {y.device}; "
            "give BrownianPath the state's dtype and device"
        )
