"""What a training leaves behind: the network, its curve, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


class FitStatus(Enum):
    """How a training ended; each value is the message, with the remedy."""

    DONE = "all steps were taken"
    """The training went to its end."""
    HELD_OUT = "the held-out loss stopped falling; the weights of its lowest record are kept"
    """Stopped by ``patience``."""
    LOSS_NOT_FINITE = "the loss became NaN or infinite: lower the learning rate, or check the data and t_min"
    """Stopped at the first loss that is not finite."""
    GRADIENT_NOT_FINITE = "a gradient became NaN or infinite: lower the learning rate, or check the loss"
    """Stopped at the first gradient that is not finite."""


@dataclass(frozen=True)
class FitRecord:
    """The losses at one step."""

    step: int
    """Optimizer steps taken before."""
    train: float
    """Mean of the training loss since the record before."""
    held_out: float | None
    """Held-out loss of the averaged weights, on the same draws at every record; None without one."""


@dataclass(frozen=True)
class FitResult(Generic[M]):
    """A trained network and how it came about."""

    module: M
    """A copy with the averaged weights, frozen (``requires_grad`` off), in evaluation mode."""
    history: tuple[FitRecord, ...]
    """Records in order of steps; the last is of the end."""
    status: FitStatus
    step: int
    """Steps taken; on failure the weights after this step, or its batch, are to blame."""
    kept: int
    """The step whose weights the module holds: ``step``, unless ``patience`` kept those of an earlier record."""

    @property
    def message(self) -> str:
        """The status in words, with the step."""
        return f"fit: after step {self.step}: {self.status.value}"

    @property
    def held_out(self) -> float | None:
        """The held-out loss of the module, or the last one before it."""
        seen = [record.held_out for record in self.history if record.step <= self.kept]
        return seen[-1] if seen else None


class FitError(RuntimeError):
    """A training that failed; ``result`` holds the last good weights."""

    def __init__(self, message: str, result: FitResult[Any]) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[FitError], tuple[str, FitResult[Any]]]:
        """Both arguments, so that the error survives the way back from a worker process."""
        return type(self), (str(self), self.result)
