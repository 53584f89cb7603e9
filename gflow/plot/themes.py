"""Two themes, one palette, and the colour of every quantity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal

import matplotlib
from cycler import cycler

Theme = Literal["light", "dark"]

WIDTH = 7.2
"""Width of a figure in inches: the text column of a report, and of a two-column paper."""

PALETTES: Mapping[Theme, tuple[str, ...]] = MappingProxyType(
    {
        "light": ("#1959B1", "#DB6C05", "#008D5A", "#B8508F", "#683F02", "#678CFB"),
        "dark": ("#4270EC", "#F59A30", "#4FD29C", "#CC3A98", "#94703F", "#B9B4FA"),
    }
)
"""Six colours a theme, in the hues of Okabe and Ito (2008), moved until all pairs stay apart under the
colour-vision deficiencies of Machado et al. (2009) and on the page, with the same hue at a place of both
themes (tests hold all three)."""

PAGES: Mapping[Theme, str] = MappingProxyType({"light": "#ffffff", "dark": "#14171c"})
"""The page a theme is drawn for; figures themselves are transparent."""

_INK: Mapping[Theme, str] = MappingProxyType({"light": "#1d2129", "dark": "#e4e6eb"})
_MUTED: Mapping[Theme, str] = MappingProxyType({"light": "#646b78", "dark": "#9aa1ae"})
_GRID: Mapping[Theme, str] = MappingProxyType({"light": "#e3e5ea", "dark": "#2c313a"})

COLOURS: Mapping[str, str] = MappingProxyType(
    {
        # the ladder of bounds, sharpest first
        "synchronous": "C2",
        "propagator": "C0",
        "pathwise": "C5",
        "local": "C3",
        "global": "C1",
        # the error budget
        "truncation": "C4",
        "initial": "C5",
        "model": "C1",
        "discretization": "C0",
        "monte_carlo": "C3",
        # laws and samplers
        "data": "C0",
        "samples": "C1",
        "ode": "C0",
        "sde": "C1",
        # one-step methods
        "euler": "C1",
        "midpoint": "C3",
        "heun": "C0",
        "bosh3": "C5",
        "rk4": "C2",
        "dopri5": "C4",
        "tsit5": "C4",  # told from dopri5 by its mark
        # forms of the discretization certificate, beside the rungs of the same names
        "rigorous": "C1",
    }
)
"""Colour of a quantity, as a place in the palette of the theme that is drawn.

Places are unique among the rungs, and among the terms of a budget; the two sets share them."""

MARKERS: Mapping[str, str] = MappingProxyType(
    {"euler": "o", "midpoint": "v", "heun": "s", "bosh3": "D", "rk4": "^", "dopri5": "P", "tsit5": "X"}
)
"""Mark of a one-step method, so that lines are told apart without their colour."""


@contextmanager
def theme(name: Theme) -> Iterator[None]:
    """Settings of matplotlib for one theme, undone at the end.

    Build *and* save the figure inside: text and grid take their colours when they are drawn. SVG
    text is stored as outlines, so that it looks the same without the fonts; the background is
    transparent.

    Raises:
        ValueError: another name.
    """
    if name not in PALETTES:
        raise ValueError(f"theme: expected 'light' or 'dark', got {name!r}")
    settings: Any = {**_SHAPE, **_colours(name)}
    with matplotlib.rc_context(settings):
        yield


_SHAPE: Mapping[str, Any] = MappingProxyType(
    {
        "figure.figsize": (WIDTH, WIDTH * 0.55),
        "figure.constrained_layout.use": True,
        "savefig.bbox": "standard",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: equal outlines on every machine
        "mathtext.fontset": "dejavusans",
        "font.size": 8.5,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 8.0,
        "axes.labelsize": 8.5,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "legend.fontsize": 8.0,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "xtick.minor.width": 0.5,
        "ytick.minor.width": 0.5,
        "xtick.major.size": 3.0,
        "ytick.major.size": 3.0,
        "xtick.minor.size": 1.8,
        "ytick.minor.size": 1.8,
        "lines.linewidth": 1.6,
        "lines.markersize": 4.0,
        "scatter.marker": "o",
        "image.cmap": "viridis",
        "svg.fonttype": "path",
        "savefig.dpi": 200,
        "figure.dpi": 200,
    }
)


def _colours(name: Theme) -> dict[str, Any]:
    ink, muted = _INK[name], _MUTED[name]
    return {
        "axes.prop_cycle": cycler(color=PALETTES[name]),
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.edgecolor": muted,
        "xtick.color": muted,
        "ytick.color": muted,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "grid.color": _GRID[name],
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "savefig.edgecolor": "none",
        "legend.labelcolor": ink,
        "patch.edgecolor": ink,
        "hatch.color": muted,
        "boxplot.medianprops.color": ink,
    }
