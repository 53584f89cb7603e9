"""Alternating and optimistic Euler steps: what they do to games, in which order, and what they remember."""

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.ode import (
    DOPRI5,
    EULER,
    AlternatingEuler,
    ConstantStep,
    ExplicitRK,
    OptimisticEuler,
    solve_ivp,
)
from tests.ode.problems import Counted, bilinear, flat_bilinear
from tests.strategies import floats

PLAY = AlternatingEuler(("theta", "phi"))
OPTIMISTIC = OptimisticEuler()


def run(method, v, y0, t0, t1, h, **options):
    return solve_ivp(v, y0, t0, t1, method=method, controller=ConstantStep(h), **options)


def players(theta, phi):
    return {"theta": torch.tensor([theta], dtype=torch.float64), "phi": torch.tensor([phi], dtype=torch.float64)}


def joined(y):
    return torch.cat((y["theta"].reshape(-1), y["phi"].reshape(-1)))


def game(t, y):
    """A nonlinear game of two and three strategies with a time in it."""
    theta, phi = y["theta"], y["phi"]["w"]
    coupling = torch.sin(theta).sum() + t
    return {"theta": -phi.sum() * torch.cos(theta) - 0.2 * theta, "phi": {"w": coupling - torch.tanh(phi)}}


def game_start():
    return {
        "theta": torch.tensor([0.4, -0.3], dtype=torch.float64),
        "phi": {"w": torch.tensor([[0.2, 0.5, -0.1]], dtype=torch.float64)},
    }


@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.0), (1.0, 0.0)], ids=["forward", "backward"])
@pytest.mark.parametrize("method", [PLAY, AlternatingEuler(("phi", "theta")), OPTIMISTIC], ids=repr)
def test_observed_order_is_1_and_no_more_in_both_directions(method, t0, t1):
    """Against DOPRI5; the slope with the next term of the expansion eliminated."""
    exact = run(ExplicitRK(DOPRI5), game, game_start(), t0, t1, 0.02).y1
    errors = [run(method, game, game_start(), t0, t1, 1 / n).y1 for n in (20, 40, 80)]
    gaps = [torch.cat((y["theta"] - exact["theta"], (y["phi"]["w"] - exact["phi"]["w"])[0])) for y in errors]
    coarse, fine = ((e0 / 4 - e1).norm() for e0, e1 in zip(gaps, gaps[1:], strict=False))
    assert math.log2(coarse / fine) == pytest.approx(1, abs=0.05)
    assert (method.order, method.error_order) == (1, None)


# Alternating


def spectrum(method, h):
    """Eigenvalues of one step of the bilinear game, by their sizes."""
    columns = [joined(run(method, bilinear, players(*e), 0.0, h, h).y1) for e in ((1.0, 0.0), (0.0, 1.0))]
    return sorted(torch.linalg.eigvals(torch.stack(columns, 1)).abs().tolist())


@settings(max_examples=10)
@given(h=floats(0.01, 1.99), first=st.booleans())
def test_stab_2_alternating_steps_stay_on_the_centre_up_to_h_2_and_simultaneous_ones_leave_it(h, first):
    order = ("theta", "phi") if first else ("phi", "theta")
    assert spectrum(AlternatingEuler(order), h) == pytest.approx([1.0, 1.0], abs=1e-10)
    assert spectrum(ExplicitRK(EULER), h) == pytest.approx([math.sqrt(1 + h**2)] * 2, abs=1e-10)


@settings(max_examples=10)
@given(h=floats(2.01, 3.0))
def test_stab_2_beyond_h_2_the_spectral_radius_is_that_of_its_trace(h):
    trace = h**2 - 2
    largest = (trace + math.sqrt(trace**2 - 4)) / 2
    assert spectrum(PLAY, h) == pytest.approx([1 / largest, largest], rel=1e-9)


def test_stab_2_spectral_radii_of_the_ledger():
    assert [round(spectrum(PLAY, h)[-1], 3) for h in (0.5, 1.9, 2.1)] == [1.0, 1.0, 1.877]


def test_hundreds_of_alternating_steps_go_round_the_centre_without_leaving_it():
    y1 = joined(run(PLAY, bilinear, players(1.0, 0.0), 0.0, 50.0, 0.25, save_every=1).ys)
    sizes = y1.reshape(2, -1).norm(dim=0)
    # The orbit is the ellipse theta^2 + phi^2 + h theta phi = 1.
    assert 1 / math.sqrt(1 + 0.125) - 1e-9 < sizes.min() < sizes.max() < 1 / math.sqrt(1 - 0.125) + 1e-9


@settings(max_examples=10)
@given(h=floats(0.01, 1.0), t=floats(-2.0, 2.0), backward=st.booleans())
def test_blocks_play_in_the_order_of_their_names_and_see_what_those_before_have_done(h, t, backward):
    step = -h if backward else h
    y = game_start()
    v = game(t, y)
    after = {"theta": y["theta"] + step * v["theta"], "phi": y["phi"]}
    second = {"theta": after["theta"], "phi": {"w": y["phi"]["w"] + step * game(t, after)["phi"]["w"]}}
    played = run(PLAY, game, y, t, t + step, 1.0).y1
    # The length of the step is the difference of its times, which rounds.
    torch.testing.assert_close(played["theta"], second["theta"], rtol=0, atol=1e-14)
    torch.testing.assert_close(played["phi"]["w"], second["phi"]["w"], rtol=0, atol=1e-14)
    other = run(AlternatingEuler(("phi", "theta")), game, y, t, t + step, 1.0).y1
    torch.testing.assert_close(other["phi"]["w"], y["phi"]["w"] + step * v["phi"]["w"], rtol=0, atol=1e-14)
    assert not torch.equal(other["theta"], played["theta"])


@pytest.mark.parametrize("blocks", [("a", "b", "c"), ("c", "a", "b")], ids=["in order", "rotated"])
def test_a_step_costs_one_evaluation_per_block_all_of_them_at_its_start(blocks):
    field = Counted(lambda t, y: {"a": y["b"], "b": y["c"], "c": y["a"]})
    block = {"x": torch.ones(2, dtype=torch.float64), "z": torch.ones(1, 3, dtype=torch.float64)}
    stats = run(AlternatingEuler(blocks), field, dict.fromkeys("abc", block), 0.5, 1.0, 0.25).stats
    assert stats.evaluations == len(field.times) == 6
    assert field.times == [0.5] * 3 + [0.75] * 3


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), learning_rate=st.floats(1e-3, 0.5))
def test_int_1_alternating_gradient_descent_ascent_is_alternating_euler_bit_for_bit(seed, learning_rate):
    generator = torch.Generator().manual_seed(seed)
    theta, phi = (torch.nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64)) for _ in range(2))
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    y0 = {"theta": theta.detach().clone(), "phi": phi.detach().clone()}
    descend, ascend = torch.optim.SGD([theta], learning_rate), torch.optim.SGD([phi], learning_rate, maximize=True)
    for _ in range(5):
        theta.grad = matrix @ phi.detach()
        descend.step()
        phi.grad = matrix.T @ theta.detach()
        ascend.step()

    def v(t, y):
        return {"theta": -(matrix @ y["phi"]), "phi": matrix.T @ y["theta"]}

    y1 = run(PLAY, v, y0, 0.0, 5 * learning_rate, learning_rate).y1
    assert torch.equal(y1["theta"], theta.detach())
    assert torch.equal(y1["phi"], phi.detach())


@pytest.mark.parametrize("blocks", [("theta",), ("theta", "psi"), ("theta", "theta"), ("theta", "phi", "w"), ()])
def test_blocks_that_are_not_the_names_of_the_state_are_refused_with_both(blocks):
    with pytest.raises(
        ValueError, match=r"AlternatingEuler: blocks must be the names of the state, \['theta', 'phi'\]"
    ):
        run(AlternatingEuler(blocks), game, game_start(), 0.0, 1.0, 0.5)


def test_a_state_without_names_has_no_blocks():
    with pytest.raises(ValueError, match=r"AlternatingEuler: blocks must be the names of the state, \[\], got \['a'\]"):
        run(AlternatingEuler(("a",)), flat_bilinear, torch.ones(2), 0.0, 1.0, 0.5)


# Optimistic


@settings(max_examples=10)
@given(h=floats(0.05, 0.55), n=st.integers(1, 60), backward=st.booleans())
def test_stab_2_optimistic_iterates_of_the_bilinear_game_are_the_roots_of_their_recurrence(h, n, backward):
    """z' = i z gives x^2 = (1 + 2 i h) x - i h, from z0 = 1 and Euler's z1 = 1 + i h."""
    step = -1j * h if backward else 1j * h
    root = cmath.sqrt((1 + 2 * step) ** 2 - 4 * step)
    x, w = (1 + 2 * step + root) / 2, (1 + 2 * step - root) / 2
    c = (1 + step - w) / (x - w)
    wanted = c * x**n + (1 - c) * w**n
    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    y1 = run(OPTIMISTIC, flat_bilinear, y0, 0.0, math.copysign(n * h, step.imag), h).y1
    assert complex(*y1.tolist()) == pytest.approx(wanted, abs=1e-12)


def test_optimistic_steps_converge_where_eulers_diverge_at_the_same_cost():
    y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)
    ours, euler = (run(m, flat_bilinear, y0, 0.0, 150.0, 0.5) for m in (OPTIMISTIC, ExplicitRK(EULER)))
    assert ours.y1.norm() < 1e-3 < 1e3 < euler.y1.norm()
    assert ours.stats == euler.stats
    assert ours.stats.evaluations == 300


def test_the_first_optimistic_step_is_eulers_bit_for_bit():
    ours, euler = (run(m, game, game_start(), 0.3, 0.5, 0.2).y1 for m in (OPTIMISTIC, ExplicitRK(EULER)))
    assert torch.equal(ours["theta"], euler["theta"])
    assert torch.equal(ours["phi"]["w"], euler["phi"]["w"])


class Slopes:
    """A field per step, v(t, y) = slopes[k] whatever t and y."""

    def __init__(self, slopes):
        self.slopes, self.asked = slopes, []

    def at_step(self, k):
        def v(t, y):
            self.asked.append(k)
            return self.slopes[k] + 0 * y

        return v


@settings(max_examples=10)
@given(slopes=st.lists(floats(-3.0, 3.0), min_size=1, max_size=8))
def test_memory_survives_a_change_of_the_field_and_carried_slopes_do_not(slopes):
    y0, h = torch.zeros(1, dtype=torch.float64), 0.125
    field = Slopes(slopes)
    ours = run(OPTIMISTIC, field, y0, 0.0, len(slopes) * h, h)
    # y1 = y + h (2 g_k - g_{k-1}): the gradient of the last minibatch is remembered, that of this one evaluated.
    assert ours.y1.item() == pytest.approx(h * (sum(slopes) + slopes[-1] - slopes[0]), abs=1e-12)
    assert field.asked == list(range(len(slopes)))
    assert ours.stats.evaluations == len(slopes)
    field = Slopes(slopes)
    fsal = run(ExplicitRK(DOPRI5), field, y0, 0.0, len(slopes) * h, h)
    assert fsal.y1.item() == pytest.approx(h * sum(slopes), abs=1e-12)
    assert field.asked == [k for k in range(len(slopes)) for _ in range(7)]
