"""Runs at every level of a ladder, and their errors against a reference. Knows no order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode.order_fit import Ladder
from gflow.state import Layout, State

Run = Callable[[int], State]
"""run(n): the state at the end of n equal steps."""


@dataclass(frozen=True)
class FinerSolve:
    """A reference by the same run with ``factor`` times the largest number of steps.

    Its own error, of the order that is being measured, is part of the fitted law.
    """

    factor: int
    """At least 4; a power of two where the run draws from a ``BrownianPath``."""

    def __post_init__(self) -> None:
        """Check the factor."""
        if self.factor < 4:
            raise ValueError(f"FinerSolve: factor must be at least 4, got {self.factor}")


@dataclass(frozen=True)
class Richardson:
    """No reference: differences of successive runs on a geometric ladder, which fall with the same order."""


RICHARDSON = Richardson()
Reference = State | FinerSolve | Richardson


def measure(runs: Sequence[Run], steps: Sequence[int], span: float, reference: Reference | Sequence[State]) -> Ladder:
    """The errors of all runs at all levels; for ``RICHARDSON`` the last number of steps is no level.

    Raises:
        ValueError: a run or a reference with another structure, shape, dtype or device than run(steps[0]),
            or with non-finite entries.
    """
    rows = [_levels(run, steps, _of_repeat(reference, r)) for r, run in enumerate(runs)]
    errors, round_off, *moves = torch.tensor(rows, dtype=torch.float64).unbind(1)
    hs = torch.tensor([span / n for n in steps], dtype=torch.float64)
    if isinstance(reference, Richardson):
        return Ladder(hs[:-1], hs[1:], errors, round_off, _cosine(*moves))
    finer = hs[-1] / reference.factor if isinstance(reference, FinerSolve) else torch.zeros_like(hs[-1])
    return Ladder(hs, finer.expand_as(hs), errors, round_off, _cosine(*moves))


def _of_repeat(reference: Reference | Sequence[State], r: int) -> Reference:
    """The reference of repeat ``r``."""
    return reference[r] if isinstance(reference, Sequence) else reference


def _levels(run: Run, steps: Sequence[int], reference: Reference) -> tuple[list[float], ...]:
    """Of each level: its error, how far round-off may have moved it, and the products of the moves up to it."""
    first = run(steps[0])
    layout = Layout.of(first, what=f"observed_order: run({steps[0]})")
    ends = [_flat(layout, first, f"run({steps[0]})"), *(_flat(layout, run(n), f"run({n})") for n in steps[1:])]
    if isinstance(reference, Richardson):
        targets, counts = ends[1:], steps[1:]
    elif isinstance(reference, FinerSolve):
        count = reference.factor * steps[-1]
        targets, counts = [_flat(layout, run(count), f"run({count})")] * len(ends), [count] * len(ends)
    else:
        targets, counts = [_flat(layout, reference, "reference")] * len(ends), steps
    pairs = list(zip(ends, targets, counts, strict=False))
    # n steps add up sqrt(n) roundings of random sign.
    eps = torch.finfo(layout.dtype).eps
    errors = [_rms(y - target) for y, target, _ in pairs]
    round_off = [eps * math.sqrt(n) * max(_rms(y), _rms(target)) for y, target, n in pairs]
    return errors, round_off, *_moves(ends[: len(pairs)])


def _moves(ends: list[Tensor]) -> tuple[list[float], ...]:
    """Product and squared sizes of the last two moves towards each end state; ones for the first two states."""
    moves = [after - before for before, after in zip(ends, ends[1:], strict=False)]
    products = [(float(m @ k), float(m @ m), float(k @ k)) for m, k in zip(moves, moves[1:], strict=False)]
    return tuple(list(column) for column in zip(*[(1.0, 1.0, 1.0)] * 2, *products, strict=True))


def _cosine(product: Tensor, before: Tensor, after: Tensor) -> Float[Tensor, " levels"]:
    """Cosine between two moves over all repeats; 1 where nothing moved."""
    return (product.sum(0) / before.sum(0).sqrt() / after.sum(0).sqrt()).nan_to_num(1.0)


def _flat(layout: Layout, y: State, what: str) -> Float[Tensor, " size"]:
    """A finite end state in float64."""
    flat = layout.flatten(y, what=f"observed_order: {what}")
    if bad := layout.where_not_finite(flat):
        raise ValueError(f"observed_order: {what} needs finite numbers, got non-finite entries in {bad}")
    return flat.detach().double()


def _rms(x: Float[Tensor, " size"]) -> float:
    # Scaled first: the squares of 1e200 overflow.
    largest = float(x.abs().max())
    return largest * float((x / largest).norm()) / math.sqrt(x.numel()) if largest > 0 else 0.0
