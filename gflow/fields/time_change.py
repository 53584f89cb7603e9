"""The step rule ``eps / sqrt(1 + |v|^2)`` as what it is: another clock on the same orbits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from gflow.state import Layout, State
from gflow.velocity import Time, VelocityField

S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class TimeChange(Generic[S]):
    """``y' = v / sqrt(1 + |v|^2), elapsed' = 1 / sqrt(1 + |v|^2)`` on ``{"y": y, "elapsed": 0-d tensor}``.

    |v| is the norm over the whole state, nested or not. Euler's method with the constant step eps0 is
    the rule ``y_{k+1} = y_k + eps_k v(y_k), eps_k = eps0 / sqrt(1 + |v|^2)`` that training loops use, and
    ``elapsed`` then is the sum of the eps_k: the time of v's own flow, which is not k eps0. No step is
    longer than eps0, orbits and fixed points are those of v, and so are the Jacobians at the fixed
    points, hence the stability limit; the rule estimates no error and has order 1 (INT-6).

    The solver's time is the new clock, which an autonomous v never sees. A v that depends on time is
    evaluated at ``elapsed``, handed to it as the 0-d tensor of the state that it is: without
    synchronisation and differentiable, as library fields accept it. Dtype and device are those of
    the state; in float32 so is the clock.
    """

    velocity: VelocityField[S]
    """The field in its own time."""

    def __call__(self, t: Time, state: Mapping[str, Any], /) -> dict[str, Any]:  # noqa: ARG002
        """The velocity of the state and of its clock.

        Raises:
            ValueError: a state that ``start`` has not the form of.
        """
        if set(state) != {"y", "elapsed"}:
            raise ValueError(f"state: expected the blocks y and elapsed, got {list(state)}; TimeChange.start builds it")
        v = self.velocity(state["elapsed"], state["y"])
        layout = Layout.of(v, what="velocity")
        flat = layout.flatten(v)
        # Scaled by the largest entry, or a velocity above the root of the largest float would stand still.
        scale = flat.abs().max().clamp_min(1.0)
        unit = flat / scale
        root = (scale**-2 + unit.square().sum()).sqrt()
        return {"y": layout.unflatten(unit / root), "elapsed": 1.0 / (scale * root)}

    @staticmethod
    def start(y0: State, elapsed: float = 0.0) -> dict[str, Any]:
        """The state of ``y0`` when v's own clock shows ``elapsed``."""
        layout = Layout.of(y0, what="y0")
        return {"y": y0, "elapsed": torch.tensor(elapsed, dtype=layout.dtype, device=layout.device)}
