"""The report of the study: a pure function of config, stored rows and arrays."""

from __future__ import annotations

from collections.abc import Sequence

from gflow.study import Record, Report
from gflow.study.study import Arrays
from studies.discretization.config import Config
from studies.discretization.report import figures
from studies.discretization.report.answer import answer, sections
from studies.discretization.report.claims import claims
from studies.discretization.report.rows import groups


def report(config: Config, rows: Sequence[Record], arrays: Arrays) -> Report:
    """The answer, the tables, the figures with what they show, and the claims with their verdicts.

    Args:
        config: settings of the run.
        rows: rows that finished; cases and seeds may be missing.
        arrays: saved arrays by key.
    """
    found = groups(config, rows)
    if not found:
        return Report("No row of a known case is there to report on.")
    drawn = figures.draw(found, arrays)
    parts = [answer(found), *sections(found, drawn), CHANGE]
    text = "\n\n".join(part.strip() for part in parts if part)
    return Report(text, {name: figure.make for name, figure in drawn.items()}, claims(found))


CHANGE = """## What would change our mind

- **On the orders**: an interval that excludes the nominal order on a smooth field, at steps where the estimator calls
  the order confirmed for another scheme, would refute the implementation.
- **On the published schemes**: they are measured as their public code writes them, on a smooth game; a version that
  moves the opponent with the stages keeps its order.
- **On the certificate**: one row in which the rigorous form lies below the dual W2 would refute it. The other two forms
  claim nothing beyond first order in the error.
"""
