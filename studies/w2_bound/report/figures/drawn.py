"""A figure with what it shows, and how the sizes behind it are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from studies.w2_bound.report.numbers import count
from studies.w2_bound.report.rows import Group


@dataclass(frozen=True)
class Drawn:
    """A function that draws, and the caption that states the finding."""

    make: Callable[[], Figure]
    caption: str


def placed(drawn: Mapping[str, Drawn], *names: str) -> str:
    """The figures of some names as Markdown; those that are not drawn are left out."""
    return "\n\n".join(f"![{drawn[name].caption}](figure:{name})" for name in names if name in drawn)


def sizes(groups: Sequence[Group], marks: str = "") -> str:
    """``n = 400 particles, 10 seeds; bars: 95 % between seeds``; ``marks`` are what shows intervals in the figure."""
    ns, seeds = sorted({g.n for g in groups}), sorted({g.seeds for g in groups})
    n = str(ns[0]) if len(ns) == 1 else f"{ns[0]} to {ns[-1]}"
    repeats = count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    between = f"; {marks}: 95 % between seeds" if seeds[-1] > 1 else "; no interval from one seed"
    return f"n = {n} particles, {repeats}{between if marks else ''}"
