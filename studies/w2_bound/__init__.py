"""How far is a sampler's law from the data's, how well do the W2 bounds tell, and which error dominates?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gflow.study import Study
from studies.w2_bound.config import Case, Config, cases, cost, cost_of_training, validate

if TYPE_CHECKING:
    from gflow.study import Context, Record, Report


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat of one case."""
    from studies.w2_bound import cloud, field, mixture, network, tight

    runners = {
        "tight": tight.run,
        "mixture": mixture.run,
        "network": network.run,
        "digits": cloud.run,
        "data": cloud.run,
        "score": cloud.run_score,
        "field": field.run,
    }
    return runners[case.kind](config, case, context)


def prepare(config: Config, context: Context) -> dict[str, Any]:
    """The score networks that the selected cases need."""
    from studies.w2_bound import cloud, network

    kinds = {case.kind for case in cases(config) if case.name in context.selected}
    artifacts: dict[str, Any] = {}
    if "network" in kinds:
        artifacts["mixture"] = network.prepare_mixture(config, context)
    for kind in ("digits", "data"):
        if kind in kinds:
            artifacts[kind] = cloud.prepare(config, context, kind)
    return artifacts


def report(config: Config, rows: Sequence[Record], arrays: Mapping[str, Any]) -> Report:
    """The report, drawn from stored rows alone."""
    from studies.w2_bound.report import report as write

    return write(config, rows, arrays)


def inputs(config: Config) -> dict[str, str]:
    """Digests of the user's files."""
    from studies.w2_bound.user import inputs as digests

    return digests(config)


STUDY: Study[Config, Case] = Study(
    name="w2_bound",
    question="How far is a sampler's law from the data's, how well do the W2 bounds tell, and which error dominates?",
    version=3,
    presets={
        "smoke": Config(
            n=48,
            n_cloud=8,
            eps=(0.05,),
            steps=(20,),
            sde_steps=(32,),
            stops=(0.03,),
            noise=(5.0,),
            train_steps=100,
            width=16,
            floor_repeats=2,
            variation_nodes=5,
        ),
        "default": Config(),
        "paper": Config(
            n=2000,
            n_cloud=400,
            steps=(5, 10, 20, 40, 80, 160),
            stops=(0.003, 0.01, 0.03, 0.1),
            noise=(2.0, 5.0, 10.0),
            sde_steps=(32, 128, 512, 2048),
            train_steps=20000,
            width=128,
            floor_repeats=10,
            variation_nodes=33,
        ),
    },
    seeds={"smoke": "0", "default": "0-4", "paper": "0-9"},
    cases=cases,
    run=run,
    report=report,
    columns=("sampler", "n", "d", "w2", "sampling_floor", "ladder", "kinds", "slack", "budget", "arrays"),
    prepare=prepare,
    validate=validate,
    inputs=inputs,
    estimate=cost,
    estimate_prepare=cost_of_training,
    cost="default: under 4 minutes on 2 cores; paper: hours",
)
