"""The estimator on the pair of planar mixtures that critics are compared on, its stop, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gflow.learn import MLP, FitStatus
from gflow.problems import Gaussian, GaussianMixture
from gflow.ratio import HINGE, VANILLA, DensityRatioEstimator, KnownLogRatio, r1, ratio_errors
from tests.strategies import F64, points, untyped

P = GaussianMixture(
    torch.tensor([0.4, 0.4, 0.2], dtype=F64),
    torch.tensor([[-1.5, 0.0], [1.5, 0.0], [0.0, 1.5]], dtype=F64),
    torch.full((3,), 0.36, dtype=F64),
)
Q = GaussianMixture(
    torch.tensor([0.5, 0.5], dtype=F64),
    torch.tensor([[-1.0, -0.5], [1.0, 0.8]], dtype=F64),
    torch.full((2,), 0.64, dtype=F64),
)


def estimator(**changes):
    base = DensityRatioEstimator(
        network=MLP(2, 1, hidden=(32, 32), generator=torch.Generator().manual_seed(0)),
        objective=VANILLA,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=3e-3),
        steps=400,
        batch=256,
        held_out=0.25,
        every=20,
        patience=10,
        ema_decay=0.99,
    )
    return replace(base, **changes)


def clouds(n=3000):
    generator = torch.Generator().manual_seed(1)
    return P.sample(n, generator), Q.sample(n, generator), generator


def test_a_small_critic_recovers_most_of_the_gradient_and_its_risk_nears_the_optimal_one():
    p, q, generator = clouds()
    exact = KnownLogRatio(P, Q)
    found = estimator().fit(p, q, generator)
    fresh_p, fresh_q = P.sample(4000, generator), Q.sample(4000, generator)
    errors = ratio_errors(found.log_ratio, exact, fresh_q)
    before = ratio_errors(flat(), exact, fresh_q)
    assert before.relative == pytest.approx(1.0)
    assert errors.relative < 0.5
    assert errors.value < 0.5 * before.value
    # RATIO-2: on the same points, the excess risk is positive up to what sampling allows, and small.
    excess = risk(found.log_ratio, fresh_p, fresh_q) - risk(exact, fresh_p, fresh_q)
    assert -0.005 < excess < 0.03


def flat():
    law = Gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64))
    return KnownLogRatio(law, law)


def risk(log_ratio, p, q):
    with torch.no_grad():
        return float(VANILLA.loss(log_ratio(p), log_ratio(q)))


def test_it_stops_by_held_out_risk_and_keeps_the_best_critic():
    """60 points and a large step: training overfits at once."""
    p, q, generator = clouds(60)
    found = estimator(steps=3000, every=5, patience=4, ema_decay=0.0, batch=45, optimizer=fast).fit(p, q, generator)
    assert found.training.status is FitStatus.HELD_OUT
    assert found.training.held_out == min(record.held_out for record in found.training.history)


def fast(parameters):
    return torch.optim.Adam(parameters, lr=3e-2)


def test_one_seed_gives_one_critic_and_a_warm_start_begins_where_the_last_ended():
    p, q, _ = clouds(200)
    short = estimator(steps=20, every=10)
    first, again = (short.fit(p, q, torch.Generator().manual_seed(5)) for _ in range(2))
    at = points(3, 2, 0)
    assert torch.equal(first.log_ratio(at), again.log_ratio(at))
    warm = replace(short, network=first.training.module).fit(p, q, torch.Generator().manual_seed(5))
    assert warm.training.history[0].held_out == pytest.approx(first.training.held_out, rel=1e-12)


def test_a_strong_penalty_flattens_the_critic():
    p, q, _ = clouds(400)
    sizes = []
    for penalty in (None, r1(50.0)):
        found = estimator(penalty=penalty, steps=150).fit(p, q, torch.Generator())
        sizes.append(float(found.log_ratio.gradient(q).norm(dim=1).mean()))
    assert sizes[1] < 0.3 * sizes[0]


def test_float32_is_kept():
    p, q, generator = clouds(100)
    network = MLP(2, 1, hidden=(8,), generator=torch.Generator(), dtype=torch.float32)
    found = estimator(network=network, steps=5, every=5).fit(p.float(), q.float(), generator)
    assert found.log_ratio.gradient(p.float()).dtype == torch.float32


def test_bad_clouds_and_settings_are_named():
    p, q, generator = clouds(40)
    bad = q.clone()
    bad[3, 0] = math.nan
    for clouds_, message in (
        ((p, bad), "q: 1 of 40 rows hold NaN or infinity"),
        ((p, q[:, :1]), r"p and q: need one dimension, dtype and device, got \(n, 2\)"),
        ((p, q.float()), "p and q: need one dimension, dtype and device"),
        ((p[:1], q), "p: 1 rows leave a part of the share 0.25 empty"),
        ((p, q[:0]), "q: needs 1 or more rows, got 0"),
    ):
        with pytest.raises(ValueError, match=message), untyped():
            estimator(steps=2).fit(*clouds_, generator)
    with pytest.raises(ValueError, match="critics of hinge tell no log-ratio"):
        estimator(objective=HINGE)
    with pytest.raises(ValueError, match=r"held_out: expected a share in \(0, 1\), got 1.0"):
        estimator(held_out=1.0)
    with pytest.raises(ValueError, match="batch: must be at least 1, got 0"):
        estimator(batch=0)
    with pytest.raises(ValueError, match="x: expected at least one point"):
        ratio_errors(KnownLogRatio(P, Q), KnownLogRatio(P, Q), p[:0])
