"""Games: velocities, eigenvalues, orders of joint and of frozen players, penalties inside and outside the stages."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev
from torch.nn.functional import softplus

from gflow.ode import DOPRI5, EULER, HEUN, MIDPOINT, RK4, ButcherTableau, ConstantStep, ExplicitRK, solve_ivp
from gflow.problems import SMOOTH_GAME, BilinearGame, DiracGan, Game, GameFlow, PenalisedGame, PlanarGame
from gflow.velocity import Time, VelocityField
from tests.halving import end, fine, gap, orders
from tests.ode.problems import TABLEAUX, named
from tests.strategies import F64, build, floats, points, untyped

Players = dict[str, Tensor]
HALF = Fraction(1, 2)
# The tableau called Heun in the ODE-GAN notebook: c = 1/2 with the weights of c = 1.
NOTEBOOK = ButcherTableau("notebook", 1, ((), (HALF,)), (HALF, HALF))
EXTRAGRADIENT = ButcherTableau("extragradient", 1, ((), (Fraction(1),)), (Fraction(0), Fraction(1)))
seeds = st.integers(0, 1000)


@st.composite
def planar(draw: st.DrawFn) -> PlanarGame:
    """Coefficients in [-1, 1]."""
    row = st.lists(floats(-1.0, 1.0), min_size=5, max_size=5).map(tuple)
    return build(PlanarGame, draw(row), draw(row))


def players(n: int, seed: int = 0) -> Players:
    theta, phi = points(2, n, seed, 1.0)
    return {"theta": theta, "phi": phi}


def jacobian(v: VelocityField[Players]) -> Tensor:
    """The (2, 2) Jacobian of a planar field at 0."""

    def flat(y: Tensor) -> Tensor:
        out = v(0.0, {"theta": y[:1], "phi": y[1:]})
        return torch.cat([out["theta"], out["phi"]])

    return jacrev(flat)(torch.zeros(2, dtype=F64))


def size(y: Players) -> float:
    return math.hypot(*(float(x.norm()) for x in y.values()))


def play_frozen(flow: GameFlow[Tensor], y: Players, t1: float, tableau: ButcherTableau, steps: int) -> Players:
    """Each player solves its own equation over a step, the other one held where the step began (CODE-1)."""
    h = t1 / steps
    for _ in range(steps):
        y = {
            name: end(flow.player(name, y[other]), y[name], h, tableau, 1)
            for name, other in (("theta", "phi"), ("phi", "theta"))
        }
    return y


@settings(max_examples=3)
@given(planar(), st.floats(0.0, 2.0), seeds)
def test_each_player_descends_its_own_loss(planar_game: PlanarGame, gamma: float, seed: int) -> None:
    y, e = players(2, seed), 1e-5
    for game in (planar_game, PenalisedGame(planar_game, gamma), DiracGan(torch.sin, gamma), BilinearGame()):
        v = GameFlow(game)(0.0, y)
        for name, loss in (("theta", game.loss_theta), ("phi", game.loss_phi)):
            for i, step in enumerate(e * torch.eye(2, dtype=F64)):
                up, down = ({**y, name: y[name] + s} for s in (step, -step))
                slope = float(loss(up["theta"], up["phi"]) - loss(down["theta"], down["phi"])) / (2 * e)
                assert float(v[name][i]) == pytest.approx(-slope, abs=1e-6)


@given(planar(), seeds)
def test_a_player_against_a_frozen_opponent_moves_as_in_the_joint_field(game: PlanarGame, seed: int) -> None:
    flow, y = GameFlow(game), players(3, seed)
    v = flow(0.0, y)
    torch.testing.assert_close(flow.player("theta", y["phi"])(0.0, y["theta"]), v["theta"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(flow.player("phi", y["theta"])(0.0, y["phi"]), v["phi"], rtol=1e-12, atol=1e-12)


@settings(max_examples=10)
@given(planar(), seeds)
def test_games_side_by_side_do_not_meet(planar_game: PlanarGame, seed: int) -> None:
    y = players(4, seed)
    for game in (planar_game, PenalisedGame(planar_game, 0.7), DiracGan(torch.sin, 0.3)):
        together = GameFlow(game)(0.0, y)
        for i in range(4):
            alone = GameFlow(game)(0.0, {name: x[i : i + 1] for name, x in y.items()})
            assert gap(alone, {name: x[i : i + 1] for name, x in together.items()}) < 1e-12


@dataclass(frozen=True)
class NonSaturating:
    """The Dirac-GAN whose generator descends -log D."""

    def loss_theta(self, theta: Tensor, phi: Tensor) -> Tensor:
        return softplus(theta * phi).sum()

    def loss_phi(self, theta: Tensor, phi: Tensor) -> Tensor:
        return softplus(-theta * phi).sum()


@dataclass(frozen=True)
class FastCritic:
    """STAB-5: D = phi x, loss phi^2/2 + phi theta for a critic kappa times as fast as the generator."""

    kappa: float

    def loss_theta(self, theta: Tensor, phi: Tensor) -> Tensor:
        return -(theta * phi).sum()

    def loss_phi(self, theta: Tensor, phi: Tensor) -> Tensor:
        return self.kappa * (0.5 * phi * phi + theta * phi).sum()


@pytest.mark.parametrize(
    ("game", "frequency"),
    [
        (BilinearGame(), 1.0),
        (DiracGan(lambda u: u), 1.0),
        (DiracGan(lambda u: -softplus(-u)), 0.5),
        (NonSaturating(), 0.5),
    ],
    ids=["bilinear", "Wasserstein", "vanilla", "non-saturating"],
)
def test_stab_1_games_rotate_about_their_equilibrium(game: Game[Tensor], frequency: float) -> None:
    assert isinstance(game, Game)
    values = torch.linalg.eigvals(jacobian(GameFlow(game)))
    assert float(values.real.abs().max()) < 1e-10
    assert sorted(values.imag.tolist()) == pytest.approx([-frequency, frequency], abs=1e-10)


@given(floats(0.1, 2.0), floats(0.0, 4.0), floats(0.1, 20.0))
def test_stab_4_and_5_eigenvalues_are_the_roots_of_their_polynomials(slope: float, gamma: float, kappa: float) -> None:
    # lambda^2 - trace lambda + determinant; the roots themselves lose half the digits where they meet.
    for game, trace, determinant in (
        (DiracGan(lambda u: torch.sin(slope * u), gamma), -gamma, slope**2),
        (FastCritic(kappa), -kappa, kappa),
    ):
        matrix = jacobian(GameFlow(game))
        assert float(matrix.trace()) == pytest.approx(trace, abs=1e-12)
        assert float(matrix.det()) == pytest.approx(determinant, rel=1e-12)


@given(st.floats(-20.0, 20.0), seeds)
def test_the_exact_bilinear_flow_is_the_exponential_of_the_field_and_keeps_the_radius(t: float, seed: int) -> None:
    game, y = BilinearGame(), players(3, seed)
    flow_map = torch.linalg.matrix_exp(t * jacobian(GameFlow(game)))
    theta, phi = flow_map @ torch.stack([y["theta"], y["phi"]])
    moved = game.exact(t, y)
    assert gap(moved, {"theta": theta, "phi": phi}) < 1e-11
    assert size(moved) == pytest.approx(size(y), rel=1e-14)


MODULI = [
    (EULER, lambda h: math.sqrt(1 + h**2)),
    (NOTEBOOK, lambda h: math.sqrt((1 - h**2 / 4) ** 2 + h**2)),
    (MIDPOINT, lambda h: math.sqrt(1 + h**4 / 4)),
    (HEUN, lambda h: math.sqrt(1 + h**4 / 4)),
    (RK4, lambda h: math.sqrt(1 - h**6 / 72 + h**8 / 576)),
    (EXTRAGRADIENT, lambda h: math.sqrt(1 - h**2 + h**4)),
]


@pytest.mark.parametrize(("tableau", "modulus"), MODULI, ids=[tableau.name for tableau, _ in MODULI])
@settings(max_examples=10)
@given(h=st.floats(0.05, 3.0), seed=seeds)
def test_stab_2_growth_per_step_on_the_centre(
    tableau: ButcherTableau, modulus: Callable[[float], float], h: float, seed: int
) -> None:
    y0 = players(1, seed)
    growth = size(end(GameFlow(BilinearGame()), y0, 3 * h, tableau, 3)) / size(y0)
    assert growth ** (1 / 3) == pytest.approx(modulus(h), rel=1e-10)


def test_stab_2_alternating_steps_stay_on_the_circle_up_to_step_two() -> None:
    flow = GameFlow(BilinearGame())

    def radius(h: float) -> float:
        """Spectral radius of: theta steps, then phi steps against the new theta."""
        columns = []
        for theta, phi in torch.eye(2, dtype=F64).unbind(1):
            moved = end(flow.player("theta", phi[None]), theta[None], h, EULER, 1)
            columns.append(torch.cat([moved, end(flow.player("phi", moved), phi[None], h, EULER, 1)]))
        return float(torch.linalg.eigvals(torch.stack(columns, 1)).abs().max())

    assert [radius(h) for h in (0.5, 1.9)] == pytest.approx([1.0, 1.0], abs=1e-12)
    assert radius(2.1) == pytest.approx(abs((2 - 2.1**2 - cmath.sqrt((2 - 2.1**2) ** 2 - 4)) / 2), rel=1e-12)
    assert radius(2.1) == pytest.approx(1.877, abs=1e-3)


@cache
def smooth_end() -> Players:
    return fine(GameFlow(SMOOTH_GAME), players(3), 0.5, 40)


@pytest.mark.parametrize("tableau", **named([EULER, NOTEBOOK, HEUN, RK4]))
def test_code_1_frozen_opponents_have_order_one_whatever_the_tableau(tableau: ButcherTableau) -> None:
    flow, y0, steps = GameFlow(SMOOTH_GAME), players(3), (10, 20, 40)
    exact = smooth_end()
    joint = orders(lambda n: gap(end(flow, y0, 0.5, tableau, n), exact), steps)
    frozen = orders(lambda n: gap(play_frozen(flow, y0, 0.5, tableau, n), exact), steps)
    assert joint == pytest.approx([tableau.order] * 2, abs=0.1)
    assert frozen == pytest.approx([1.0] * 2, abs=0.1)


def test_code_1_numbers_of_the_bilinear_game_after_500_steps_of_a_tenth() -> None:
    flow, y0 = GameFlow(BilinearGame()), players(1)

    def radius(y1: Players) -> float:
        # The game turns the plane and the step commutes with that, so every step grows by the same factor.
        return (size(y1) / size(y0)) ** 500

    assert radius(play_frozen(flow, y0, 0.1, RK4, 1)) == pytest.approx(12.0322, abs=5e-5)
    assert radius(end(flow, y0, 0.1, EULER, 1)) == pytest.approx(1.01**250, rel=1e-12)
    assert radius(end(flow, y0, 0.1, RK4, 1)) == pytest.approx(0.9999965, abs=5e-8)
    assert radius(end(flow, y0, 0.1, NOTEBOOK, 1)) == pytest.approx(3.485, abs=5e-4)


@pytest.mark.parametrize("tableau", **named(TABLEAUX))
def test_code_1_where_no_player_acts_on_itself_every_tableau_frozen_is_euler(tableau: ButcherTableau) -> None:
    flow, y0 = GameFlow(BilinearGame()), players(2)
    assert gap(play_frozen(flow, y0, 3.0, tableau, 5), end(flow, y0, 3.0, EULER, 5)) < 1e-13


def modified(v: VelocityField[Players], h: float) -> VelocityField[Players]:
    """``v - (h/2) v' v``: what Euler's method follows to second order (INT-2)."""

    def field(t: Time, y: Players) -> Players:
        value, e = v(t, y), 1e-4  # a central difference: its error e^2 is far below the h^2 that is measured
        ahead, behind = (v(t, {name: y[name] + s * value[name] for name in y}) for s in (e, -e))
        return {name: value[name] - h / (4 * e) * (ahead[name] - behind[name]) for name in y}

    return field


@settings(max_examples=2)
@given(planar(), seeds)
def test_int_2_euler_follows_the_modified_equation_to_order_two(game: PlanarGame, seed: int) -> None:
    flow, y0, steps = GameFlow(game), players(3, seed), (20, 40)
    ends = {n: end(flow, y0, 0.5, EULER, n) for n in steps}
    assume(gap(ends[40], fine(flow, y0, 0.5, 5)) > 1e-3)  # a game that moves, or the order below is that of nothing
    found = orders(lambda n: gap(ends[n], fine(modified(flow, 0.5 / n), y0, 0.5, 5)), steps)
    assert found == pytest.approx([2.0], abs=0.1)


@given(st.floats(0.01, 1.0), seeds)
def test_int_2_euler_pushes_the_bilinear_game_outwards_at_half_the_step(h: float, seed: int) -> None:
    flow, y = GameFlow(BilinearGame()), players(3, seed)
    pushed = {name: x + 0.5 * h * y[name] for name, x in flow(0.0, y).items()}
    assert gap(modified(flow, h)(0.0, y), pushed) < 1e-11


@given(st.floats(0.0, 3.0), seeds)
def test_the_penalty_of_the_bilinear_game_is_the_gradient_penalty_of_the_dirac_gan(gamma: float, seed: int) -> None:
    penalised, y = PenalisedGame(BilinearGame(), gamma), players(3, seed)
    assert gap(GameFlow(penalised)(0.0, y), GameFlow(DiracGan(lambda u: u, gamma))(0.0, y)) < 1e-14
    assert float(penalised.penalty(y["theta"], y["phi"])) == pytest.approx(0.5 * gamma * float(y["phi"].square().sum()))


@given(planar(), st.floats(0.0, 3.0), seeds)
def test_the_penalty_inside_is_what_it_is_outside(game: PlanarGame, gamma: float, seed: int) -> None:
    penalised, y = PenalisedGame(game, gamma), players(3, seed)
    inside, outside, bare = GameFlow(penalised)(0.0, y), penalised.penalty_velocity(0.0, y), GameFlow(game)(0.0, y)
    assert gap(inside, {name: bare[name] + outside[name] for name in y}) < 1e-12
    assert not outside["theta"].any()
    half_square = 0.5 * float(bare["theta"].square().sum())
    assert float(penalised.penalty(y["theta"], y["phi"])) == pytest.approx(gamma * half_square, rel=1e-12)


def add_outside(game: PenalisedGame[Tensor], y: Players, t1: float, steps: int) -> Players:
    """Heun on the bare game, the penalty of the first stage added with the full step (CODE-2)."""
    h = t1 / steps
    for _ in range(steps):
        extra, bare = game.penalty_velocity(0.0, y), end(GameFlow(game.game), y, h, HEUN, 1)
        y = {name: bare[name] + h * extra[name] for name in y}
    return y


def test_code_2_a_penalty_outside_the_stages_pulls_the_order_down_to_one() -> None:
    y0, inside, outside = players(3), {}, {}
    for gamma, steps in ((0.02, (10, 20, 40)), (2.0, (20, 40))):
        game = PenalisedGame(SMOOTH_GAME, gamma)
        exact = fine(GameFlow(game), y0, 0.5, 10)
        inside[gamma] = orders(lambda n, g=game, y=exact: gap(end(GameFlow(g), y0, 0.5, HEUN, n), y), steps)
        outside[gamma] = orders(lambda n, g=game, y=exact: gap(add_outside(g, y0, 0.5, n), y), steps)
    assert [inside[0.02][-1], inside[2.0][-1]] == pytest.approx([2.0] * 2, abs=0.1)
    assert outside[2.0][-1] == pytest.approx(1.0, abs=0.1)
    # A small penalty hides behind Heun's own error until the step is small enough: the order is in decay.
    first, second = outside[0.02]
    assert 1.4 < second < first - 0.1 < 1.7


@dataclass(frozen=True)
class Nested:
    """A tiny GAN on fixed noise and data, with both networks as nested dicts."""

    noise: Tensor
    data: Tensor

    def loss_theta(self, theta: dict, phi: dict) -> Tensor:
        return -self.critic(self.noise @ theta["layer"]["w"] + theta["b"], phi).mean()

    def loss_phi(self, theta: dict, phi: dict) -> Tensor:
        return (
            self.critic(self.noise @ theta["layer"]["w"] + theta["b"], phi).mean() - self.critic(self.data, phi).mean()
        )

    def critic(self, x: Tensor, phi: dict) -> Tensor:
        return torch.tanh(x @ phi["inner"]["w"]) @ phi["outer"]


@given(seeds)
def test_players_may_be_nested_dicts(seed: int) -> None:
    game = Nested(points(6, 2, seed), points(6, 2, seed + 1))
    w, inner = points(2, 2, seed + 2), points(2, 3, seed + 3)
    y = {
        "phi": {"inner": {"w": inner}, "outer": points(1, 3, seed + 4)[0]},  # the order of the blocks is free
        "theta": {"layer": {"w": w}, "b": points(1, 2, seed + 5)[0]},
    }
    v, penalised = GameFlow(game)(0.0, y), PenalisedGame(game, 0.1)
    jacobian = jacrev(lambda b: game.loss_theta({**y["theta"], "b": b}, y["phi"]))(y["theta"]["b"])
    torch.testing.assert_close(v["theta"]["b"], -jacobian)
    rise = jacrev(lambda x: game.loss_phi(y["theta"], {**y["phi"], "inner": {"w": x}}))(inner)
    torch.testing.assert_close(v["phi"]["inner"]["w"], -rise)
    extra = penalised.penalty_velocity(0.0, y)
    assert gap(GameFlow(penalised)(0.0, y)["phi"], _sum(v["phi"], extra["phi"])) < 1e-12
    assert gap(extra["theta"], _sum(y["theta"], y["theta"], -1.0)) == 0.0
    moved = end(GameFlow(penalised), y, 0.1, HEUN, 2)
    assert moved["theta"]["layer"]["w"].shape == w.shape


def _sum(a: dict | Tensor, b: dict | Tensor, sign: float = 1.0) -> dict | Tensor:
    return a + sign * b if isinstance(a, Tensor) else {key: _sum(a[key], b[key], sign) for key in a}


def test_dtype_and_device_are_those_of_the_players() -> None:
    y = {name: x.float() for name, x in players(2).items()}
    # A factory without device= would land on "meta" here.
    with torch.device("meta"):
        for game in (BilinearGame(), DiracGan(torch.sin, 0.2), SMOOTH_GAME, PenalisedGame(SMOOTH_GAME, 0.2)):
            results = [*GameFlow(game)(0.0, y).values()]
            results.append(GameFlow(game).player("phi", y["theta"])(0.0, y["phi"]))
            assert {(x.dtype, x.device.type) for x in results} == {(torch.float32, "cpu")}
        extra = PenalisedGame(SMOOTH_GAME, 0.2).penalty_velocity(0.0, y)
        assert {(x.dtype, x.device.type) for x in extra.values()} == {(torch.float32, "cpu")}


def test_the_flow_runs_both_ways_and_does_not_depend_on_time() -> None:
    flow, y0 = GameFlow(SMOOTH_GAME), players(3)
    method, controller = ExplicitRK(DOPRI5), ConstantStep(0.05)
    there = fine(flow, y0, 1.0, 20)
    back = solve_ivp(flow, there, 5.0, 4.0, method=method, controller=controller).y1
    assert gap(back, y0) < 1e-7
    assert gap(there, y0) > 0.1


def test_bad_arguments_are_named() -> None:
    y = players(1)
    with pytest.raises(ValueError, match=r"y: expected the blocks theta and phi, got \['theta', 'critic'\]"):
        GameFlow(BilinearGame())(0.0, {"theta": y["theta"], "critic": y["phi"]})
    with pytest.raises(ValueError, match="name: expected 'theta' or 'phi', got 'psi'"):
        GameFlow(BilinearGame()).player("psi", y["phi"])
    for wrong in (-0.1, math.inf, math.nan):
        with untyped(), pytest.raises(ValueError, match="gamma: must be finite and not negative"):
            PenalisedGame(BilinearGame(), wrong)
        with untyped(), pytest.raises(ValueError, match="gamma: must be finite and not negative"):
            DiracGan(torch.sin, wrong)
    with untyped(), pytest.raises(ValueError, match="phi: expected 5 finite coefficients"):
        PlanarGame((1.0,) * 5, (1.0,) * 4)
    with untyped(), pytest.raises(ValueError, match="theta: expected 5 finite coefficients"):
        PlanarGame((1.0, math.nan, 1.0, 1.0, 1.0), (1.0,) * 5)
