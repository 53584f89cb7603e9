"""Steps that treat the players of a game, or the past, in their own way. First order, all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.ode.method.protocol import NOTHING, Carry, FlatField, StepResult
from gflow.state import Layout


@dataclass(frozen=True)
class AlternatingEuler:
    """Euler steps of one block of the state after the other, each seeing what those before it have done.

    Alternating gradient descent-ascent as a method: on a bilinear game |y| stays bounded for h <= 2,
    where simultaneous Euler grows for every h (STAB-2; Gidel et al. 2019). Costs one evaluation of the
    whole field per move.
    """

    blocks: tuple[str, ...]
    """Names of the first level of the state, in the order of play; together all of it.

    A name that occurs m times takes m steps of h/m: the n_D updates of a critic for one of the generator.
    """

    @property
    def order(self) -> int:
        """Order of convergence."""
        return 1

    @property
    def error_order(self) -> int | None:
        """No error estimate."""
        return None

    def step(self, v: FlatField, t: float, h: float, y: Float[Tensor, " size"], carry: Carry, /) -> StepResult:
        """One step, one evaluation per move; all of them at time t.

        Raises:
            ValueError: blocks that are not the names of the state.
        """
        slope = velocity = v(t, y) if carry.slope is None else carry.slope
        moved = y
        for k, (block, part) in enumerate(zip(self.blocks, _parts(v.layout, self.blocks), strict=True)):
            velocity = slope if k == 0 else v(t, moved)
            moved = moved.clone()
            # As an optimiser updates: the iterates are those of alternating gradient steps, bit for bit.
            moved[part].add_(velocity[part], alpha=h / self.blocks.count(block))
        spent = len(self.blocks) - (carry.slope is not None)
        return StepResult(y=moved, error=None, slope=slope, carry=NOTHING, evaluations=spent)


@dataclass(frozen=True)
class OptimisticEuler:
    """y + h (2 v_k - v_{k-1}): Euler with the last slope as a forecast of the next; the first step is Euler's.

    Optimistic gradient descent-ascent (Popov 1980; Daskalakis et al. 2018): converges on bilinear games
    at one evaluation a step. The last slope is part of the carry; steps are of constant size.
    """

    @property
    def order(self) -> int:
        """Order of convergence."""
        return 1

    @property
    def error_order(self) -> int | None:
        """No error estimate."""
        return None

    def step(self, v: FlatField, t: float, h: float, y: Float[Tensor, " size"], carry: Carry, /) -> StepResult:
        """One step, one evaluation."""
        slope = v(t, y) if carry.slope is None else carry.slope
        forecast = slope if carry.memory is None else 2 * slope - carry.memory
        spent = 1 - (carry.slope is not None)
        return StepResult(torch.add(y, forecast, alpha=h), None, slope, Carry(memory=slope), spent)


def _parts(layout: Layout, blocks: tuple[str, ...]) -> list[slice]:
    """The range of each block in the flat state."""
    names = list(dict.fromkeys(leaf.path[0] for leaf in layout.leaves if leaf.path))
    if sorted(set(blocks)) != sorted(names) or not names:
        raise ValueError(f"AlternatingEuler: blocks must be the names of the state, {names}, got {list(blocks)}")
    spans = {name: [leaf for leaf in layout.leaves if leaf.path[0] == name] for name in names}
    return [slice(spans[name][0].start, spans[name][-1].stop) for name in blocks]
