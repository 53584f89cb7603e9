"""WGF-4: the implicit step by a map and a dual critic, against its closed form between normal laws (ORC-15)."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import nn

from gflow.fields import JKOError, JKOResult, JKOStatus, JKOStep, ResidualMap
from gflow.learn import MLP
from gflow.problems import Gaussian, gaussian_jko_step
from gflow.ratio import HINGE, REVERSE_KL, f_gan
from gflow.transport import bures_squared
from tests.strategies import F64, points, untyped

KL = f_gan(REVERSE_KL)


class Quadratic(nn.Module):
    """``a + b.x + x.C x``: log-ratios of normal laws."""

    def __init__(self, d, dtype=F64):
        super().__init__()
        self.a = nn.Parameter(torch.zeros((), dtype=dtype))
        self.b = nn.Parameter(torch.zeros(d, dtype=dtype))
        self.C = nn.Parameter(torch.zeros(d, d, dtype=dtype))

    def forward(self, x):
        return self.a + x @ self.b + ((x @ self.C) * x).sum(1)


class Affine(nn.Module):
    """``b + A x``, the identity as it is made."""

    def __init__(self, d, dtype=F64):
        super().__init__()
        self.b = nn.Parameter(torch.zeros(d, dtype=dtype))
        self.A = nn.Parameter(torch.eye(d, dtype=dtype))

    def forward(self, x):
        return self.b + x @ self.A


def law(mean, covariance):
    return Gaussian(torch.tensor(mean, dtype=F64), torch.tensor(covariance, dtype=F64))


def cloud(law, n, seed):
    """Quasirandom points, with the moments of the law exactly."""
    u = torch.quasirandom.SobolEngine(law.dim, scramble=True, seed=seed).draw(n, dtype=F64).clamp(1e-9, 1 - 1e-9)
    z = torch.distributions.Normal(0.0, 1.0).icdf(u)
    z = z - z.mean(0)
    z = torch.linalg.solve_triangular(torch.linalg.cholesky(z.mT @ z / n), z.mT, upper=False).mT
    return law.mu + z @ torch.linalg.cholesky(law.C).mT


def w2(y, law):
    centred = y - y.mean(0)
    return math.sqrt(max(0.0, bures_squared(y.mean(0), centred.mT @ centred / len(y), law.mu, law.C)))


def adam(rate):
    return lambda parameters: torch.optim.Adam(parameters, lr=rate, betas=(0.5, 0.9))


def step(h, move, critic, steps=200, tolerance=1e-3, rate=2e-2):
    return JKOStep(h, KL, move, critic, adam(rate), adam(rate), steps, 5, tolerance)


PAIRS = {
    "line": (law([0.0], [[1.0]]), law([1.0], [[0.4]]), 0.2),
    "line, long step": (law([0.0], [[1.0]]), law([1.0], [[0.4]]), 1.0),
    "plane": (law([0.0, 0.5], [[1.0, 0.3], [0.3, 0.6]]), law([1.0, 0.0], [[0.4, 0.12], [0.12, 0.24]]), 0.2),
}


@pytest.mark.parametrize("name", PAIRS)
def test_wgf_4_with_the_right_families_the_step_is_the_closed_form(name):
    target, start, h = PAIRS[name]
    x, data = cloud(start, 512 * start.dim, 0), cloud(target, 512 * start.dim, 1)
    found = step(h, Affine(start.dim), Quadratic(start.dim)).solve(x, data)
    exact = gaussian_jko_step(target, start, h)
    assert found.status is JKOStatus.CONVERGED
    assert found.critic_slope < 1e-4
    # What is left is that so many points stand for p in E_p e^-D: the error of a quasirandom rule, not of the step.
    assert w2(found.particles, exact) < 0.01 * w2(x, exact)
    # An affine map of symmetric matrix is optimal, so its cost is that of W2.
    assert found.transport == pytest.approx(w2(x, exact) ** 2 / (2 * h), rel=0.02)
    kl = torch.distributions.kl_divergence(
        *(torch.distributions.MultivariateNormal(each.mu, each.C) for each in (exact, target))
    )
    assert found.divergence == pytest.approx(float(kl), rel=0.02)


def test_wgf_4_networks_come_close_and_lower_the_divergence():
    target, start, h = PAIRS["line"]
    x, data = cloud(start, 256, 0), cloud(target, 256, 1)
    generator = torch.Generator().manual_seed(0)
    move = ResidualMap(MLP(1, 1, hidden=(16,), generator=generator))
    critic = MLP(1, 1, hidden=(16,), generator=generator)
    found = step(h, move, critic, steps=150, tolerance=0.5, rate=1e-2).solve(x, data, throw=False)
    exact = gaussian_jko_step(target, start, h)
    assert found.residual < 0.5 * math.sqrt(2 * found.transport / h)  # against the speed of the step
    assert w2(found.particles, exact) < 0.25 * w2(x, exact)
    assert torch.equal(move(x), x)  # the map that was given is as it was
    assert torch.equal(found.map(x), found.particles)


def test_a_step_that_is_not_done_says_so():
    target, start, h = PAIRS["line"]
    short = step(h, Affine(1), Quadratic(1), steps=2)
    x, data = cloud(start, 64, 0), cloud(target, 64, 1)
    found = short.solve(x, data, throw=False)
    assert found.status is JKOStatus.NOT_CONVERGED
    assert found.residual > short.tolerance
    with pytest.raises(JKOError, match="the steps are spent and the residual is above the tolerance") as raised:
        short.solve(x, data)
    assert raised.value.result.residual == found.residual
    assert isinstance(pickle.loads(pickle.dumps(raised.value)).result, JKOResult)
    wild = step(h, Affine(1), Quadratic(1), rate=1e4)
    assert wild.solve(x, data, throw=False).status is JKOStatus.NOT_FINITE


def test_float32_stays():
    target, start, h = PAIRS["line"]
    x, data = cloud(start, 64, 0).float(), cloud(target, 64, 1).float()
    single = torch.float32
    found = step(h, Affine(1, single), Quadratic(1, single), steps=5).solve(x, data, throw=False)
    assert found.particles.dtype == single


def test_bad_arguments_are_named():
    x, data = points(5, 2, 0), points(6, 2, 1)
    good = step(0.1, Affine(2), Quadratic(2), steps=1)
    with untyped():
        with pytest.raises(ValueError, match="h: must be positive and finite, got 0.0"):
            step(0.0, Affine(2), Quadratic(2))
        with pytest.raises(ValueError, match="tolerance: must be positive"):
            step(0.1, Affine(2), Quadratic(2), tolerance=math.nan)
        with pytest.raises(ValueError, match="steps and critic_steps: must be at least 1, got 0, 5"):
            step(0.1, Affine(2), Quadratic(2), steps=0)
        with pytest.raises(ValueError, match="objective: critics of hinge"):
            JKOStep(0.1, HINGE, Affine(2), Quadratic(2), adam(0.1), adam(0.1), 1, 1, 0.1)
        with pytest.raises(ValueError, match=r"x: expected rows \(n, 2\)"):
            good.solve(x[:, :1], data)
        with pytest.raises(ValueError, match=r"map: expected values \(5, 2\), got \(5,\)"):
            step(0.1, Quadratic(2), Quadratic(2)).solve(x, data)
        with pytest.raises(ValueError, match="body: expected as many outputs as inputs, got 2, 1"):
            ResidualMap(MLP(2, 1, generator=torch.Generator()))
