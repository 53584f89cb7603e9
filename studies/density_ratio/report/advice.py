"""Which estimator to use when, as far as the rows at hand say."""

from __future__ import annotations

from collections.abc import Sequence

from gflow.study import table
from studies.density_ratio.report.rows import ESTIMATORS, Group, named, point, sweep
from studies.numbers import listed, percent
from studies.repeats import of_kind

USABLE, USELESS = 0.5, 0.9
"""Relative gradient errors up to which a gradient is worth following, and from which it is not."""
Row = tuple[str, str, str]


def advice(found: Sequence[Group]) -> str:
    """A row for each situation whose cases are there."""
    made = (_points(found), _objective(found), _penalty(found), _dimension(found), _overlap(found), _direction(found))
    rows = [row for row in made if row is not None]
    return f"## Which to use when\n\n{table(('where', 'use', 'because'), rows)}" if rows else ""


def _points(found: Sequence[Group]) -> Row | None:
    """All estimators at the fewest and at the most points; the one that the truth tunes is for nobody to use."""
    usable = [g for e in ("critic", "kde", "ulsif") for g in sweep(found, "size", e)]
    sizes = sorted({point(g, "size") for g in usable})
    if len(sizes) < 2:
        return None
    ends = [sorted((g for g in usable if point(g, "size") == n), key=_relative) for n in (sizes[0], sizes[-1])]
    best = [("a " if g.case.estimator == "critic" else "") + ESTIMATORS[g.case.estimator] for g, *_ in ends]
    use = best[0] if best[0] == best[1] else f"{best[0]} where points are few, else {best[1]}"
    shown = [
        f"{listed([f'{ESTIMATORS[g.case.estimator]} {_error(g)}' for g in end])} from {end[0].case.n} points"
        for end in ends
    ]
    return "few dimensions, laws that overlap", use, f"error of the gradient: {'; '.join(shown)}"


def _objective(found: Sequence[Group]) -> Row | None:
    base, others = named(found, "base/critic"), of_kind(found, "divergence")
    best, worst = _best(others), _best(others, worst=True)
    if base is None or best is None or worst is None:
        return None
    shown = f"error {_error(base)}; the others {_error(best)} ({best.label}) to {_error(worst)} ({worst.label})"
    winner = base if _relative(base) <= _relative(best) else best
    use = "the vanilla objective" if winner is base else winner.label
    return "choice of the objective", use, shown


def _penalty(found: Sequence[Group]) -> Row | None:
    base = named(found, "base/critic")
    penalised = [g for g in of_kind(found, "penalty") if g.case.penalty in ("r1", "r2")]
    best, worst = _best(penalised), _best(penalised, worst=True)
    if base is None or best is None or worst is None:
        return None
    use = "none" if _relative(base) <= _relative(best) else best.label
    shown = f"error {_error(base)} without; {_error(best)} ({best.label}) to {_error(worst)} ({worst.label})"
    return "choice of the penalty, for log r", use, shown


def _dimension(found: Sequence[Group]) -> Row | None:
    critics = [(point(g, "dimension"), g) for g in sweep(found, "dimension", "critic")]
    good = [d for d, g in critics if _relative(g) <= USABLE]
    lost = [d for d, g in critics if _relative(g) >= USELESS]
    if not critics or not good:
        return None
    end = f"; worth nothing from d = {lost[0]:g}" if lost else ""
    d, last = critics[-1]
    return (
        "more dimensions",
        f"a critic up to d = {good[-1]:g} or so{end}: more points, or what is known of the problem",
        f"error at most {percent(USABLE)} up to there and {_error(last)} at d = {d:g}, from {last.case.n} points",
    )


def _overlap(found: Sequence[Group]) -> Row | None:
    critics = [(point(g, "overlap"), g) for g in sweep(found, "overlap", "critic")]
    good = [m for m, g in critics if _relative(g) <= USABLE]
    if not good or len(good) == len(critics):
        return None
    m, far = critics[-1]
    return (
        "laws that hardly meet",
        "noise on both, or steps that keep them close",
        f"the critic's error is at most {percent(USABLE)} up to m = {good[-1]:g} and {_error(far)} at m = {m:g}",
    )


def _direction(found: Sequence[Group]) -> Row | None:
    others = [g for g in of_kind(found, "penalty") if g.case.objective == "wasserstein"]
    shown = [f"{g.label} {c.mean:.2f}" for g in others if (c := g.average("cosine")) is not None]
    if not shown:
        return None
    return "the flow of a divergence", "no Wasserstein critic", f"cosine with ∇ log r: {listed(shown)}"


def _best(groups: Sequence[Group], *, worst: bool = False) -> Group | None:
    """The least, or the largest, gradient error."""
    known = sorted((g for g in groups if g.mean("relative") is not None), key=_relative)
    return known[-1 if worst else 0] if known else None


def _relative(g: Group) -> float:
    found = g.mean("relative")
    assert found is not None
    return found.mean


def _error(g: Group) -> str:
    return percent(_relative(g))
