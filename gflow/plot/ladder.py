"""Upper bounds of a distance along a sweep, beside the distance itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from gflow.estimate import Estimate
from gflow.plot.axes import ink, intervals, muted, series
from gflow.plot.themes import COLOURS

RUNGS = ("synchronous", "propagator", "pathwise", "local", "global")
"""Rungs of the ladder, sharpest first: the order of legends."""

_ROOM = 1.2  # decades above the other rungs in which the topmost one is drawn to scale


def bound_ladder(
    axes: Axes,
    x: Sequence[float],
    rungs: Mapping[str, Sequence[Estimate]],
    w2: Sequence[Estimate],
    *,
    floor: Sequence[Estimate] | None = None,
) -> None:
    """Rungs as lines with bands, W2 as marks with intervals, the sampling floor dashed; logarithmic.

    Where the topmost rung lies more than a decade above all others it is not drawn to scale: it gets
    a tinted strip at the top, with its value written as a power of ten at each such ``x``.

    Args:
        axes: where to draw; the vertical scale is set here, the horizontal one by the caller.
        x: the sweep.
        rungs: estimates along the sweep by name of ``RUNGS``.
        w2: the measured distance along the sweep.
        floor: distance between two independent samples of one law.
    """
    off = _lines(axes, x, rungs)
    intervals(axes, x, w2, colour=ink(), label="exact $W_2$", markerfacecolor="none", markersize=6.0)
    if floor is not None:
        style = {"color": muted(), "linestyle": (0, (4, 2)), "linewidth": 1.1, "label": "sampling floor"}
        if len(x) == 1:
            axes.axhline(floor[0].mean, **style)  # type: ignore[arg-type]  # a style
        else:
            axes.plot(x, [e.mean for e in floor], **style)  # type: ignore[arg-type]  # a style
    if off:
        _strip(axes, x, off, share=0.12)


def bound_ratios(axes: Axes, x: Sequence[float], ratios: Mapping[str, Sequence[Estimate]]) -> None:
    """Bound over distance along a sweep, logarithmic, with a line at 1 and the same strip as the ladder."""
    off = _lines(axes, x, ratios)
    axes.axhline(1.0, color=ink(), linewidth=0.8)
    if off:
        _strip(axes, x, off, share=0.2)


def off_scale(rungs: Mapping[str, Sequence[Estimate]]) -> dict[int, Estimate]:
    """Points of the topmost rung that leave the scale of the others, by place in the sweep."""
    names = [name for name in RUNGS if name in rungs]
    if len(names) < 2:
        return {}
    rest = max(log10(e) for name in names[:-1] for e in rungs[name])
    return {k: e for k, e in enumerate(rungs[names[-1]]) if log10(e) > rest + _ROOM}


def log10(value: Estimate) -> float:
    """Of the mean, also where it overflows; ``-inf`` for 0."""
    if value.log10 is not None:
        return value.log10
    return math.log10(value.mean) if value.mean > 0 else -math.inf


def power_of_ten(value: float) -> str:
    """``$10^{8.4}$``; whole exponents from 100 on."""
    return f"$10^{{{value:.0f}}}$" if abs(value) >= 100 else f"$10^{{{value:.1f}}}$"


def _lines(axes: Axes, x: Sequence[float], rungs: Mapping[str, Sequence[Estimate]]) -> dict[int, Estimate]:
    """Draw the rungs as far as they are on the scale; what is off it comes back."""
    axes.set_yscale("log")
    off, names = off_scale(rungs), [name for name in RUNGS if name in rungs]
    for name in names:
        kept = [k for k in range(len(x)) if not (name == names[-1] and k in off)]
        label = "global (published)" if name == "global" else name
        series(axes, [x[k] for k in kept], [rungs[name][k] for k in kept], colour=name, label=label)
    return off


def _strip(axes: Axes, x: Sequence[float], off: Mapping[int, Estimate], *, share: float) -> None:
    """A strip in the tint of ``global`` at the top of the axes, a power of ten at each point that is off the scale."""
    low, high = (math.log10(v) for v in axes.get_ylim())
    axes.set_ylim(10**low, 10 ** (low + (high - low) / (1 - share - 0.03)))
    tint = COLOURS["global"]
    strip = Rectangle((0, 1 - share), 1, share, transform=axes.transAxes, color=tint, alpha=0.16, linewidth=0)
    axes.add_artist(strip)
    axes.yaxis.get_major_locator().set_params(numticks=7)  # type: ignore[call-arg]  # a LogLocator
    place = axes.get_xaxis_transform()
    for k, estimate in off.items():
        text = power_of_ten(log10(estimate))
        style = {"color": ink(), "ha": "center", "va": "center", "fontsize": 8.0}
        axes.text(x[k], 1 - share / 2, text, transform=place, **style)  # type: ignore[arg-type]  # a style
