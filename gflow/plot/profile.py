"""Quantities along the time of a path: densities over bins, curves with bands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from gflow.estimate import Estimate
from gflow.plot.themes import COLOURS


def density(
    axes: Axes, edges: Sequence[float], values: Sequence[Estimate], *, colour: str, label: str, filled: bool = False
) -> None:
    """A quantity per unit of time as steps over bins, with a band where the intervals are finite.

    Args:
        axes: where to draw.
        edges: ends of the bins, one more than values, increasing or decreasing.
        values: the density in each bin.
        colour: a name of ``COLOURS`` or a colour of matplotlib.
        label: for the legend.
        filled: tint the area down to 0.
    """
    if len(edges) != len(values) + 1:
        raise ValueError(f"density: expected one edge more than values, got {len(edges)} and {len(values)}")
    colour = COLOURS.get(colour, colour)
    means = [e.mean for e in values]
    if filled:
        axes.stairs(means, list(edges), fill=True, color=colour, alpha=0.15, linewidth=0)
    axes.stairs(means, list(edges), color=colour, label=label, linewidth=1.5)
    lo, hi = np.array([e.lo for e in values]), np.array([e.hi for e in values])
    if np.isfinite(lo).all() and np.isfinite(hi).all():
        # On a filled area the band must be told from the tint below it.
        axes.stairs(hi, list(edges), baseline=lo, fill=True, color=colour, alpha=0.3 if filled else 0.18, linewidth=0)


def along_time(axes: Axes, t: Sequence[float], values: Sequence[Estimate], *, colour: str, label: str) -> None:
    """A quantity along time: a line without marks, and a band where the intervals are finite."""
    if len(t) != len(values):
        raise ValueError(f"along_time: expected one value for each time, got {len(t)} and {len(values)}")
    colour = COLOURS.get(colour, colour)
    lo, hi = np.array([e.lo for e in values]), np.array([e.hi for e in values])
    axes.plot(list(t), [e.mean for e in values], color=colour, label=label)
    known = np.isfinite(lo) & np.isfinite(hi)
    axes.fill_between(list(t), lo, hi, where=known.tolist(), color=colour, alpha=0.18, linewidth=0)
