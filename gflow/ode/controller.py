"""Which step to take: turns a step's error into accept or reject and the next step. Never steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Decision:
    """The controller's word on a candidate."""

    accept: bool
    h: float
    """Size of the next attempt, positive."""
    memory: float
    """Scaled error of the last accepted step, which the PI rule feeds back."""
    coupling: float | None = None
    """Scaled error of the worst particle over that of the batch; None where particles are not told apart."""


@runtime_checkable
class StepController(Protocol):
    """Accepts or rejects a candidate and chooses the next step size (positive; the solver knows the direction)."""

    @property
    def adaptive(self) -> bool:
        """Whether an error estimate is needed."""
        ...

    def first_step(self, y: Float[Tensor, " size"], slope: Float[Tensor, " size"], span: float, /) -> float:
        """Size of the first attempt over an interval of length ``span``."""
        ...

    def decide(
        self,
        h: float,
        y0: Float[Tensor, " size"],
        y1: Float[Tensor, " size"],
        error: Float[Tensor, " size"] | None,
        error_order: int | None,
        memory: float,
        /,
    ) -> Decision:
        """Judge the candidate ``y1`` reached from ``y0`` by a step of size ``h``."""
        ...


@dataclass(frozen=True)
class ConstantStep:
    """Every step has size ``h``; the last one is shorter where h does not divide the interval."""

    h: float
    """Step size in the solver's time, positive whatever the direction."""

    def __post_init__(self) -> None:
        """Check the step."""
        if not (self.h > 0 and math.isfinite(self.h)):
            raise ValueError(f"ConstantStep: h must be positive and finite, got {self.h}")

    @property
    def adaptive(self) -> bool:
        """No error estimate is needed."""
        return False

    def first_step(
        self,
        y: Float[Tensor, " size"],  # noqa: ARG002
        slope: Float[Tensor, " size"],  # noqa: ARG002
        span: float,  # noqa: ARG002
        /,
    ) -> float:
        """``h``."""
        return self.h

    def decide(
        self,
        h: float,  # noqa: ARG002
        y0: Float[Tensor, " size"],  # noqa: ARG002
        y1: Float[Tensor, " size"],  # noqa: ARG002
        error: Float[Tensor, " size"] | None,  # noqa: ARG002
        error_order: int | None,  # noqa: ARG002
        memory: float,
        /,
    ) -> Decision:
        """Accept."""
        return Decision(True, self.h, memory)


@dataclass(frozen=True)
class PIController:
    """Proportional-integral control of the embedded error (Gustafsson 1991; Hairer, Norsett and Wanner II.4).

    The error of a step is the root mean square over the whole state of
    error / (atol + rtol max(|y0|, |y1|)); a step is accepted when it is at most 1. One step size
    serves all particles, so a batch is coupled through it. With ``particles`` the error of a step is
    that of its worst particle, which makes each particle's accuracy its own, whoever shares the
    batch; ``Stats.coupling`` then says how much the worst one costs the others.
    """

    rtol: float
    """Relative tolerance per step."""
    atol: float
    """Absolute tolerance per step, in the units of the state."""
    safety: float = 0.9
    beta: float = 0.04
    """Integral gain (Hairer's DOPRI5); the proportional one is 1/(q+1) - 0.75 beta."""
    shrink: float = 0.2
    grow: float = 5.0
    particles: int | None = None
    """Number n of particles of a state that is one tensor (n, ...), to control the worst; None controls the batch."""

    def __post_init__(self) -> None:
        """Check the tolerances."""
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"PIController: {name} must be finite and >= 0, got {value}")
        if self.rtol == 0 and self.atol == 0:
            raise ValueError("PIController: rtol and atol must not both be 0")
        if self.particles is not None and self.particles < 1:
            raise ValueError(f"PIController: particles must be at least 1 or None, got {self.particles}")

    @property
    def adaptive(self) -> bool:
        """An error estimate is needed."""
        return True

    def first_step(self, y: Float[Tensor, " size"], slope: Float[Tensor, " size"], span: float, /) -> float:
        """A step over which an Euler move is a hundredth of the state (Hairer et al. II.4, first guess)."""
        scale = self._scale(y.abs())
        d0, d1 = _rms(y / scale), _rms(slope / scale)
        guess = 0.01 * d0 / d1 if d0 > 1e-5 and 1e-5 < d1 < math.inf else 1e-6 * span
        return min(guess, span)

    def decide(
        self,
        h: float,
        y0: Float[Tensor, " size"],
        y1: Float[Tensor, " size"],
        error: Float[Tensor, " size"] | None,
        error_order: int | None,
        memory: float,
        /,
    ) -> Decision:
        """Accept where the scaled error is at most 1.

        Raises:
            ValueError: the method has no error estimate, or a state that is not ``particles`` rows.
        """
        if error is None or error_order is None:
            raise ValueError("PIController needs a method with an error estimate; use ConstantStep instead")
        scaled, coupling = self._size(error / self._scale(torch.maximum(y0.abs(), y1.abs())))
        alpha = 1.0 / (error_order + 1)
        if not scaled <= 1.0:
            factor = self.safety * scaled**-alpha if math.isfinite(scaled) else 0.1
            return Decision(False, h * max(self.shrink if math.isfinite(scaled) else 0.1, factor), memory)
        # An exact step (scaled = 0) would divide by zero; the floor only affects a factor that is clipped anyway.
        now = max(scaled, 1e-10)
        factor = self.safety * now ** -(alpha - 0.75 * self.beta) * max(memory, 1e-4) ** self.beta
        return Decision(True, h * min(self.grow, max(self.shrink, factor)), max(scaled, 1e-4), coupling)

    def _size(self, scaled: Tensor) -> tuple[float, float | None]:
        """The error that decides, and its ratio to that of the batch where it is a particle's."""
        if self.particles is None:
            return _rms(scaled), None
        if scaled.numel() % self.particles:
            raise ValueError(f"PIController: {self.particles} particles do not divide a state of {scaled.numel()}")
        rows = scaled.reshape(self.particles, -1)
        worst, batch = float(rows.norm(dim=1).max()) / math.sqrt(rows.shape[1]), _rms(scaled)
        return worst, worst / batch if batch > 0 else 1.0

    def _scale(self, size: Tensor) -> Tensor:
        """Atol + rtol ``size``, in place."""
        # With atol = 0 a component that stays 0 has the least scale and error 0: it is exact, not NaN.
        return size.mul_(self.rtol).add_(max(self.atol, torch.finfo(size.dtype).tiny))


def _rms(x: Tensor) -> float:
    # Half the time of x.norm().
    return float(torch.linalg.vector_norm(x)) / math.sqrt(x.numel())
