"""A Brownian path that is a function of its seed: shared by coupled runs, consistent under halved steps."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict

import torch
from torch import Tensor


class BrownianPath:
    """W on the dyadic grid of 2**levels intervals of [t0, t1], by Levy's midpoint construction.

    The value at a grid point depends on (seed, shape, interval) and the point alone, so two runs
    that share a path see the same noise (the synchronous coupling of W2B-5), and a run with halved
    steps sees the same path, refined. ``levels`` only says how fine the finest grid is: a path with
    more levels and the same seed passes through the same points. Values are computed on demand;
    memory is O(levels) tensors of ``shape``.

    Args:
        t0: start, where W = 0.
        t1: end; may be smaller than ``t0``.
        shape: shape of W(t), that of the state.
        levels: the finest grid has 2**levels intervals.
        seed: seed of the path.
        dtype: dtype of W(t).
        device: device of W(t); paths of different dtypes or devices differ.

    Raises:
        ValueError: ``t0 == t1``, a time that is not finite, or ``levels`` outside 0..30 or finer than
            the spacing of floating-point times.
    """

    def __init__(
        self,
        t0: float,
        t1: float,
        shape: tuple[int, ...],
        *,
        levels: int,
        seed: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        if t0 == t1 or not math.isfinite(t1 - t0):
            raise ValueError(f"BrownianPath: needs finite t0 != t1, got t0 = {t0}, t1 = {t1}")
        if not 0 <= levels <= 30:
            raise ValueError(f"BrownianPath: levels must be in 0..30, got {levels}")
        self.t0, self.t1, self.shape, self.levels, self.seed = t0, t1, tuple(shape), levels, seed
        self.dtype, self.device = dtype, torch.device(device)
        # A time carries a relative error of a few ulp, so its index is only known to this part of an interval.
        self._slack = 1e-6 + 8 * math.ulp(max(abs(t0), abs(t1))) / abs(t1 - t0) * 2**levels
        if self._slack > 0.1:
            raise ValueError(f"BrownianPath: 2**{levels} intervals of [{t0}, {t1}] are finer than times resolve")
        self._cache: OrderedDict[int, Tensor] = OrderedDict()

    def __call__(self, t: float) -> Tensor:
        """W(t), of ``shape``.

        Raises:
            ValueError: ``t`` is not on the dyadic grid.
        """
        return self._at(self._index(t)).clone()

    def increment(self, t: float, t_next: float) -> Tensor:
        """W(t_next) - W(t), of ``shape``; raises like a call."""
        return self._at(self._index(t_next)) - self._at(self._index(t))

    def _index(self, t: float) -> int:
        position = (t - self.t0) / (self.t1 - self.t0) * 2**self.levels
        index = round(position) if math.isfinite(position) else -1
        if abs(position - index) > self._slack or not 0 <= index <= 2**self.levels:
            raise ValueError(
                f"BrownianPath: t = {t} is not on the grid of 2**{self.levels} intervals of "
                f"[{self.t0}, {self.t1}]; use a constant step (t1 - t0) / 2**k with k <= {self.levels}"
            )
        return index

    def _at(self, index: int) -> Tensor:
        """W at a grid point, from its two neighbours on the coarser grid."""
        if index == 0:
            return torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        half = index & -index
        if index == 2**self.levels:
            value = math.sqrt(abs(self.t1 - self.t0)) * self._normal(1, 1)
        else:
            span = 2 * half * abs(self.t1 - self.t0) / 2**self.levels
            middle = (self._at(index - half) + self._at(index + half)) / 2
            value = middle + math.sqrt(span) / 2 * self._normal(index // half, 2**self.levels // half)
        self._cache[index] = value
        while len(self._cache) > 2 * self.levels + 4:
            self._cache.popitem(last=False)
        return value

    def _normal(self, numerator: int, denominator: int) -> Tensor:
        """The standard normal tensor of the grid point numerator/denominator in lowest terms."""
        digest = hashlib.blake2b(f"{self.seed}:{numerator}/{denominator}".encode(), digest_size=8).digest()
        generator = torch.Generator(self.device).manual_seed(int.from_bytes(digest, "little") >> 1)
        return torch.randn(self.shape, generator=generator, dtype=self.dtype, device=self.device)
