"""Points of laws: clouds in the plane, and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from numpy.typing import NDArray

from gflow.plot.themes import COLOURS

MOST_POINTS = 2000
"""Points of a cloud that are drawn; the first ones."""


def particles(
    axes: Axes,
    clouds: Mapping[str, NDArray[np.floating]],
    *,
    colours: Mapping[str, str],
    half_width: float,
    centre: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Clouds (n, 2) over each other, with equal aspect and fixed limits; the points are stored as pixels.

    Args:
        axes: where to draw.
        clouds: points by name, drawn in this order.
        colours: names of ``COLOURS`` or colours of matplotlib, by the same names.
        half_width: of the square that is shown; equal in panels that are compared.
        centre: of the square.
    """
    for name, points in clouds.items():
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"clouds[{name!r}]: expected points (n, 2), got {points.shape}")
        shown = points[:MOST_POINTS]
        colour = COLOURS.get(colours[name], colours[name])
        size = 2.5 if len(shown) > 500 else 5.0
        axes.scatter(shown[:, 0], shown[:, 1], s=size, color=colour, alpha=0.6, linewidths=0, rasterized=True)
        axes.plot([], [], "o", color=colour, markersize=4, label=name)
    axes.set_aspect("equal")
    axes.set_xlim(centre[0] - half_width, centre[0] + half_width)
    axes.set_ylim(centre[1] - half_width, centre[1] + half_width)


def image_grid(axes: Axes, rows: Mapping[str, NDArray[np.floating]], *, columns: int, shape: tuple[int, int]) -> None:
    """Images as one picture: a labelled row for each entry, in shades from the page to the ink; [0, 1] is shown.

    Args:
        axes: where to draw; its ticks become the labels of the rows.
        rows: flattened images (n, h w) by label; the first ``columns`` are shown.
        columns: images a row.
        shape: (h, w) of an image.

    Raises:
        ValueError: images of another size than ``shape``.
    """
    height, width = shape
    canvas = np.full((len(rows) * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for k, (name, images) in enumerate(rows.items()):
        if images.ndim != 2 or images.shape[1] != height * width:
            raise ValueError(f"rows[{name!r}]: expected images (n, {height * width}), got {images.shape}")
        for j, image in enumerate(images[:columns]):
            top, left = k * (height + 1), j * (width + 1)
            canvas[top : top + height, left : left + width] = image.reshape(shape)
    axes.imshow(np.clip(canvas, 0.0, 1.0), cmap=_shades(), vmin=0, vmax=1, interpolation="nearest")
    middles: Sequence[float] = [k * (height + 1) + (height - 1) / 2 for k in range(len(rows))]
    axes.set_yticks(middles, list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _shades() -> Colormap:
    """From a tint of the page to the ink; gaps stay transparent."""
    shades = LinearSegmentedColormap.from_list(
        "ink", [matplotlib.rcParams["grid.color"], matplotlib.rcParams["text.color"]]
    )
    return shades.with_extremes(bad=(0, 0, 0, 0))
