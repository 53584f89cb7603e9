"""The figures of the field, in two themes and one palette. Computes nothing, knows no study.

Figures are built inside ``theme`` and from ``panels``, never from pyplot: nothing global is left
behind. Colours are named by what they mean (``COLOURS``), so that a quantity keeps its hue from figure
to figure and from theme to theme; rungs of the ladder and terms of a budget share the hues, so a panel
shows one of the two sets. The functions draw numbers that are there: estimates with their intervals,
clouds, images.
"""

from gflow.plot.axes import grouped_legend, ink, intervals, muted, page, panels, series, ticks_at
from gflow.plot.budget import budget_bars
from gflow.plot.clouds import image_grid, particles
from gflow.plot.errors import convergence, reference_slopes, work_precision
from gflow.plot.ladder import RUNGS, bound_ladder, bound_ratios
from gflow.plot.profile import along_time, density
from gflow.plot.themes import COLOURS, MARKERS, PAGES, PALETTES, WIDTH, Theme, theme

__all__ = [
    "COLOURS",
    "MARKERS",
    "PAGES",
    "PALETTES",
    "RUNGS",
    "WIDTH",
    "Theme",
    "along_time",
    "bound_ladder",
    "bound_ratios",
    "budget_bars",
    "convergence",
    "density",
    "grouped_legend",
    "image_grid",
    "ink",
    "intervals",
    "muted",
    "page",
    "panels",
    "particles",
    "reference_slopes",
    "series",
    "theme",
    "ticks_at",
    "work_precision",
]
