"""Networks whose weights are renewed once a step: normalized, clipped, and the same function within a step."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad

from gflow.learn import MLP, ClippedWeights, ConvCritic, SpectralNorm, fit, lipschitz_bound
from tests.strategies import F64, floats, points


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(d=3, seed=0, hidden=(12, 12), **kwargs):
    return MLP(d, 1, hidden=hidden, generator=seeded(seed), **kwargs)


def norms(network):
    """Spectral norms of the weights in use."""
    layers = [each for each in network.modules() if isinstance(each, nn.Linear | nn.Conv2d)]
    return [float(torch.linalg.matrix_norm(each.weight.detach().flatten(1), 2)) for each in layers]


CRITICS = {"mlp": (mlp, 3), "8x8": (lambda: ConvCritic(8, channels=4, generator=seeded()), 64)}
critics = pytest.mark.parametrize(("build", "d"), CRITICS.values(), ids=CRITICS.keys())


def climb(critic, generator):
    """A loss whose minimum wants every weight large."""
    x = torch.randn(16, 3, dtype=F64, generator=generator)
    return -critic(x).square().mean()


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-2)


@critics
def test_the_weights_in_use_have_norm_one_from_the_start_and_the_argument_is_not_changed(build, d):
    network = build()
    before = norms(network)
    assert norms(SpectralNorm(network)) == pytest.approx([1.0] * len(before), rel=1e-12)
    assert norms(network) == before
    assert min(before) != pytest.approx(1.0, rel=0.01)


def test_power_iterations_follow_the_weights_and_those_of_the_average_are_its_own():
    trained = fit(SpectralNorm(mlp()), climb, steps=150, optimizer=adam, ema_decay=0.9, generator=seeded(1)).module
    # One iteration a step lags behind Adam by a little; without any the norms are off by factors.
    assert norms(trained) == pytest.approx([1.0] * 3, abs=0.01)
    for _ in range(200):
        trained.at_step(0)
    assert norms(trained) == pytest.approx([1.0] * 3, rel=1e-6)


@critics
def test_within_a_step_it_is_one_function_and_a_step_without_change_of_weights_leaves_it(build, d):
    critic, x = SpectralNorm(build()).train(), points(4, d, 0)
    first = critic(x)
    assert torch.equal(critic(x), first)
    critic.at_step(1)
    torch.testing.assert_close(critic(x), first, rtol=1e-10, atol=1e-12)
    weights = dict(critic.named_parameters())
    transformed = grad(lambda y: functional_call(critic, weights, (y,)).sum())(x)
    leaf = x.clone().requires_grad_()
    (plain,) = torch.autograd.grad(critic(leaf).sum(), leaf)
    torch.testing.assert_close(transformed, plain)


def test_copies_move_on_their_own():
    critic, x = SpectralNorm(mlp()), points(5, 3, 0)
    other = copy.deepcopy(critic)
    with torch.no_grad():
        other.network.layers[0].parametrizations.weight.original.mul_(torch.tensor([[3.0, 0.1, 1.0]], dtype=F64))
    before = critic(x)
    for _ in range(100):
        other.at_step(0)
    assert torch.equal(critic(x), before)
    assert norms(other) == pytest.approx([1.0] * 3, rel=1e-8)


def test_the_gradient_in_the_weights_is_that_of_the_exact_norm():
    network = mlp(hidden=(5,))
    critic, x = SpectralNorm(network), points(4, 3, 0)
    critic(x).sum().backward()
    w = [layer.weight.detach().clone().requires_grad_() for layer in network.layers]
    b = [layer.bias.detach() for layer in network.layers]
    exact = [each / torch.linalg.matrix_norm(each, 2) for each in w]
    hidden = network.activation(nn.functional.linear(x, exact[0], b[0]))
    nn.functional.linear(hidden, exact[1], b[1]).sum().backward()
    found = {name: p.grad for name, p in critic.named_parameters() if name.endswith("original")}
    for grad_, each in zip(found.values(), w, strict=True):
        torch.testing.assert_close(grad_, each.grad, rtol=1e-9, atol=1e-11)


def test_clipped_weights_stay_in_their_box_through_a_training_that_would_leave_it():
    trained = fit(
        ClippedWeights(mlp(), 0.05), climb, steps=50, optimizer=adam, ema_decay=0.5, generator=seeded(1)
    ).module
    largest = max(float(p.abs().max()) for p in trained.parameters())
    assert largest == pytest.approx(0.05, rel=1e-3)
    assert largest <= 0.05 * (1 + 1e-12)


@given(seed=st.integers(0, 99), scale=floats(0.1, 3.0), activation=st.sampled_from(["silu", "tanh", "relu", "gelu"]))
def test_lipschitz_bounds_lie_above_every_difference_quotient(seed, scale, activation):
    activation = getattr(nn.functional, activation)
    built = (
        (mlp(seed=seed, activation=activation), 3),
        (ConvCritic(6, channels=2, generator=seeded(seed), activation=activation), 36),
    )
    for network, d in built:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1 + scale)
        for critic in (network, SpectralNorm(network), ClippedWeights(network, 0.2)):
            x, y = points(30, d, seed), points(30, d, seed + 1)
            quotients = (critic(x) - critic(y)).detach().abs()[:, 0] / (x - y).norm(dim=1)
            assert float(quotients.max()) <= critic.lipschitz_bound() * (1 + 1e-9)


def test_the_bound_of_an_affine_critic_is_its_constant():
    network = MLP(4, 1, hidden=(), generator=seeded())
    assert network.lipschitz_bound() == pytest.approx(float(network.layers[0].weight.detach().norm()), rel=1e-12)
    assert SpectralNorm(network).lipschitz_bound() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("side", [1, 4, 8, 28])
def test_the_convolutional_critic_judges_each_image_by_itself(side):
    critic = ConvCritic(side, channels=2, generator=seeded(), dtype=torch.float32)
    x = points(3, side**2, 0).float()
    value = critic(x)
    assert value.shape == (3, 1)
    assert value.dtype == torch.float32
    torch.testing.assert_close(critic(x[1:2]), value[1:2])


def test_what_is_not_known_to_be_lipschitz_has_no_finite_bound():
    assert mlp(activation=torch.sin).lipschitz_bound() == math.inf
    assert SpectralNorm(nn.Sequential(nn.Linear(2, 1, dtype=F64))).lipschitz_bound() == math.inf
    assert lipschitz_bound(lambda x: x) == math.inf


def test_bad_networks_are_named():
    broken = mlp()
    with torch.no_grad():
        broken.layers[1].weight.fill_(math.nan)
    for make, message in (
        (lambda: SpectralNorm(nn.Identity()), "network: has no Linear or Conv2d"),
        (lambda: SpectralNorm(SpectralNorm(mlp())), "is parametrized already"),
        (lambda: SpectralNorm(broken), "weight of layers.1 is zero or not finite"),
        (lambda: ClippedWeights(mlp(), 0.0), "bound: must be positive and finite, got 0.0"),
        (lambda: ConvCritic(0, generator=seeded()), "side and channels must be positive, got 0 and 16"),
        (lambda: ConvCritic(8, generator=seeded())(points(2, 9, 0)), "expected 8 x 8 = 64 pixels, got 9"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
