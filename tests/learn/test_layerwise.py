"""Layer-wise bounds over balls: ranges of slopes, networks of every smooth activation, score networks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gflow.learn.layerwise as layerwise
from gflow.fields import ReverseDrift, reverse
from gflow.learn import MLP, NOISE_FEATURES, ConvNet, ScoreNetwork
from gflow.learn.activations import derivative_of
from gflow.learn.layerwise import spectral_bound
from gflow.lipschitz import BallBounded, FieldLogNorm, jacobian, log_norm
from gflow.problems import LINEAR, VE, VP
from tests.lipschitz.balls import largest_on_balls
from tests.strategies import build, floats, untyped

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

F64 = torch.float64
ACTIVATIONS = {
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
    "softplus": nn.functional.softplus,
    "sigmoid": nn.Sigmoid(),
    "gelu": nn.GELU(),
    "identity": nn.Identity(),
}
activations = st.sampled_from(list(ACTIVATIONS.values()))
by_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
seeds = st.integers(0, 1000)
directions = st.sampled_from([1, -1])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sharpened(network, gain):
    """Weights times ``gain``: as steep as training makes them, which starting values are not."""
    for parameter in network.parameters():
        parameter.detach().mul_(gain)
        parameter.requires_grad_(False)
    return network


@st.composite
def networks(draw):
    d = draw(st.integers(1, 4))
    hidden = draw(st.lists(st.integers(1, 12), min_size=0, max_size=3))
    seed, activation, gain = draw(seeds), draw(activations), draw(floats(0.5, 4.0))
    network = build(lambda: MLP(d, d, generator=seeded(seed), hidden=hidden, activation=activation))
    return sharpened(network, gain)


def matrices(network):
    """The Jacobian (n, d, d) as a differentiable function of the inputs."""
    by_row = torch.func.jacrev(lambda row: network(row.unsqueeze(0))[0])
    return torch.func.vmap(by_row)


def balls(d, seed, exponent, n=10):
    return 2 * torch.randn(n, d, generator=seeded(seed), dtype=F64), torch.full((n,), 10.0**exponent, dtype=F64)


@by_activation
@settings(max_examples=10)
@given(centre=floats(-6.0, 6.0), radius=floats(0.0, 4.0))
def test_the_range_of_a_slope_over_an_interval_is_the_one_that_a_fine_grid_sees(activation, centre, radius):
    grid = torch.linspace(centre - radius, centre + radius, 2001, dtype=F64)
    slopes = torch.func.vmap(torch.func.grad(lambda z: activation(z)))(grid)
    known = derivative_of(activation)
    torch.testing.assert_close(known.value(grid), slopes, rtol=1e-12, atol=1e-12)
    low, high = known.over(grid[:1], grid[-1:])
    assert float(low) <= float(slopes.min()) + 1e-12
    assert float(high) >= float(slopes.max()) - 1e-12
    # Beside a turning point the grid misses the extremum by the second derivative, below 1, times spacing^2 / 2.
    spacing = radius / 1000
    assert float(slopes.min()) - float(low) <= spacing**2 + 1e-12
    assert float(high) - float(slopes.max()) <= spacing**2 + 1e-12


def test_the_softplus_of_torch_is_the_identity_from_20_on():
    z = torch.tensor([19.9, 20.1], dtype=F64)
    slopes = torch.func.vmap(torch.func.grad(nn.functional.softplus))(z)
    # 1 - sigmoid(20) is 2e-9: more than round-off.
    torch.testing.assert_close(derivative_of(nn.functional.softplus).value(z), slopes, rtol=1e-12, atol=0.0)


@given(st.integers(1, 6), st.integers(1, 6), seeds, floats(-20.0, 20.0))
def test_the_spectral_bound_is_above_the_norm_by_the_eighth_root_of_the_rank_at_most(p, q, seed, exponent):
    a = 10.0**exponent * torch.randn(5, p, q, generator=seeded(seed), dtype=F64)
    norm = torch.linalg.matrix_norm(a, 2)
    bound = spectral_bound(a)
    assert bool((norm <= bound * (1 + 1e-12)).all())
    assert bool((bound <= norm * min(p, q) ** 0.125 * (1 + 1e-12)).all())
    assert not spectral_bound(0 * a).abs().max() > 1e-150


@given(networks(), seeds, floats(-3.0, 1.0), directions)
def test_w2b_20_the_bound_is_above_all_that_climbing_finds_on_the_ball(network, seed, exponent, direction):
    x, radii = balls(network.layers[0].in_features, seed, exponent)
    bound = network.ball_log_norm(x, radii, direction=direction)
    found = largest_on_balls(lambda y: log_norm(direction * matrices(network)(y)), x, radii, seed=seed)
    assert bool((found <= bound + 1e-9 * (1 + bound.abs())).all())


@given(networks(), seeds, directions)
def test_the_bound_is_the_value_at_the_centre_and_grows_with_the_radius_without_a_jump(network, seed, direction):
    x, _ = balls(network.layers[0].in_features, seed, 0.0)
    J = matrices(network)(x)
    values = [log_norm(direction * J)]
    for radius in (0.0, 1e-8, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 1e3, 1e200):
        values.append(network.ball_log_norm(x, torch.full((len(x),), radius, dtype=F64), direction=direction))
    product = 1.2 ** (len(network.layers) - 1)
    for layer in network.layers:
        product *= float(torch.linalg.matrix_norm(layer.weight, 2))
    torch.testing.assert_close(values[1], values[0], rtol=1e-9, atol=1e-9 * product)
    for small, large in zip(values[1:-1], values[2:], strict=True):
        assert bool((small <= large + 1e-9 * product).all())
    # Slopes grow with the square of the norms below a layer; a jump does not shrink with the radius.
    assert bool((values[2] - values[1] <= 1e-8 * 1e3 * (1 + product) ** 2).all())
    # No activation here is steeper than 1.2: the norms' product bounds all space.
    assert bool((values[-1] <= product * (1 + 1e-9)).all())


@by_activation
def test_one_hidden_layer_is_bounded_unit_by_unit(activation):
    network = sharpened(MLP(1, 1, generator=seeded(), hidden=(1,), activation=activation), 2.0)
    (first, last), z = network.layers, torch.linspace(-3.0, 3.0, 61, dtype=F64)[:, None]
    x = (z - first.bias) / first.weight[0]
    factor, reach = float(first.weight * last.weight), 0.7
    slopes = derivative_of(activation).over(z[:, 0] - reach, z[:, 0] + reach)
    for direction in (1, -1):
        exact = torch.maximum(*(direction * factor * slope for slope in slopes))
        radii = torch.full((61,), reach / float(first.weight.abs()), dtype=F64)
        bound = network.ball_log_norm(x, radii, direction=direction)
        # Exact, but for the cap by norms: |factor| times the larger size of the two slopes.
        torch.testing.assert_close(bound, exact, rtol=1e-9, atol=1e-9)


@given(st.lists(st.tuples(floats(5.0, 30.0), floats(-5.0, 0.0)), min_size=1, max_size=3), floats(0.0, 3.0))
def test_in_a_chain_of_steepening_units_every_order_counts(units, radius):
    widths = (1,) * len(units)
    chain = sharpened(MLP(1, 1, generator=seeded(), hidden=widths, activation=nn.functional.softplus), 1.0)
    h = x = torch.zeros(1, 1, dtype=F64)
    for layer, (weight, start) in zip(chain.layers, units, strict=False):
        layer.weight.fill_(weight)
        layer.bias.copy_((start - weight * h)[0])
        h = nn.functional.softplus(layer(h))
    chain.layers[-1].weight.fill_(1.0)
    # All slopes rise with x, from near 0 to 1: their product, largest at the end of the ball, is of the highest order.
    truth = float(matrices(chain)(x + radius))
    bound = float(chain.ball_log_norm(x, torch.tensor([radius], dtype=F64), direction=1))
    assert bound >= truth * (1 - 1e-9)


@pytest.mark.parametrize(("d", "width", "limit"), [(2, 48, 12.0), (64, 32, 12.0)])
def test_the_rise_over_the_centre_is_a_few_times_the_true_one_and_not_the_product_of_the_norms(d, width, limit):
    network = sharpened(MLP(d, d, generator=seeded(), hidden=(width,) * 3), 3.0)
    x, radii = balls(d, 1, -2.0, n=6)
    norm = lambda y: log_norm(matrices(network)(y))  # noqa: E731
    rise = network.ball_log_norm(x, radii, direction=1) - norm(x)
    found = largest_on_balls(norm, x, radii, seed=0, starts=2) - norm(x)
    assert float(rise.mean()) <= limit * float(found.mean())
    norms = [float(torch.linalg.matrix_norm(layer.weight, 2)) for layer in network.layers]
    # sup |silu''| = 1/2: the Lipschitz constant of the Jacobian by norms alone.
    below, straight = 1.0, 0.0
    for k, size in enumerate(norms[:-1]):
        below *= size
        above = torch.tensor(norms[k + 1 :]).prod()
        straight += float(above) * 0.5 * below**2 * 1.1 ** (len(norms) - 2 + k)
    assert float(rise.max()) < 0.3 * straight * 0.01


@pytest.mark.parametrize("path", [VP(0.1, 20.0), VE(5.0), LINEAR], ids=["vp", "ve", "linear"])
@settings(max_examples=8)
@given(
    seed=seeds,
    share=floats(0.05, 0.95),
    std=floats(0.3, 2.0),
    exponent=floats(-3.0, 0.5),
    direction=directions,
    centred=st.booleans(),
)
def test_w2b_2_a_score_network_is_bounded_in_both_directions(path, seed, share, std, exponent, direction, centred):
    t = path.data_time + share * (path.noise_time - path.data_time)
    body = sharpened(MLP(2, 2, generator=seeded(seed), hidden=(8, 8), features=NOISE_FEATURES), 3.0)
    mean = torch.tensor([1.0, -2.0], dtype=F64) if centred else None
    score = ScoreNetwork(path, body, std, data_mean=mean)
    x, radii = balls(2, seed, exponent, n=6)

    def norm(y):
        return log_norm(direction * matrices(lambda row: score(t, row))(y))

    bound, here = score.ball_log_norm(t, x, radii, direction=direction), norm(x)
    found = largest_on_balls(norm, x, radii, seed=seed, starts=2)
    size = 1 + here.abs() + bound.abs()
    assert bool((found <= bound + 1e-9 * size).all())
    still = score.ball_log_norm(t, x, 0 * radii, direction=direction)
    assert bool(((still - here).abs() <= 1e-9 * size).all())


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_w2b_4_the_sampler_of_a_score_network_is_bounded_in_the_direction_of_sampling(rho):
    path = VP(0.1, 20.0)
    body = sharpened(MLP(2, 2, generator=seeded(), hidden=(16, 16), features=NOISE_FEATURES), 3.0)
    b = reverse(ReverseDrift(path, ScoreNetwork(path, body, 0.7), rho), 1.0)
    bound = FieldLogNorm(b, direction=1)
    for s in (0.1, 0.5, 0.9):
        x, radii = balls(2, 0, -1.0)
        norm = lambda y, s=s: log_norm(matrices(lambda row: b(s, row))(y))  # noqa: E731
        assert bool((largest_on_balls(norm, x, radii, seed=0) <= bound(s, x, radii)).all())
        torch.testing.assert_close(bound(s, x, 0 * radii), log_norm(jacobian(b, s, x)), rtol=1e-9, atol=1e-9)


def test_chunks_change_nothing(monkeypatch):
    network = MLP(3, 3, generator=seeded(), hidden=(8, 8))
    x, radii = balls(3, 0, -1.0)
    whole = network.ball_log_norm(x, radii, direction=1)
    monkeypatch.setattr(layerwise, "MEMORY_LIMIT", 8 * 3 * 8 * 8 * 8 * 3)
    torch.testing.assert_close(network.ball_log_norm(x, radii, direction=1), whole)


@given(seeds, directions)
def test_float32_agrees_with_float64(seed, direction):
    network = MLP(3, 3, generator=seeded(seed), hidden=(16, 16))
    x, _ = balls(3, seed, 0.0)
    radii = torch.linspace(0.0, 1.0, len(x), dtype=F64)
    double = network.ball_log_norm(x, radii, direction=direction)
    single = network.float().ball_log_norm(x.float(), radii.float(), direction=direction)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.functional.relu, "relu"),
        (nn.ReLU(), r"ReLU\(\)"),
        (nn.functional.leaky_relu, "leaky_relu"),
        (nn.Softplus(beta=2), r"Softplus\(beta=2"),
        (nn.GELU(approximate="tanh"), "GELU"),
        (lambda z: z, "<lambda>"),
    ],
)
def test_other_activations_are_refused_by_name(activation, name):
    network = MLP(2, 2, generator=seeded(), hidden=(4,), activation=activation)
    x, radii = balls(2, 0, 0.0)
    with pytest.raises(ValueError, match=rf"activation: its derivative must be known .*got {name}"):
        network.ball_log_norm(x, radii, direction=1)


def test_bad_arguments_are_named():
    x, radii = balls(2, 0, 0.0)
    with pytest.raises(ValueError, match="as many outputs as inputs, got 1 and 2"):
        MLP(2, 1, generator=seeded()).ball_log_norm(x, radii, direction=1)
    with pytest.raises(ValueError, match="built without"):
        MLP(2, 2, generator=seeded()).ball_log_norm(x, radii, torch.ones(3, dtype=F64), direction=1)
    plain = MLP(2, 2, generator=seeded(), features=NOISE_FEATURES)
    for bounded in (
        lambda x, r, k: plain.ball_log_norm(x, r, torch.ones(NOISE_FEATURES, dtype=F64), direction=k),
        lambda x, r, k: ScoreNetwork(VE(5.0), plain, 1.0).ball_log_norm(0.5, x, r, direction=k),
    ):
        with pytest.raises(ValueError, match=r"direction: expected \+1"):
            bounded(x, radii, 0)
        with pytest.raises(ValueError, match="radii: must be finite"):
            bounded(x, -radii, 1)
    with pytest.raises(ValueError, match="no score at t=0"):
        ScoreNetwork(VE(5.0), plain, 1.0).ball_log_norm(0.0, x, radii, direction=1)
    image = ConvNet(2, generator=seeded(), features=NOISE_FEATURES)
    score = ScoreNetwork(VE(5.0), image, 1.0)
    assert isinstance(score, BallBounded)
    with untyped(), pytest.raises(TypeError, match="the body must have a method ball_log_norm, as MLP has, got Conv"):
        score.ball_log_norm(0.5, torch.zeros(10, 4, dtype=F64), radii, direction=1)
