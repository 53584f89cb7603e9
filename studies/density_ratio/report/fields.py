"""The figure of the planar fields: log r as shades with its gradient as arrows, the truth and the estimates."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gflow import plot
from gflow.study.study import Arrays
from studies.density_ratio.report.rows import Group
from studies.drawn import Drawn
from studies.repeats import of_kind

_SHADES = 4.0
"""Largest |log r| that is told apart."""
_SPARSE = -5.0
"""log q below which there are too few of the model's points for an arrow to count."""
_EVERY = 3  # grid points between arrows


def draw(found: Sequence[Group], arrays: Arrays) -> Drawn | None:
    """The truth and every estimator of the base case, of its first seed."""
    stored = [(g, arrays[g.rows[0]["arrays"]]) for g in of_kind(found, "base") if g.rows[0].get("arrays") in arrays]
    if not stored:
        return None

    def make() -> Figure:
        figure, axes = plot.panels(1, len(stored) + 1, height=2.35 if len(stored) > 2 else 2.9, sharey=True)
        first = stored[0][1]
        _panel(axes[0], first, "truth", "truth_gradient")
        axes[0].set_title("truth")
        for at, (g, saved) in zip(axes[1:], stored, strict=True):
            _panel(at, saved, "estimate", "gradient")
            at.set_title(g.label if g.case.estimator != "critic" else "critic")
        return figure

    n, seed = stored[0][0].case.n, stored[0][0].records[0].seed
    return Drawn(
        make,
        "log r (blue above 0, orange below, contours at whole numbers) and its gradient where the model has mass, "
        f"from {n} points of either cloud: arrows of one scale in all panels. Seed {seed}.",
    )


def _panel(at: Axes, saved: object, values: str, gradient: str) -> None:
    """One field; arrows only where q has mass."""
    d, v, log_q = (np.asarray(saved[name]) for name in (values, gradient, "log_q"))  # type: ignore[index]  # arrays
    side = round(len(d) ** 0.5)
    half = 3.0
    axis = np.linspace(-half, half, side)
    grid = np.clip(d.reshape(side, side).T, -_SHADES, _SHADES)
    limits = (-half, half, -half, half)
    at.imshow(
        grid, origin="lower", extent=limits, cmap=_diverging(), vmin=-_SHADES, vmax=_SHADES, interpolation="bilinear"
    )
    at.contour(axis, axis, grid, levels=range(-3, 4), colors=[plot.muted()], linewidths=0.5, linestyles="solid")
    _arrows(at, axis, v.reshape(side, side, 2), log_q.reshape(side, side))
    at.set_aspect("equal")
    at.set_xticks([-2, 0, 2])
    at.set_yticks([-2, 0, 2])
    at.grid(visible=False)


def _arrows(at: Axes, axis: NDArray[np.floating], v: NDArray[np.floating], log_q: NDArray[np.floating]) -> None:
    kept = slice(1, None, _EVERY)
    x, y = np.meshgrid(axis[kept], axis[kept], indexing="ij")
    here = log_q[kept, kept] > _SPARSE
    arrows = v[kept, kept][here]
    at.quiver(x[here], y[here], arrows[:, 0], arrows[:, 1], color=plot.ink(), scale=60.0, width=0.007, zorder=4)


def _diverging() -> Colormap:
    """From the palette's orange over the page to its blue."""
    cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    return LinearSegmentedColormap.from_list("log r", [cycle[1], plot.page(), cycle[0]])
