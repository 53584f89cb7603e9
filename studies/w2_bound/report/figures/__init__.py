"""The figures of the report: which are drawn, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gflow.study.study import Arrays
from studies.drawn import Drawn
from studies.w2_bound.report.figures import bounds, budget, clouds, networks, time
from studies.w2_bound.report.rows import Group


def draw(found: Sequence[Group], arrays: Arrays) -> Mapping[str, Drawn]:
    """The figures whose cases are there, by name; what is missing is left out."""
    made = {
        "ladder": bounds.ladder(found),
        "ladder_sweeps": bounds.sweeps(found),
        "budget": budget.budget(found),
        "where": time.where(found, arrays),
        "samples": clouds.samples(found, arrays),
        "digits": clouds.digits(found, arrays),
        "network": networks.network(found),
        "sign": time.sign(found),
    }
    return {name: drawn for name, drawn in made.items() if drawn is not None}
