"""REFLOW-6 and REFLOW-7: a trained zero-centred critic against the Poisson solution of one dimension (ORC-4)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from gflow.learn import MLP, fit
from gflow.ratio import WASSERSTEIN, critic_gradient, critic_outputs, zero_centred
from tests.strategies import F64

MODEL, DATA = (-0.5, 1.0), (1.0, 0.7)
"""Mean and standard deviation of q and of p."""


def poisson_solution(x):
    """D' = (F_q - F_p) / pbar at weight 1/2, and pbar, by Gauss-Legendre in the time of the segments."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    pbar = torch.zeros_like(x)
    for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        mean = (1 - t) * MODEL[0] + t * DATA[0]
        pbar += weight * Normal(mean, math.hypot((1 - t) * MODEL[1], t * DATA[1])).log_prob(x).exp()
    return (Normal(*MODEL).cdf(x) - Normal(*DATA).cdf(x)) / pbar, pbar


@pytest.mark.slow
def test_reflow_6_a_trained_critic_is_the_poisson_solution_within_five_percent():
    def draw(law, generator):
        return law[0] + law[1] * torch.randn(512, 1, dtype=F64, generator=generator)

    def loss(critic, generator):
        p, q = draw(DATA, generator), draw(MODEL, generator)
        game = WASSERSTEIN.loss(critic_outputs(critic, p), critic_outputs(critic, q))
        return game + zero_centred(0.5).loss(critic, p, q, generator)

    critic = fit(
        MLP(1, 1, hidden=(64, 64), generator=torch.Generator().manual_seed(0)),
        loss,
        steps=1000,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=2e-3),
        ema_decay=0.99,
        generator=torch.Generator().manual_seed(1),
        rate=lambda share: 1 - share,
    ).module
    x = torch.linspace(-6.0, 6.0, 2001, dtype=F64)
    exact, pbar = poisson_solution(x)
    found = critic_gradient(critic, x[:, None], create_graph=False)[:, 0]
    error = torch.trapezoid(pbar * (found - exact) ** 2, x) / torch.trapezoid(pbar * exact**2, x)
    assert math.sqrt(error) < 0.05
    # REFLOW-7: the mean of the gradient is the difference of the means, a check that needs no solution.
    assert float(torch.trapezoid(pbar * exact, x)) == pytest.approx(1.5, abs=1e-6)
    assert float(torch.trapezoid(pbar * found, x)) == pytest.approx(1.5, rel=0.02)
