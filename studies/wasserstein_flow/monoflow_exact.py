"""The twelve rows of MonoFlow's table with the exact ratio: at the published draws, and over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator

from studies.wasserstein_flow.monoflow import EXACT_ROWS, Row, target
from studies.wasserstein_flow.monoflow_model import CPU, Models, draws

BATCH = 1000
_SEED = 101


def published_generator(row: Row) -> Generator:
    """The generator of the published run, where it stood when the row began.

    One generator of seed 101 served the whole notebook: two batches that were discarded, then one batch a step of
    each row, in the printed order.

    Raises:
        ValueError: a row whose ratio a critic tells, or one that is not in the table.
    """
    if row not in EXACT_ROWS:
        raise ValueError(f"row: expected one of the table with the exact ratio, got {row.name}")
    generator = Generator().manual_seed(_SEED)
    before = EXACT_ROWS[: EXACT_ROWS.index(row)]
    for _ in range(2 + sum(each.steps for each in before)):
        draws(BATCH, [generator], CPU)
    return generator


def exact_row(row: Row, generators: Sequence[Generator], *, device: torch.device = CPU) -> Models:
    """One run of the row for each generator, all at once.

    Float32. Equal, up to rounding, to as many runs with one generator each.

    Raises:
        ValueError: no generator, or a row whose ratio a critic tells.
    """
    if row.ratio == "critic" or not generators:
        raise ValueError(
            f"exact_row: needs a row with the exact ratio and at least one generator, got {row.name} and "
            f"{len(generators)}"
        )
    models = Models.start(len(generators), device)
    optimizer = torch.optim.Adam(models.parameters, lr=row.rate, fused=True)
    p = target(device)
    for _ in range(row.steps):
        optimizer.zero_grad()
        x = models.points(draws(BATCH, generators, device))
        log_p = p.log_prob(x.reshape(-1, 2)).reshape(x.shape[:-1])
        d = log_p - (models if row.ratio == "through" else models.held()).log_prob(x)
        loss = -row.loss.h(d).mean(1).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return models.held()
