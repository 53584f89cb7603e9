"""The figures of the field draw what they are given, where it belongs."""

import io
import math

import numpy as np
import pytest

from gflow import plot
from gflow.estimate import Estimate
from gflow.plot.ladder import off_scale

X = [0.01, 0.1]


def some(*values, wide=0.1):
    return [Estimate(v, v * (1 - wide), v * (1 + wide), 10, 0.95) for v in values]


def saved(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()


@pytest.fixture(params=["light", "dark"])
def axes(request):
    with plot.theme(request.param):
        figure, (one,) = plot.panels()
        yield one
        plot.grouped_legend(figure)
        assert b"nan" not in saved(figure).split(b"base64")[0].lower()


def test_only_points_far_above_the_other_rungs_leave_the_scale():
    rungs = {"local": some(1.0, 2.0), "global": [Estimate.bound(math.log(10.0)), Estimate.bound(900.0)]}
    assert list(off_scale(rungs)) == [1]
    assert off_scale({"global": some(1e9)}) == {}


def test_a_bound_off_the_scale_is_written_as_a_power_and_does_not_stretch_the_axis(axes):
    rungs = {"pathwise": some(0.2, 0.4), "global": [Estimate.bound(20.0), Estimate.bound(2000.0)]}
    plot.bound_ladder(axes, X, rungs, some(0.1, 0.2), floor=some(0.3, 0.3))
    assert axes.get_ylim()[1] < 10
    assert [text.get_text() for text in axes.texts] == ["$10^{8.7}$", "$10^{869}$"]
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["pathwise", "global (published)", "exact $W_2$", "sampling floor"]


def test_one_point_of_a_sweep_keeps_its_interval_and_its_floor(axes):
    plot.bound_ladder(axes, [0.05], {"pathwise": some(0.2)}, some(0.1), floor=some(0.3))
    drawn = [segment for bars in axes.collections for segment in bars.get_paths()]
    assert any(np.allclose(path.vertices[:, 1], [0.18, 0.22]) for path in drawn if len(path.vertices) == 2)


def arrows(axes):
    return [(text.xy, text.xyann) for text in axes.texts if getattr(text, "arrow_patch", None) is not None]


def test_an_interval_that_leaves_the_axes_ends_in_an_arrow(axes):
    to_zero, inside = Estimate(0.5, 0.0, 0.7, 5, 0.95), Estimate(0.5, 0.4, 0.7, 5, 0.95)
    plot.intervals(axes, X, [to_zero, inside], colour="C0")
    assert arrows(axes) == []  # 0 lies on a linear axis
    axes.set_yscale("log")
    plot.intervals(axes, X, [to_zero, inside], colour="C0")
    assert arrows(axes) == [((0.01, 0.0), (0.01, 0.5))]
    plot.intervals(axes, [3.0], [inside], colour="C0", horizontal=True, up_to=0.6)
    assert arrows(axes)[1:] == [((1.0, 3.0), (0.5, 3.0))]


def test_ratios_have_a_line_at_one(axes):
    plot.bound_ratios(axes, X, {"synchronous": some(1.1, 1.2), "global": some(1e7, 1e8)})
    assert any(list(line.get_ydata()) == [1.0, 1.0] for line in axes.lines)


def test_terms_of_a_budget_are_stacked_in_order_and_missing_ones_take_no_room(axes):
    budgets = [{"initial": some(1.0)[0], "model": some(2.0)[0]}, {"model": some(3.0)[0]}]
    plot.budget_bars(axes, ["a", "b"], budgets, some(0.5, 0.6), some(0.2, 0.2))
    spans = {(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches}
    assert spans == {(0, 1.0), (1.0, 3.0), (0, 3.0)}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b"]


def test_an_interval_of_a_sum_never_stretches_the_bars(axes):
    sums = [Estimate(3.0, 1.0, 40.0, 5, 0.95), Estimate(3.0, 2.9, 3.1, 5, 0.95)]
    plot.budget_bars(axes, ["a", "b"], [{"model": sums[0]}, {"model": sums[1]}], some(0.5, 0.6), sums=sums)
    assert axes.get_xlim() == (0, pytest.approx(3.12))
    assert arrows(axes) == [((1.0, 0), (3.0, 0))]


def test_a_density_keeps_its_bins_and_a_curve_its_times(axes):
    plot.density(axes, [1.0, 0.5, 0.25], some(2.0, 4.0), colour="model", label="entering")
    plot.along_time(axes, [1.0, 0.5, 0.25], some(0.0, 1.0, 2.0), colour="C0", label="distance")
    assert list(axes.patches[0].get_data().values) == [2.0, 4.0]
    assert list(axes.lines[0].get_xdata()) == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("filled", [False, True])
def test_a_density_shows_its_interval_filled_or_not(axes, filled):
    plot.density(axes, [1.0, 0.5, 0.25], some(2.0, 4.0), colour="model", label="entering", filled=filled)
    band = axes.patches[-1].get_data()
    assert np.allclose((band.values, band.baseline), ([2.2, 4.4], [1.8, 3.6]))


def test_particles_keep_equal_aspect_and_the_limits_that_are_given(axes):
    cloud = np.random.default_rng(0).normal(size=(50, 2))
    plot.particles(axes, {"p": cloud, "q": cloud + 1}, colours={"p": "data", "q": "samples"}, half_width=2.0)
    assert axes.get_aspect() == 1.0
    assert axes.get_xlim() == (-2.0, 2.0)
    assert len(axes.collections) == 2


def test_images_lie_in_their_rows_with_gaps_between_them(axes):
    images = np.arange(8, dtype=float).reshape(2, 4) / 8
    plot.image_grid(axes, {"one": images, "two": images[:1]}, columns=2, shape=(2, 2))
    canvas = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    assert canvas.shape == (5, 5)
    assert np.array_equal(canvas[:2, 3:], images[1].reshape(2, 2))
    assert np.isnan(canvas[2]).all()
    assert np.isnan(canvas[3:, 3:]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: plot.series(a, [1.0], some(1.0, 2.0), colour="C0", label=""),
            "one estimate for each x, got 1 and 2",
        ),
        (lambda a: plot.intervals(a, [1.0], [], colour="C0"), "one estimate for each x, got 1 and 0"),
        (lambda a: plot.density(a, [0.0, 1.0], some(1.0, 2.0), colour="C0", label=""), "one edge more"),
        (lambda a: plot.along_time(a, [0.0], [], colour="C0", label=""), "one value for each time"),
        (lambda a: plot.budget_bars(a, ["a"], [], []), "as many labels"),
        (
            lambda a: plot.image_grid(a, {"x": np.zeros((2, 5))}, columns=1, shape=(2, 2)),
            r"rows\['x'\]: expected images",
        ),
        (
            lambda a: plot.particles(a, {"x": np.zeros((2, 3))}, colours={"x": "C0"}, half_width=1.0),
            r"clouds\['x'\]: expected points \(n, 2\)",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(call, message):
    with plot.theme("light"):
        _, (one,) = plot.panels()
        with pytest.raises(ValueError, match=message):
            call(one)
