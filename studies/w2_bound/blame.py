"""What a solve that failed says of the user's fields: whose it is, at which time of its own, and what helps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode import Result, Solution, SolveError
from studies.w2_bound.own_field import FieldError, UserField

MAX_STEPS = 10_000
"""Cap of a solve of a user's field. A smooth one of Lipschitz constant L takes about L/3 steps per unit of time; one
that jumps takes millions, since its particles cross the jump again and again."""

_COARSE = 1e-3  # a smooth field changes over this part of its points' size much more than over the fine one
_JUMPS = 8.0  # it is taken for one that jumps where it changes by less than this factor more


@contextmanager
def blamed(fields: Mapping[str, UserField], own_time: Callable[[float], float], remedy: str) -> Iterator[None]:
    """Turn a failed solve inside into an error of the field that is to blame.

    Args:
        fields: the user's fields by their flags.
        own_time: their own time at sampling time s.
        remedy: what the user may change beside the field.

    Raises:
        FieldError: naming the flag, the field's own time, what happened and what helps.
    """
    try:
        yield
    except SolveError as error:
        ends = error.solution.ts[0], error.solution.ts[-1]
        begin, t = (own_time(s) for s in ends)
        states = [y[-1] for y in _tensors(error.solution.ys)]
        found = {flag: _worst(field, t, states) for flag, field in fields.items()}
        flag = max(found, key=lambda name: found[name].steepness)
        why = _why(error.solution, found[flag], begin, remedy)
        raise FieldError(f"{flag}: at t = {t:.6g}: {why}") from error


@dataclass(frozen=True)
class _Change:
    """How much the values change between near points."""

    steepness: float
    size: float
    distance: float
    jumps: bool


def _tensors(ys: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
    return [ys] if isinstance(ys, Tensor) else list(ys.values())


def _worst(field: UserField, t: float, states: list[Tensor]) -> _Change:
    return max((_change(field, t, y) for y in states), key=lambda change: change.steepness)


def _change(field: UserField, t: float, y: Float[Tensor, "n d"]) -> _Change:
    """The largest change of the field across the points, over a short and a shorter distance in a random direction."""
    fine = max(1e-6, 100 * torch.finfo(y.dtype).eps)
    generator = torch.Generator(y.device).manual_seed(0)
    way = torch.nn.functional.normalize(
        torch.randn(y.shape, dtype=y.dtype, device=y.device, generator=generator), dim=1
    )
    way = way * y.norm(dim=1, keepdim=True).clamp_min(torch.finfo(y.dtype).tiny)
    try:
        long, short = ((field(t, y + k * way) - field(t, y - k * way)).norm(dim=1) for k in (_COARSE, fine))
    except FieldError:  # it is not even finite there
        return _Change(math.inf, math.inf, 0.0, jumps=False)
    distance = 2 * fine * way.norm(dim=1)
    row = int((short / distance).argmax())
    size = float(short[row])
    return _Change(size / float(distance[row]), size, float(distance[row]), size * _JUMPS > float(long[row]) > 0)


def _why(solution: Solution[Any], change: _Change, begin: float, remedy: str) -> str:
    """What happened, what it seems to be, and what helps."""
    result, tried = solution.result, solution.stats.accepted + solution.stats.rejected
    did = {
        Result.MAX_STEPS: f"{tried} steps from t = {begin:.6g} took its exact flow no further",
        Result.STALLED: "its exact flow goes no further, however short a step is",
        Result.STEP_UNDERFLOW: "its exact flow goes no further, however short a step is",
        Result.NON_FINITE: "its particles became NaN or infinite",
    }.get(result, f"its flow could not be solved ({result.value})")
    if change.jumps:
        seems = (
            f"it seems not to be continuous there (values change by {change.size:.3g} over "
            f"{change.distance:.1g} in y), and no bound holds for such a field; smooth the jump"
        )
    elif result in (Result.MAX_STEPS, Result.STALLED):
        seems = (
            f"it seems to be too steep, of slope {change.steepness:.1g} there, or not smooth; smooth it, or {remedy}"
        )
    else:
        seems = f"its flow seems to leave all bounds there, or the field to be singular; {remedy}"
    return f"{did}: {seems}"
