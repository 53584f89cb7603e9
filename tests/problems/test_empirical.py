"""Point clouds under noise: the score against a brute-force posterior, memory, memorization."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gflow.problems import LINEAR, VE, VP, Empirical, GaussianMixture, NoisedScore, Path
from gflow.problems.components import BLOCK, SharedVariance
from tests.strategies import F64, floats, inside, paths, points, untyped

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

seeds = st.integers(0, 1000)


def posterior_mean(cloud: Tensor, alpha: float, sigma: float, x: Tensor) -> Tensor:
    """E[x_data | x_t = x] row by row and point by point."""
    rows = []
    for row in x:
        logits = torch.stack([-((row - alpha * point) ** 2).sum() / (2.0 * sigma**2) for point in cloud])
        w = (logits - logits.max()).exp()
        rows.append((w.unsqueeze(1) * cloud).sum(0) / w.sum())
    return torch.stack(rows)


@given(paths(), floats(0.1, 0.9), seeds)
def test_score_obeys_tweedies_formula(path: Path, share: float, seed: int) -> None:
    t, cloud, x = inside(path, share), points(9, 3, seed), points(4, 3, seed + 1)
    alpha, sigma = path.alpha(t), path.sigma(t)
    denoised = (x + sigma**2 * NoisedScore(Empirical(cloud), path)(t, x)) / alpha
    torch.testing.assert_close(denoised, posterior_mean(cloud, alpha, sigma, x), rtol=1e-9, atol=1e-9)


@given(paths(), floats(0.02, 0.9), seeds)
def test_jacobian_is_that_of_autodiff_by_both_routes(path: Path, share: float, seed: int) -> None:
    # A float time may use moments, a tensor time never does.
    score, t, x = NoisedScore(Empirical(points(12, 3, seed)), path), inside(path, share), points(4, 3, seed + 1)
    automatic = torch.func.vmap(torch.func.jacfwd(lambda row: score(t, row.unsqueeze(0))[0]))(x)
    scale = float(automatic.abs().max())
    for time in (t, torch.tensor(t, dtype=F64)):
        torch.testing.assert_close(score.jacobian(time, x), automatic, rtol=0.0, atol=1e-9 * scale)


@given(st.integers(1, 40), seeds)
def test_blocks_of_rows_change_nothing(chunk: int, seed: int) -> None:
    cloud, x, path = points(30, 2, seed), points(17, 2, seed + 1), VE(3.0)
    whole, parts = (NoisedScore(Empirical(cloud, chunk=c), path) for c in (None, chunk))
    torch.testing.assert_close(parts(0.7, x), whole(0.7, x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.jacobian(0.7, x), whole.jacobian(0.7, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variance", [1e-6, 10.0])
def test_temporaries_of_a_large_cloud_are_bounded(variance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    k, d, seen = 2000, 64, []
    cloud = points(k, d, 0, scale=1.0)

    def record(self: SharedVariance, x: Tensor, log_weights: Tensor) -> Tensor:
        seen.append(len(x) * (k * d if variance < 1.0 else d * d))
        return x.new_zeros(len(x), d, d)

    monkeypatch.setattr(SharedVariance, "hessian", record)
    law = Empirical(cloud).at(VE(100.0), variance**0.5)
    assert law.hessian(cloud).shape == (k, d, d)
    assert max(seen) <= BLOCK


@given(seeds)
def test_a_noised_cloud_is_a_mixture_at_its_points(seed: int) -> None:
    cloud, x, path, t = points(5, 2, seed), points(6, 2, seed + 1), VP(0.1, 20.0), 0.2
    k = len(cloud)
    sigma = path.sigma(t)
    mixture = GaussianMixture(
        torch.full((k,), 1.0 / k, dtype=F64),
        path.alpha(t) * cloud,
        (sigma**2 * torch.eye(2, dtype=F64)).repeat(k, 1, 1),
    )
    noised = Empirical(cloud).at(path, t)
    torch.testing.assert_close(noised.log_prob(x), mixture.log_prob(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(noised.covariance(), mixture.covariance())


@given(seeds)
def test_moments_are_those_of_the_cloud(seed: int) -> None:
    cloud = points(50, 3, seed)
    law = Empirical(cloud)
    torch.testing.assert_close(law.mean(), cloud.mean(0))
    torch.testing.assert_close(law.covariance(), torch.cov(cloud.mT, correction=0))
    assert law.second_moment() == pytest.approx(float((cloud**2).sum()) / 50, rel=1e-12)


def test_samples_are_points_of_the_cloud_equally_often() -> None:
    cloud = torch.arange(4, dtype=F64).unsqueeze(1)
    n = 8000
    drawn = Empirical(cloud).sample(n, torch.Generator().manual_seed(1))
    counts = drawn.long().flatten().bincount(minlength=4)
    assert int(counts.sum()) == n
    assert bool(((counts / n - 0.25).abs() <= 5.0 * (0.25 * 0.75 / n) ** 0.5).all())


@pytest.mark.parametrize("path", [VP(0.1, 20.0), VE(1.0), LINEAR])
def test_no_score_without_noise(path: Path) -> None:
    law = Empirical(points(5, 2, 0))
    with pytest.raises(ValueError, match="t: a point cloud has no density without noise"):
        law.at(path, path.data_time)
    for f in (law.log_prob, law.score):
        with pytest.raises(ValueError, match="no density without noise"):
            f(points(5, 2, 0))


@pytest.mark.parametrize(
    ("cloud", "chunk", "message"),
    [
        (torch.zeros(1, 2), None, "points: needs at least 2 points, got 1"),
        (torch.zeros(0, 2), None, "points: needs at least 2 points, got 0"),
        (torch.zeros(5), None, "points: expected shape"),
        (torch.zeros(5, 2, dtype=torch.long), None, "points: needs a floating-point dtype"),
        (
            torch.tensor([[0.0], [torch.nan], [torch.inf]]),
            None,
            "points: 2 of 3 entries are NaN or infinite, first in row 1",
        ),
        (torch.zeros(5, 2), 0, "chunk: needs at least 1 row, got 0"),
    ],
)
def test_bad_clouds_name_their_argument(cloud: Tensor, chunk: int | None, message: str) -> None:
    with untyped(), pytest.raises(ValueError, match=message):
        Empirical(cloud, chunk)
