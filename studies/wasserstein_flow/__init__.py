"""How fast do Wasserstein gradient flows reach the data, and where does the error of an estimated one come from?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gflow.study import Study
from studies.wasserstein_flow.config import Case, Config, cases, cost, validate

if TYPE_CHECKING:
    from gflow.study import Context, Record, Report


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat of one case."""
    from studies.wasserstein_flow import budget, family, race, rates, stiff, table

    runners = {
        "decay": rates.run,
        "modes": rates.run_modes,
        "budget": budget.run,
        "family": family.run,
        "table": table.run,
        "race": race.run,
        "stiff": stiff.run,
    }
    return runners[case.kind](config, case, context)


def report(config: Config, rows: Sequence[Record], arrays: Mapping[str, Any]) -> Report:
    """The report, drawn from stored rows alone."""
    from studies.wasserstein_flow.report import report as write

    return write(config, rows, arrays)


STUDY: Study[Config, Case] = Study(
    name="wasserstein_flow",
    question="How fast do Wasserstein gradient flows reach the data, and where does the error of an estimated one come "
    "from?",
    version=1,
    presets={
        "smoke": Config(n=60, probes=24, steps=8, cells=120, critic_steps=40, table_share=0.02),
        "default": Config(),
        "paper": Config(n=1000, probes=400, steps=160, cells=800, critic_steps=400, table_seeds=2),
    },
    seeds={"smoke": "0", "default": "0-2", "paper": "0-9"},
    cases=cases,
    run=run,
    report=report,
    validate=validate,
    estimate=cost,
    cost="default: about 12 minutes on 2 cores; paper: hours",
)
