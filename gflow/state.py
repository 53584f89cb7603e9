"""States of a flow: a tensor or a nested dict of tensors, seen by the solver as one flat tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor

# Any stands for State: a recursive alias cannot be resolved by the type checks of the test suite.
State = Tensor | Mapping[str, Any]
"""A tensor, or a nested mapping from names to states; one dtype and one device in all."""


@dataclass(frozen=True)
class Leaf:
    """Where one tensor of a state lies in the flat tensor."""

    path: tuple[str, ...]
    """Keys that lead to the tensor; empty for a state that is one tensor."""
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The path as it is shown in messages."""
        return ".".join(self.path) or "state"


@dataclass(frozen=True)
class Layout:
    """The structure of a state: what turns it into one flat tensor and back, without copies back."""

    leaves: tuple[Leaf, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, y: State, *, what: str = "state") -> Layout:
        """The layout of ``y``; messages call it ``what``.

        Raises:
            ValueError: an empty state, a tensor that is not floating point, or mixed dtypes or devices.
            TypeError: something that is neither a tensor nor a mapping from str.
        """
        tensors = list(_walk(y, (), what))
        if not tensors or not any(x.numel() for _, x in tensors):
            raise ValueError(f"{what}: needs at least one number, got an empty state")
        first = tensors[0][1]
        leaves, start = [], 0
        for path, x in tensors:
            leaf = Leaf(path, tuple(x.shape), start, start + x.numel())
            if not x.is_floating_point():
                raise ValueError(f"{what}: {leaf.name} needs a floating-point dtype, got {x.dtype}")
            if x.dtype != first.dtype or x.device != first.device:
                raise ValueError(
                    f"{what}: all tensors share dtype and device, got {leaf.name} in {x.dtype} on {x.device} "
                    f"beside {first.dtype} on {first.device}"
                )
            leaves.append(leaf)
            start = leaf.stop
        return cls(tuple(leaves), first.dtype, first.device)

    @property
    def size(self) -> int:
        """Number of scalars in the state."""
        return self.leaves[-1].stop

    def is_plain(self, y: object) -> TypeGuard[Tensor]:
        """Whether ``y`` is one tensor and as this layout wants it: the case that needs no walk and no message."""
        leaf = self.leaves[0]
        return (
            not leaf.path
            and isinstance(y, Tensor)
            and y.shape == leaf.shape
            and y.dtype == self.dtype
            and y.device == self.device
        )

    def flatten(self, y: State, *, what: str = "state") -> Tensor:
        """The state as one tensor (size,).

        Raises:
            ValueError: ``y`` differs from the layout in structure, shape, dtype or device; the
                message names ``what``, the leaf, what was expected and what was given.
            TypeError: ``y`` holds something that is neither a tensor nor a mapping from str.
        """
        if self.is_plain(y):
            return y.reshape(-1)
        tensors = dict(_walk(y, (), what))
        expected = [leaf.path for leaf in self.leaves]
        if list(tensors) != expected and set(tensors) != set(expected):
            given = sorted(".".join(p) or "a tensor" for p in tensors)
            wanted = sorted(leaf.name for leaf in self.leaves)
            raise ValueError(f"{what}: expected the structure {wanted}, got {given}")
        for leaf in self.leaves:
            self._check(leaf, tensors[leaf.path], what)
        return torch.cat([tensors[leaf.path].reshape(-1) for leaf in self.leaves])

    def unflatten(self, flat: Tensor) -> State:
        """The state as views of ``flat``, whose leading axes (time) are kept: (..., size)."""
        lead = flat.shape[:-1] if flat.ndim > 1 else ()
        first = self.leaves[0]
        if not first.path:
            return flat.reshape(lead + first.shape)
        tree: dict[str, State] = {}
        for leaf in self.leaves:
            node = tree
            for key in leaf.path[:-1]:
                node = node.setdefault(key, {})  # type: ignore[assignment]  # inner nodes are dicts
            node[leaf.path[-1]] = flat[..., leaf.start : leaf.stop].reshape(lead + leaf.shape)
        return tree

    def where_not_finite(self, flat: Tensor) -> str:
        """Which rows of which tensor of ``flat`` hold NaN or infinity, in words."""
        found = []
        for leaf in self.leaves:
            bad = ~torch.isfinite(flat[leaf.start : leaf.stop]).reshape(leaf.shape)
            if not bool(bad.any()):
                continue
            rows = bad.reshape(bad.shape[0], -1).any(1) if bad.ndim else bad.reshape(1)
            first = int(rows.nonzero()[0])
            found.append(f"{leaf.name}: {int(rows.sum())} of {len(rows)} rows, first row {first}")
        return "; ".join(found)

    def where_largest(self, flat: Tensor) -> str:
        """Which row of which tensor of ``flat`` holds the largest number in size, in words."""
        at = int(flat.abs().argmax())
        leaf = next(leaf for leaf in self.leaves if leaf.start <= at < leaf.stop)
        row = (at - leaf.start) * leaf.shape[0] // (leaf.stop - leaf.start) if leaf.shape else 0
        return f"{leaf.name}: row {row}"

    def _check(self, leaf: Leaf, x: Tensor, what: str) -> None:
        if x.shape != leaf.shape:
            raise ValueError(f"{what}: expected {leaf.name} of shape {leaf.shape}, got {tuple(x.shape)}")
        if x.dtype != self.dtype or x.device != self.device:
            raise ValueError(
                f"{what}: expected {leaf.name} in {self.dtype} on {self.device}, got {x.dtype} on {x.device}"
            )


def _walk(y: State, path: tuple[str, ...], what: str) -> list[tuple[tuple[str, ...], Tensor]]:
    """The tensors of a state with their paths, in the order of the mapping."""
    if isinstance(y, Tensor):
        return [(path, y)]
    if not isinstance(y, Mapping):
        where = ".".join(path) or "the state"
        raise TypeError(f"{what}: {where} must be a tensor or a mapping of states, got {type(y).__name__}")
    if wrong := [key for key in y if not isinstance(key, str)]:
        raise TypeError(f"{what}: names of states must be str, got {wrong[0]!r}")
    return [pair for key, sub in y.items() for pair in _walk(sub, (*path, key), what)]
