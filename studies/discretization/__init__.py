"""How large is the error of an integrator's steps, of which order, and can it be certified in W2?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gflow.study import Study
from studies.discretization.config import Case, Config, cases, cost, cost_of_training, validate

if TYPE_CHECKING:
    from gflow.study import Context, Record, Report


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat of one case."""
    from studies.discretization import clocks, flows, games, training

    runners = {
        "flow": flows.run,
        "critic": training.run,
        "lag": training.run_lag,
        "game": games.run,
        "rule": clocks.run_rule,
        "minibatch": clocks.run_minibatch,
    }
    return runners[case.kind](config, case, context)


def prepare(config: Config, context: Context) -> dict[str, Any]:
    """The score network of the digits, where a selected case needs it."""
    from studies.discretization import digits

    if not any(name.startswith("digits/") for name in context.selected):
        return {}
    return {"digits": digits.prepare(config, context)}


def report(config: Config, rows: Sequence[Record], arrays: Mapping[str, Any]) -> Report:
    """The report, drawn from stored rows alone."""
    from studies.discretization.report import report as write

    return write(config, rows, arrays)


STUDY: Study[Config, Case] = Study(
    name="discretization",
    question="How large is the error of an integrator's steps, of which order, and can it be certified in W2?",
    version=2,
    presets={
        "smoke": Config(
            n=20,
            steps=(12, 24, 48, 96, 192),
            certified_up_to=48,
            tolerances=(1e-3,),
            targets=(1e-1,),
            kappas=(10.0, 20.0, 40.0, 80.0, 160.0),
            n_digits=4,
            digits_steps=(8, 16, 32, 64, 128),
            train_steps=60,
            width=16,
        ),
        "default": Config(),
        "paper": Config(n=1000, n_digits=128, train_steps=20000, width=128, streams=1024),
    },
    seeds={"smoke": "0", "default": "0-2", "paper": "0-9"},
    cases=cases,
    run=run,
    report=report,
    prepare=prepare,
    validate=validate,
    estimate=cost,
    estimate_prepare=cost_of_training,
    cost="default: about 9 minutes on 2 cores; paper: hours",
)
