"""How the sizes behind a figure are told."""

from __future__ import annotations

from collections.abc import Sequence

from studies.numbers import count
from studies.w2_bound.report.rows import Group


def sizes(groups: Sequence[Group], marks: str = "") -> str:
    """``n = 400 particles, 10 seeds; bars: 95 % between seeds``; ``marks`` are what shows intervals in the figure."""
    ns, seeds = sorted({g.n for g in groups}), sorted({g.seeds for g in groups})
    n = str(ns[0]) if len(ns) == 1 else f"{ns[0]} to {ns[-1]}"
    repeats = count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    between = f"; {marks}: 95 % between seeds" if seeds[-1] > 1 else "; no interval from one seed"
    return f"n = {n} particles, {repeats}{between if marks else ''}"
