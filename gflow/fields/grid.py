"""A box cut into equal cells, and laws as the masses of its cells. Knows no flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.problems.checks import require_finite, require_like

LogDensity = Callable[[Float[Tensor, "k d"]], Float[Tensor, " k"]]
"""``x (k, d) -> log p(x) (k,)`` up to a constant, -inf where p is 0; such as ``Distribution.log_prob``."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The box ``[low, high]`` in equal cells; dtype and device are those of its corners.

    A law on it is a tensor of cell masses of shape ``cells``, sum 1. Densities are read at the centres of cells:
    for a smooth law that is small at the walls its moments are then exact far beyond the order of the rule.

    Raises:
        ValueError: corners that are not finite (d,) with low < high, or another number of cells than one
            positive integer per axis.
    """

    low: Float[Tensor, " d"]
    """The lower corner."""
    high: Float[Tensor, " d"]
    """The upper corner."""
    cells: tuple[int, ...]
    """Cells along each axis."""

    def __post_init__(self) -> None:
        """Check the box."""
        for name, corner in (("low", self.low), ("high", self.high)):
            require_finite(name, corner)
            if corner.shape != (len(self.cells),):
                raise ValueError(f"{name}: expected ({len(self.cells)},) as cells has, got {tuple(corner.shape)}")
        require_like("high", self.high, self.low, "low")
        if not self.cells or min(self.cells) < 1:
            raise ValueError(f"cells: expected one positive integer per axis, got {self.cells}")
        if not bool((self.low < self.high).all()):
            raise ValueError(f"low: expected below high = {self.high.tolist()}, got {self.low.tolist()}")

    @property
    def dim(self) -> int:
        """The dimension d."""
        return len(self.cells)

    @property
    def widths(self) -> Float[Tensor, " d"]:
        """Width of a cell along each axis."""
        return (self.high - self.low) / self.low.new_tensor(self.cells)

    @property
    def centres(self) -> Float[Tensor, "k d"]:
        """Centres of all cells, the last axis running fastest."""
        axes = [
            low + width * (torch.arange(n, dtype=low.dtype, device=low.device) + 0.5)
            for low, width, n in zip(self.low, self.widths, self.cells, strict=True)
        ]
        return torch.cartesian_prod(*axes).reshape(-1, self.dim)

    def log_masses(self, log_density: LogDensity) -> Float[Tensor, "*cells"]:
        """Logarithms of the cell masses of a density restricted to the box.

        Raises:
            ValueError: a density of another shape than (k,), NaN or +inf in it, or 0 in all cells.
        """
        values = log_density(self.centres)
        if values.shape != (len(self.centres),):
            raise ValueError(f"log_density: expected ({len(self.centres)},), got {tuple(values.shape)}")
        if bool((values.isnan() | (values == torch.inf)).any()) or not bool((values > -torch.inf).any()):
            raise ValueError("log_density: expected numbers or -inf, and not -inf in all cells")
        return values.log_softmax(0).reshape(self.cells)

    def masses(self, log_density: LogDensity) -> Float[Tensor, "*cells"]:
        """Cell masses of a density restricted to the box, sum 1. Raises as ``log_masses``."""
        return self.log_masses(log_density).exp()

    def density(self, masses: Float[Tensor, "*cells"], /) -> Float[Tensor, "*cells"]:
        """The density in each cell."""
        self.require(masses)
        return masses / self.widths.prod()

    def mean(self, masses: Float[Tensor, "*cells"], /) -> Float[Tensor, " d"]:
        """The mean of the law."""
        self.require(masses)
        return masses.reshape(-1) @ self.centres

    def covariance(self, masses: Float[Tensor, "*cells"], /) -> Float[Tensor, "d d"]:
        """The covariance of the law."""
        offset = self.centres - self.mean(masses)
        return offset.mT @ (masses.reshape(-1, 1) * offset)

    def quantiles(self, masses: Float[Tensor, " cells"], n: int, /) -> Float[Tensor, "n 1"]:
        """The levels ``(i + 1/2)/n`` of a law on the line: n points for ``gflow.transport`` and for particle flows.

        Mass is uniform within a cell.

        Raises:
            ValueError: a grid of more than one axis, ``n < 1``, or negative masses.
        """
        self.require(masses)
        if self.dim != 1 or n < 1:
            raise ValueError(f"quantiles: need one axis and n >= 1, got {self.dim} axes and n = {n}")
        if bool((masses < 0).any()):
            raise ValueError(f"masses: expected none below 0, got {float(masses.min()):.3g}")
        ends = masses.cumsum(0)
        levels = (torch.arange(n, dtype=ends.dtype, device=ends.device) + 0.5) / n * ends[-1]
        cell = torch.searchsorted(ends, levels).clamp(max=self.cells[0] - 1)
        share = (levels - (ends - masses)[cell]) / masses[cell]
        return (self.low + self.widths * (cell + share)).unsqueeze(1)

    def require(self, masses: Tensor) -> None:
        """Raise ValueError unless ``masses`` has one number per cell, in the dtype and on the device of the box."""
        if masses.shape != self.cells:
            raise ValueError(f"masses: expected one per cell, {self.cells}, got {tuple(masses.shape)}")
        require_like("masses", masses, self.low, "the grid")
