"""MonoFlow's table: a row at its published draws, and over independent seeds."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from studies.wasserstein_flow.config import Case, Config
from studies.wasserstein_flow.monoflow import Row, predicted, row_named
from studies.wasserstein_flow.monoflow_critic import CriticSettings, critic_row
from studies.wasserstein_flow.monoflow_exact import exact_row, published_generator
from studies.wasserstein_flow.monoflow_model import Models

if TYPE_CHECKING:
    from gflow.study import Context

_PUBLISHED_SEED = 0
"""The seed of the study whose rows also repeat the published run, which has one seed of its own."""


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: the row over as many seeds as one batch has."""
    row = _shortened(row_named(case.problem), config.table_share)
    first = context.seed_for("table") >> 1
    generators = [torch.Generator("cpu").manual_seed(first + k) for k in range(config.table_seeds)]
    if row.ratio == "critic":
        settings = CriticSettings()
        steps = max(1, round(config.table_share * settings.steps))
        models = critic_row(row, generators, dataclasses.replace(settings, steps=steps), device=context.device)
    else:
        models = exact_row(row, generators, device=context.device)
    return {
        "predicted": predicted(row),
        "w2": models.w2().tolist(),
        "published": _published(row) if _repeats(row, config, context) else None,
    }


def _repeats(row: Row, config: Config, context: Context) -> bool:
    return row.ratio != "critic" and context.seed == _PUBLISHED_SEED and config.table_share == 1.0


def _published(row: Row) -> dict[str, Any]:
    """The run at the published draws, which are those of the CPU."""
    found: Models = exact_row(row, [published_generator(row)])
    (mean,), (covariance,), (w2,) = found.m.tolist(), found.covariance().tolist(), found.w2().tolist()
    return {
        "mean": mean,
        "covariance": [covariance[0][0], covariance[0][1], covariance[1][1]],
        "w2": w2,
        "equal": found.matches(row),
    }


def _shortened(row: Row, share: float) -> Row:
    """The row with a share of its steps; the row itself for all of them, so that its stream is the table's."""
    return row if share == 1.0 else dataclasses.replace(row, steps=max(1, round(share * row.steps)))
