"""How well does a critic recover a log-ratio and its gradient, and which critic should one use when?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gflow.study import Study
from studies.density_ratio.config import Case, Config, cases, cost, validate

if TYPE_CHECKING:
    from gflow.study import Context, Record, Report


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat of one case."""
    from studies.density_ratio import experiment

    return experiment.run(config, case, context)


def report(config: Config, rows: Sequence[Record], arrays: Mapping[str, Any]) -> Report:
    """The report, drawn from stored rows alone."""
    from studies.density_ratio.report import report as write

    return write(config, rows, arrays)


STUDY: Study[Config, Case] = Study(
    name="density_ratio",
    question="How well does a critic recover a log-ratio and its gradient, and which critic should one use when?",
    version=1,
    presets={
        "smoke": Config(
            n=200,
            sizes=(100, 400),
            dims=(1, 8),
            shifts=(1.0, 8.0),
            weights=(1.0,),
            widths=(8,),
            noises=(0.4,),
            n_digits=200,
            width=16,
            steps=100,
            queries=200,
        ),
        "default": Config(),
        "paper": Config(
            sizes=(250, 500, 1000, 4000, 8000, 16000, 32000),
            shifts=(0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0),
            weights=(0.001, 0.01, 0.1, 1.0, 10.0),
            widths=(16, 32, 128, 256),
            noises=(0.2, 0.4, 0.8, 1.6),
            n_digits=16000,
            steps=6000,
            queries=10000,
        ),
    },
    seeds={"smoke": "0", "default": "0-4", "paper": "0-9"},
    dtype="float32",
    columns=("size", "length", "cosine", "undefined", "lipschitz"),
    cases=cases,
    run=run,
    report=report,
    validate=validate,
    estimate=cost,
    cost="default: about 5 minutes on 2 cores; paper: hours",
)
