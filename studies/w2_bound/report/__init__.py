"""The report of the study: a pure function of config, stored rows and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gflow.study import Record, Report
from gflow.study.study import Arrays
from studies.numbers import tied
from studies.w2_bound.config import Config
from studies.w2_bound.report import figures, tables
from studies.w2_bound.report.answer import answer
from studies.w2_bound.report.claims import claims
from studies.w2_bound.report.rows import groups
from studies.w2_bound.report.sections import failed, sections


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
    decided = [replace(claim, text=tied(claim.text), detail=tied(claim.detail)) for claim in claims(found)]
    parts = [
        answer(found),
        tables.ladder(found, drawn),
        *sections(found, drawn),
        failed(found, decided),
        CHANGE,
    ]
    text = tied("\n\n".join(part.strip() for part in parts if part))
    return Report(text + references(text), {n: f.make for n, f in drawn.items()}, decided)


def references(text: str) -> str:
    """The entries of the works that a text names."""
    cited = [entry for name, entry in REFERENCES.items() if name in text]
    return "\n\n## References\n\n" + "\n".join(f"- {entry}" for entry in cited) if cited else ""


REFERENCES = {
    "Kwon": "Kwon, Fan and Lee (2022). *Score-Based Generative Modeling Secretly Minimizes the Wasserstein Distance*. "
    "NeurIPS.",
    "Yoon": "Yoon, Choi, Kwon and Ryu (2023). *Diffusion Probabilistic Models Generalize when They Fail to Memorize*. "
    "ICML, workshop on Structured Probabilistic Inference and Generative Modeling.",
}

CHANGE = """## What would change our mind

- **On the bounds**: one row in which a rung above `synchronous` falls below the dual $W_2$ of its own two clouds would
  refute the implementation, not the sampler; the claims below look for it in every row.
- **On their sharpness**: the ratios are about these fields. A field whose pairs cross steep midplanes for long makes
  `pathwise` lose what `propagator` keeps; a larger score error moves both.
- **On which error dominates**: the budget adds upper bounds, so a large term may be a loose one. More steps, a later
  schedule or fresh clouds of another size change single terms, and the sweeps show by how much.
- **On memorization**: more training, another network or a larger cloud may close the gap between network and exact
  score, and with it the distance to copying.
"""
