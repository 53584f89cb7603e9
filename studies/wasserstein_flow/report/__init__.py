"""The report of the study: a pure function of config, stored rows and arrays. Each part is a module of its own."""

from __future__ import annotations

from collections.abc import Sequence

from gflow.study import Record, Report
from gflow.study.study import Arrays
from studies.drawn import Drawn
from studies.numbers import tied
from studies.wasserstein_flow.config import Config
from studies.wasserstein_flow.report import budget, family, losses, modes, race, rates, stiff, table
from studies.wasserstein_flow.report.rows import groups

_PARTS = (race, rates, losses, modes, budget, family, table, stiff)


def report(config: Config, rows: Sequence[Record], arrays: Arrays) -> Report:
    """The answer, the sections with their tables and figures, and the claims with their verdicts.

    Args:
        config: settings of the run.
        rows: rows that finished; cases and seeds may be missing.
        arrays: saved arrays by key.
    """
    found = groups(config, rows)
    if not found:
        return Report("No row of a known case is there to report on.")
    drawn: dict[str, Drawn] = {}
    for part in _PARTS:
        drawn |= part.figures(found, arrays)
    answer = " ".join(sentence for part in _PARTS if (sentence := part.answer(found)))
    sections = [section for part in _PARTS if (section := part.section(found, drawn))]
    text = "\n\n".join(each.strip() for each in (answer, *sections, CHANGE))
    claims = [claim for part in _PARTS for claim in part.claims(found)]
    return Report(tied(text), {name: figure.make for name, figure in drawn.items()}, claims)


CHANGE = """## What would change our mind

- **On the rates**: one time at which KL lies above its bound from the logarithmic Sobolev constant, or at which its
  slope differs from the dissipation by more than the grid explains.
- **On the budget**: a flow along a wrong velocity whose W2 from the exact flow exceeds the bound of W2B-21.
- **On the table**: a row that converges where the sign of h' or the convexity of f says that it must not, or the other
  way round.
- **On the estimators**: another bandwidth, network or schedule may change their places; the order of cost and error is
  that of these settings, which are printed below.
"""
