"""Upper bounds of a distance along a sweep, beside the distance itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from gflow.estimate import Estimate
from gflow.plot.axes import ink, intervals, muted, series
from gflow.plot.theme import COLOURS

RUNGS = ("synchronous", "propagator", "pathwise", "local", "global")
"""Rungs of the ladder, sharpest first: the order of legends."""

_OFF_DECADES = 2.5
_STRIP = 0.14  # of the axes' height, kept for what is off the scale


def bound_ladder(
    axes: Axes,
    x: Sequence[float],
    rungs: Mapping[str, Sequence[Estimate]],
    w2: Sequence[Estimate],
    *,
    floor: Sequence[Estimate] | None = None,
) -> None:
    """Rungs as lines with bands, W2 as marks with intervals, the sampling floor dashed; logarithmic.

    A rung that lies more than two and a half decades above all others everywhere is not drawn to
    scale: it gets a strip at the top, with its value written as a power of ten at each ``x``.

    Args:
        axes: where to draw; both of its scales should be set by the caller except the vertical one.
        x: the sweep.
        rungs: estimates along the sweep by name of ``RUNGS``.
        w2: the measured distance along the sweep.
        floor: distance between two independent samples of one law.
    """
    off = off_scale(rungs)
    for name in RUNGS:
        if name in rungs and name not in off:
            series(axes, x, rungs[name], colour=name, label=_name(name))
    intervals(axes, x, w2, colour=ink(), label="exact $W_2$")
    if floor is not None:
        _floor(axes, x, floor)
    axes.set_yscale("log")
    if off:
        _strip(axes, x, off)


def bound_ratios(axes: Axes, x: Sequence[float], ratios: Mapping[str, Sequence[Estimate]]) -> None:
    """Bound over distance along a sweep, logarithmic, with a line at 1; rungs off the scale are left out."""
    off = off_scale(ratios)
    for name in RUNGS:
        if name in ratios and name not in off:
            series(axes, x, ratios[name], colour=name, label=_name(name))
    axes.axhline(1.0, color=ink(), linewidth=0.8)
    axes.set_yscale("log")


def off_scale(rungs: Mapping[str, Sequence[Estimate]]) -> dict[str, Sequence[Estimate]]:
    """The topmost rung, where it leaves the scale of the others."""
    names = [name for name in RUNGS if name in rungs]
    if len(names) < 2:
        return {}
    top = min(log10(e) for e in rungs[names[-1]])
    rest = max(log10(e) for name in names[:-1] for e in rungs[name])
    return {names[-1]: rungs[names[-1]]} if top > rest + _OFF_DECADES else {}


def log10(value: Estimate) -> float:
    """Of the mean, also where it overflows; ``-inf`` for 0."""
    if value.log10 is not None:
        return value.log10
    return math.log10(value.mean) if value.mean > 0 else -math.inf


def power_of_ten(value: float) -> str:
    """``$10^{8.4}$``; whole exponents from 100 on."""
    return f"$10^{{{value:.0f}}}$" if abs(value) >= 100 else f"$10^{{{value:.1f}}}$"


def _name(rung: str) -> str:
    return "global (published)" if rung == "global" else rung


def _floor(axes: Axes, x: Sequence[float], floor: Sequence[Estimate]) -> None:
    label = "sampling floor"
    if len(x) == 1:
        axes.axhline(floor[0].mean, color=muted(), linestyle=(0, (4, 2)), linewidth=1.1, label=label)
    else:
        axes.plot(x, [e.mean for e in floor], color=muted(), linestyle=(0, (4, 2)), linewidth=1.1, label=label)


def _strip(axes: Axes, x: Sequence[float], off: Mapping[str, Sequence[Estimate]]) -> None:
    """A tinted strip at the top of the axes with an arrow and a power of ten for each point."""
    low, high = (math.log10(v) for v in axes.get_ylim())
    axes.set_ylim(10**low, 10 ** (low + (high - low) / (1 - _STRIP - 0.04)))
    place = axes.get_xaxis_transform()
    axes.fill_between([0, 1], 1 - _STRIP, 1, transform=axes.transAxes, color=muted(), alpha=0.12, linewidth=0)
    for name, estimates in off.items():
        colour = COLOURS[name]
        for at, estimate in zip(x, estimates, strict=True):
            text = power_of_ten(log10(estimate))
            axes.text(at, 1 - _STRIP / 2, text, transform=place, color=colour, ha="center", va="center", fontsize=8)
        axes.plot([], [], color=colour, marker="$\\uparrow$", linestyle="none", label=f"{_name(name)}, off the scale")
