"""Networks: drawn from a generator, by rows, transformable; the preconditioned score against exact scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import jacrev, jvp, vmap

from gflow.learn import MLP, NOISE_FEATURES, ConvNet, ScoreNetwork, noise_features
from gflow.lipschitz import check_rows_independent, jacobian
from gflow.problems import LINEAR, VE, VP, Gaussian, Schedule

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

PATHS = {
    "vp": VP(0.1, 20.0),
    "ve": VE(5.0),
    "linear": LINEAR,
    "own": Schedule(lambda t: torch.cos(t), lambda t: torch.sin(t), 0.0, 1.5),
}
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(d=2, dtype=torch.float64, seed=0):
    return MLP(d, d, hidden=(16, 16), features=NOISE_FEATURES, generator=seeded(seed), dtype=dtype)


def convnet(dtype=torch.float64, **kwargs):
    return ConvNet(8, channels=4, features=NOISE_FEATURES, generator=seeded(), dtype=dtype, **kwargs)


NETWORKS = {"mlp": (mlp, 2), "convnet": (convnet, 64)}
networks = pytest.mark.parametrize(("build", "d"), NETWORKS.values(), ids=NETWORKS.keys())


class Zero(nn.Module):
    def forward(self, x, features=None):
        return torch.zeros_like(x)


@paths
@given(
    mean=st.floats(-2.0, 2.0),
    std=st.floats(0.1, 3.0),
    share=st.floats(0.05, 0.95),
    d=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_a_zero_body_gives_the_exact_score_of_gaussian_data(path, mean, std, share, d, seed):
    t = path.data_time + share * (path.noise_time - path.data_time)
    x = 3 * torch.randn(5, d, generator=seeded(seed), dtype=torch.float64)
    m = torch.full((d,), mean, dtype=torch.float64)
    network = ScoreNetwork(path, Zero(), std, data_mean=m)
    exact = Gaussian(m, std**2 * torch.eye(d, dtype=torch.float64)).at(path, t)
    torch.testing.assert_close(network(t, x), exact.score(x), rtol=1e-10, atol=1e-10)


@paths
@given(std=st.floats(0.1, 3.0), share=st.floats(0.05, 0.95))
def test_the_body_sees_and_has_to_return_numbers_of_unit_size(path, std, share):
    t = path.data_time + share * (path.noise_time - path.data_time)
    g = seeded()
    x_data = std * torch.randn(4000, 2, generator=g, dtype=torch.float64)
    z = torch.randn(4000, 2, generator=g, dtype=torch.float64)
    x = path.alpha(t) * x_data + path.sigma(t) * z
    seen = []

    class One(nn.Module):
        def forward(self, x, features=None):
            seen.append(x)
            return torch.ones_like(x)

    gain = ScoreNetwork(path, One(), std)(t, x) - ScoreNetwork(path, Zero(), std)(t, x)
    target = (-z / path.sigma(t) - ScoreNetwork(path, Zero(), std)(t, x)) / gain
    # 8000 numbers of unit variance: the standard error of their variance is 1.6 %.
    assert float(seen[0].square().mean()) == pytest.approx(1.0, abs=0.08)
    assert float(target.square().mean()) == pytest.approx(1.0, abs=0.08)


@paths
@networks
def test_time_may_be_a_float_a_scalar_tensor_or_one_number_per_row(path, build, d):
    network = ScoreNetwork(path, build(), 0.7)
    x = torch.randn(3, d, generator=seeded(1), dtype=torch.float64)
    t = 0.3
    expected = network(t, x)
    torch.testing.assert_close(network(torch.tensor(t, dtype=x.dtype), x), expected, rtol=1e-12, atol=1e-12)
    rows = torch.tensor([0.1, t, 0.6], dtype=x.dtype)
    torch.testing.assert_close(network(rows, x)[1], expected[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(network(rows, x)[2], network(0.6, x)[2], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(network(0.6, x), expected)


@networks
def test_networks_act_by_rows_and_transform(build, d):
    network = ScoreNetwork(VP(0.1, 20.0), build(), 0.7)
    x = torch.randn(3, d, generator=seeded(1), dtype=torch.float64)
    check_rows_independent(network, 0.3, x)
    by_rows = vmap(jacrev(lambda row: network(0.3, row[None])[0]))(x)
    torch.testing.assert_close(jacobian(network, 0.3, x), by_rows, rtol=1e-10, atol=1e-12)
    t = torch.tensor(0.3, dtype=x.dtype)
    slope = jvp(lambda s: network(s, x), (t,), (torch.ones_like(t),))[1]
    h = 1e-5
    torch.testing.assert_close(slope, (network(0.3 + h, x) - network(0.3 - h, x)) / (2 * h), rtol=1e-6, atol=1e-6)


@networks
def test_the_dtype_is_the_one_asked_for(build, d):
    network = ScoreNetwork(VE(5.0), build(dtype=torch.float32), 0.7)
    x = torch.randn(3, d, generator=seeded(1))
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    for t in (0.5, torch.tensor(0.5, dtype=torch.float64), torch.full((3,), 0.5, dtype=torch.float64)):
        assert network(t, x).dtype == torch.float32


@networks
def test_weights_come_from_the_generator_alone(build, d):
    before = torch.random.get_rng_state()
    first, again = build(), build()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    if build is mlp:
        assert not torch.equal(next(first.parameters()), next(mlp(seed=1).parameters()))
    bounds = {p.abs().max().item() < 1 for p in first.parameters()}
    assert bounds == {True}
    assert all(bool(p.any()) for p in first.parameters())


def test_each_pixel_sees_the_whole_image():
    network = convnet()
    x = torch.randn(1, 64, generator=seeded(), dtype=torch.float64)
    j = jacobian(lambda t, y: network(y, torch.zeros(NOISE_FEATURES, dtype=y.dtype)), 0.0, x)
    assert bool((j.abs() > 0).all())


@paths
def test_noise_features_are_bounded_and_tell_the_ends_apart(path):
    like = torch.zeros(1, 1, dtype=torch.float64)
    ends = [noise_features(path.alpha(t), path.sigma(t), like) for t in (path.data_time, path.noise_time)]
    for features in ends:
        assert features.shape == (NOISE_FEATURES,)
        assert bool((features.abs() <= 1).all())
    assert float((ends[0] - ends[1])[0]) < -1


def test_features_know_the_noise_level_by_its_logarithm():
    like = torch.zeros(1, 1, dtype=torch.float64)
    u = noise_features(0.5, 0.5 * torch.tensor(3.0).exp().item(), like)[0]
    assert float(u) == pytest.approx(torch.tanh(torch.tensor(3.0 / 4)).item(), rel=1e-6)


def test_bad_arguments():
    x = torch.randn(3, 2, generator=seeded(), dtype=torch.float64)
    path, plain = VP(0.1, 20.0), MLP(2, 2, generator=seeded())
    with pytest.raises(ValueError, match="built without them"):
        ScoreNetwork(path, plain, 1.0)(0.5, x)
    with pytest.raises(ValueError, match="built with them, got none"):
        mlp()(x)
    with pytest.raises(ValueError, match="data_std"):
        ScoreNetwork(path, mlp(), 0.0)
    with pytest.raises(ValueError, match=r"no score at t=0"):
        ScoreNetwork(path, mlp(), 1.0)(0.0, x)
    with pytest.raises(ValueError, match=r"one time per row \(3,\), got shape \(2,\)"):
        ScoreNetwork(path, mlp(), 1.0)(torch.tensor([0.1, 0.2], dtype=x.dtype), x)
    with pytest.raises(ValueError, match="float32"):
        ScoreNetwork(path, mlp(), 1.0)(0.5, x.float())
    with pytest.raises(ValueError, match="64 pixels, got 2"):
        convnet()(x, torch.zeros(NOISE_FEATURES, dtype=x.dtype))
    with pytest.raises(ValueError, match="widths"):
        MLP(2, 2, hidden=(0,), generator=seeded())
    with pytest.raises(ValueError, match="channels"):
        ConvNet(8, channels=0, generator=seeded())
