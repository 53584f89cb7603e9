"""Stored rows by case, and what is said of a case over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from gflow.estimate import Estimate
from gflow.study import Record
from studies.density_ratio.config import Case, Config, Kind, cases
from studies.numbers import pooled
from studies.repeats import Repeats, by_case, of_kind

ESTIMATORS = {
    "critic": "critic",
    "kde": "kernel densities",
    "kde-best": "kernel densities at their best bandwidths",
    "ulsif": "uLSIF",
}
OBJECTIVES = {
    "vanilla": "vanilla",
    "least-squares": "least squares",
    "kl": "f-GAN, KL(p‖q)",
    "reverse-kl": "f-GAN, KL(q‖p)",
    "pearson": "f-GAN, χ²(p‖q)",
    "neyman": "f-GAN, χ²(q‖p)",
    "squared-hellinger": "f-GAN, Hellinger²",
    "wasserstein": "Wasserstein",
}
_PENALTIES = {
    "r1": "R1",
    "r2": "R2",
    "spectral": "spectral norm",
    "wgan-gp": "WGAN-GP",
    "zero-centred": "zero-centred on segments",
}
SWEPT: dict[Kind, str] = {"size": "n", "dimension": "dim", "overlap": "shift", "width": "width", "digits": "noise"}
"""The field of a case that its group sweeps."""


class Group(Repeats[Case]):
    """What the repeats of one case say together."""

    @property
    def label(self) -> str:
        """The case in words."""
        case = self.case
        if case.estimator != "critic":
            return ESTIMATORS[case.estimator]
        if case.kind == "width":
            return f"critic of width {case.width}"
        if case.penalty != "none":
            weight = f", weight {case.weight:g}" if case.penalty in ("r1", "r2") else ""
            return f"{_PENALTIES[case.penalty]}{weight}"
        return "vanilla critic" if case.objective == "vanilla" else OBJECTIVES[case.objective]

    @property
    def noun(self) -> str:
        """The case in a sentence."""
        return f"the {self.label}" if self.case.estimator == "critic" else self.label

    def values(self, name: str) -> list[float]:
        """A number of every seed; none where a row does not have it."""
        found = [row.get(name) for row in self.rows]
        return [float(v) for v in found if v is not None] if None not in found else []

    def mean(self, name: str) -> Estimate | None:
        """Geometric mean of a positive number over the seeds, with its interval; None where there is none."""
        values = self.values(name)
        return pooled([Estimate.bound(math.log(max(v, 1e-300))) for v in values]) if values else None

    def average(self, name: str) -> Estimate | None:
        """Arithmetic mean over the seeds, for numbers of either sign."""
        values = self.values(name)
        return pooled([Estimate.exact(v) for v in values]) if values else None


def groups(config: Config, rows: Iterable[Record]) -> list[Group]:
    """The cases of a config that have rows, in the order of the study."""
    return by_case(Group, cases(config), rows)


def named(found: Sequence[Group], name: str) -> Group | None:
    """The case of a name, where it is there."""
    return next((g for g in found if g.case.name == name), None)


def point(g: Group, kind: Kind) -> float:
    """Where a case lies on a sweep."""
    return float(getattr(g.case, SWEPT[kind]))


def sweep(found: Sequence[Group], kind: Kind, estimator: str) -> list[Group]:
    """One estimator along a sweep, the base case among it where it is a point of the sweep."""
    own = [g for g in of_kind(found, kind) if g.case.estimator == estimator]
    if kind in ("size", "width"):
        own += [g for g in of_kind(found, "base") if g.case.estimator == estimator]
    return sorted(own, key=lambda g: point(g, kind))


def planar(found: Sequence[Group]) -> list[Group]:
    """All estimators of one size on the planar mixtures: what they differ in is the method alone."""
    return of_kind(found, "base", "divergence", "penalty", "width")


def ratio(g: Group, other: Group, name: str) -> Estimate | None:
    """A number over the other case's, seed by seed on the same clouds: geometric mean with its interval."""
    mine, its = ({r.seed: float(r.row.get(name) or 0.0) for r in x.records} for x in (g, other))
    logs = [math.log(mine[s] / its[s]) for s in mine if mine[s] > 0 and its.get(s, 0.0) > 0]
    return pooled([Estimate.bound(log) for log in logs]) if logs else None
