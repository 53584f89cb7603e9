"""Convergence and work-precision diagrams: what is drawn is what was measured, on scales that hold it."""

from __future__ import annotations

import math

import pytest

from gflow import plot
from gflow.estimate import Estimate


def exact(values):
    return [Estimate.exact(v) for v in values]


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_lines_are_the_means_and_errors_of_zero_are_left_out(mode):
    with plot.theme(mode):
        figure, (axes,) = plot.panels()
        plot.convergence(axes, (10, 20, 40), exact((1.0, 0.25, 0.0)), name="heun", label="Heun")
        figure.draw_without_rendering()
    (line,) = axes.lines
    assert list(line.get_xdata()) == [10, 20]
    assert list(line.get_ydata()) == [1.0, 0.25]
    assert axes.get_yscale() == axes.get_xscale() == "log"


def test_ticks_hold_the_steps_of_all_lines_on_the_axes():
    with plot.theme("light"):
        _, (axes,) = plot.panels()
        plot.convergence(axes, (10, 20), exact((1.0, 0.5)), name="euler", label="Euler")
        plot.convergence(axes, (20, 40, 80), exact((1.0, 0.5, 0.25)), name="rk4", label="RK4")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10", "20", "40", "80"]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_reference_slopes_fall_with_their_order_and_stay_inside(order):
    with plot.theme("light"):
        _, (axes,) = plot.panels()
        plot.convergence(axes, (10, 160), exact((1.0, 1e-6)), name="rk4", label="RK4")
        limits = axes.get_xlim(), axes.get_ylim()
        plot.reference_slopes(axes, (order,))
    (x0, x1), (y0, y1) = axes.lines[-1].get_data()
    assert math.log(y1 / y0) / math.log(x1 / x0) == pytest.approx(-order)
    assert (axes.get_xlim(), axes.get_ylim()) == limits
    assert limits[1][0] < y1 < y0 < limits[1][1]


def test_work_precision_is_drawn_against_cost_and_methods_have_colour_and_mark():
    with plot.theme("light"):
        _, (axes,) = plot.panels()
        for name in plot.MARKERS:
            plot.work_precision(axes, (10.0, 100.0), exact((1e-1, 1e-3)), name=name, label=name)
    assert len({line.get_marker() for line in axes.lines}) == len(plot.MARKERS)
    assert set(plot.MARKERS) <= set(plot.COLOURS)
