"""Any two velocity fields of the user's, between any two times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gflow.fields import reverse
from gflow.lipschitz import JacobianOsl
from studies.w2_bound.blame import MAX_STEPS, blamed
from studies.w2_bound.config import Case, Config
from studies.w2_bound.measure import floor_of, ode_run, row
from studies.w2_bound.own_field import named
from studies.w2_bound.user import read_start

if TYPE_CHECKING:
    from gflow.study import Context

_DOMAIN_POINTS = 256


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: --field against --reference from t0 to t1, from the same start."""
    reference, model = named(config.reference, "--reference"), named(config.field, "--field")
    backward = config.t1 < config.t0
    # Sampling time s >= 0 always: run backward by reversing at t0, forward by a shift (twice reversed).
    f, g = (reverse(v, config.t0) if backward else reverse(reverse(v, 0.0), -config.t0) for v in (reference, model))
    like = torch.zeros(1, dtype=context.dtype, device=context.device)
    x0 = read_start(config.start, config.n, like, context.generator_for("start"))
    domain = x0[:_DOMAIN_POINTS]
    with blamed(
        {"--field": model, "--reference": reference},
        lambda s: config.t0 - s if backward else config.t0 + s,
        "end earlier (--t1), or start elsewhere (--start)",
    ):
        result = ode_run(
            f,
            g,
            x0,
            x0,
            abs(config.t1 - config.t0),
            case,
            None,
            lambda s: JacobianOsl()(g, s, domain, direction=1),
            MAX_STEPS,
        )
    floor = floor_of(result.reference, len(x0) // 2, config, context, "field")
    return row(case, result, floor, context)
