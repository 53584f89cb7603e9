"""A figure as SVG in each theme; equal figures give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THEMES = ("light", "dark")


def draw(name: str, make: Callable[[], Figure]) -> Mapping[str, bytes]:
    """The SVG of a figure by theme.

    Ids are salted with the figure's name and no date is written: a figure drawn again has the same
    bytes.

    Raises:
        TypeError: ``make`` returns something else than a matplotlib Figure.
    """
    return {mode: _svg(name, make, mode) for mode in THEMES}


def _svg(name: str, make: Callable[[], Figure], mode: str) -> bytes:
    import matplotlib

    from gflow.plot import theme

    with theme(mode), matplotlib.rc_context({"svg.hashsalt": f"{name}-{mode}"}):  # type: ignore[arg-type]  # from THEMES
        figure = make()
        if not hasattr(figure, "savefig"):
            raise TypeError(f"figure {name!r}: expected a matplotlib Figure, got {type(figure).__name__}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
