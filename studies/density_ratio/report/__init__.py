"""The report of the study: a pure function of config, stored rows and arrays."""

from __future__ import annotations

from collections.abc import Sequence

from gflow.study import Record, Report
from gflow.study.study import Arrays
from studies.density_ratio.config import Config
from studies.density_ratio.report import figures
from studies.density_ratio.report.answer import answer, sections
from studies.density_ratio.report.claims import claims
from studies.density_ratio.report.rows import groups


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

- **On risk and gradient**: an estimator-independent constant between excess risk and gradient error on these problems,
  over all seeds, would make stopping by risk enough. RATIO-6 says that there is none without smoothness.
- **On penalties**: they are judged by log r here, where they only bias. In training they serve the stability of the
  game, which is not measured on this page.
- **On dimension**: the critics are plain networks with one stopping rule and a fixed number of points. An architecture
  that knows the problem, or points that grow with d, moves the dimension from which nothing is learned.
- **On vanishing gradients**: an exact critic whose gradient fell with m would refute RATIO-7; a trained one that keeps
  the gradient at m = 8 without knowing that both laws are normal would refute what is said of samples.
"""
