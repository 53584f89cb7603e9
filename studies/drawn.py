"""A figure of a report with what it shows, shared by the studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawn:
    """A function that draws, and the caption that states the finding."""

    make: Callable[[], Figure]
    caption: str


def placed(drawn: Mapping[str, Drawn], *names: str) -> str:
    """The figures of some names as Markdown; those that are not drawn are left out."""
    return "\n\n".join(f"![{drawn[name].caption}](figure:{name})" for name in names if name in drawn)
