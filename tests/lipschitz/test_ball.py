"""Bounds over balls: constants of all space, the centre plus K radius, and what a field knows of itself."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.estimate import Estimate
from gflow.fields import ProbabilityFlow, reverse
from gflow.lipschitz import (
    BallBounded,
    BallLogNorm,
    ClosedForm,
    FieldLogNorm,
    JacobianOsl,
    LipschitzJacobian,
    jacobian,
    log_norm,
)
from gflow.problems import VP, GaussianMixture, NoisedScore
from tests.lipschitz.balls import largest_on_balls
from tests.lipschitz.fields import Sine, normal, seeds
from tests.strategies import untyped

# The first jvp of a process makes torch compile scripts of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

sizes = st.integers(1, 4)


class BentSine(Sine):
    """A ``Sine`` that knows the Lipschitz constant of its Jacobian and the supremum of its logarithmic norm."""

    def bend(self, t):
        return Estimate.exact(
            t * float(self.w.norm(dim=0).max()) * float(torch.linalg.matrix_norm(self.w, 2)), bias="up"
        )

    def osl(self, t):
        return Estimate.exact(t * float(torch.linalg.matrix_norm(self.w, 2)), bias="up")


@given(d=sizes, seed=seeds, t=st.floats(0.1, 2.0), exponent=st.floats(-3.0, 0.5))
def test_w2b_20_the_centre_plus_k_radius_is_above_all_that_climbing_finds(d, seed, t, exponent):
    v, centres = BentSine(d, seed), normal(9, d, seed=seed + 1)
    radii = torch.full((9,), 10.0**exponent, dtype=centres.dtype)
    found = largest_on_balls(lambda x: log_norm(v.exact(t, x)), centres, radii, seed=seed)
    for bound in (LipschitzJacobian(v, v.bend), LipschitzJacobian(v, v.bend, osl=v.osl), ClosedForm(v.osl)):
        assert bool((found <= bound(t, centres, radii) + 1e-12).all())


@given(d=sizes, seed=seeds, radius=st.floats(0.0, 2.0))
def test_the_centre_plus_k_radius_is_that_until_the_constant_of_all_space_is_smaller(d, seed, radius):
    v, centres = BentSine(d, seed), normal(9, d, seed=seed + 1)
    radii = torch.linspace(0.0, radius, 9, dtype=centres.dtype)
    straight = log_norm(jacobian(v, 0.7, centres)) + v.bend(0.7).mean * radii
    torch.testing.assert_close(LipschitzJacobian(v, v.bend, chunk=2)(0.7, centres, radii), straight)
    capped = LipschitzJacobian(v, v.bend, osl=v.osl)(0.7, centres, radii)
    torch.testing.assert_close(capped, torch.minimum(straight, torch.full_like(straight, v.osl(0.7).mean)))


def test_a_constant_of_all_space_holds_for_every_ball_at_its_own_time():
    bound = ClosedForm(lambda t: Estimate.exact(2.0 * t))
    found = bound(1.5, normal(3, 2, seed=0, dtype=torch.float32), torch.tensor([0.0, 1.0, 1e6]))
    assert found.tolist() == [3.0, 3.0, 3.0]
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    "sampled",
    [
        Estimate.exact(1.0, bias="down"),
        Estimate.exact(1.0, bias="unknown"),
        Estimate.pool([Estimate.exact(v) for v in (1.0, 2.0)]),
        Estimate.bound(1e4),
    ],
    ids=["down", "unknown", "pooled", "infinite"],
)
def test_w2b_16_a_sampled_constant_certifies_nothing(sampled):
    v, x, radii = Sine(2, 0), normal(3, 2, seed=1), torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="osl: needs a finite closed form"):
        ClosedForm(lambda t: sampled)(0.5, x, radii)
    with pytest.raises(ValueError, match="constant: needs a finite closed form"):
        LipschitzJacobian(v, lambda t: sampled)(0.5, x, radii)
    with pytest.raises(ValueError, match="osl: needs a finite closed form"):
        LipschitzJacobian(v, lambda t: Estimate.exact(1.0), osl=lambda t: sampled)(0.5, x, radii)


def test_the_sampled_estimators_are_refused_and_a_certificate_is_taken_at_its_upper_end():
    v, x, radii = Sine(2, 0), normal(3, 2, seed=1), torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="bias down"):
        ClosedForm(lambda t: JacobianOsl()(v, t, x, direction=1))(0.5, x, radii)
    interval = Estimate(mean=1.0, lo=0.5, hi=1.5, bias="up")
    assert ClosedForm(lambda t: interval)(0.5, x, radii).tolist() == [1.5] * 3


def test_bad_balls_are_named():
    bound = ClosedForm(lambda t: Estimate.exact(1.0))
    x, radii = normal(3, 2, seed=1), torch.ones(3, dtype=torch.float64)
    for value in (-1e-9, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"radii: must be finite and not negative, got .* in row 1"):
            bound(0.5, x, torch.tensor([1.0, value, 1.0], dtype=torch.float64))
    with untyped(), pytest.raises(ValueError, match=r"radii: expected \(3,\) of torch.float64 on cpu, got \(2,\)"):
        bound(0.5, x, radii[:2])
    with untyped(), pytest.raises(ValueError, match=r"radii: expected .* got \(3,\) of torch.float32"):
        bound(0.5, x, radii.float())
    with pytest.raises(ValueError, match="centres: NaN or infinite in 1 rows"):
        bound(0.5, torch.where(x == x[0, 0], math.nan, x), radii)


def test_coupled_rows_and_a_negative_constant_are_refused():
    x, radii = normal(3, 2, seed=1), torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="row i of the result"):
        LipschitzJacobian(lambda t, y: y - y.mean(0), lambda t: Estimate.exact(0.0))(0.5, x, radii)
    with pytest.raises(ValueError, match="constant: a Lipschitz constant is not negative, got -1"):
        LipschitzJacobian(Sine(2, 0), lambda t: Estimate.exact(-1.0))(0.5, x, radii)


def four_modes() -> GaussianMixture:
    means = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    return GaussianMixture(torch.full((4,), 0.25, dtype=means.dtype), means, torch.full((4,), 0.09, dtype=means.dtype))


@pytest.mark.parametrize("s", [0.5, 2.0, 2.9])
@pytest.mark.parametrize("radius", [0.001, 0.1, 1.0])
def test_w2b_2_all_bounds_of_one_sampling_field_hold_and_the_fields_own_is_the_sharpest(s, radius):
    path = VP(1.0, 1.0, 3.0)
    flow = ProbabilityFlow(path, NoisedScore(four_modes(), path))
    b = reverse(flow, 3.0)
    x = four_modes().at(path, 3.0 - s).sample(40, torch.Generator().manual_seed(0))
    radii = torch.full((40,), radius, dtype=x.dtype)

    def osl(at):
        return flow.sampling_osl(3.0 - at)

    own = FieldLogNorm(b, direction=1)(s, x, radii)
    straight = LipschitzJacobian(b, b.jacobian_lipschitz, osl=osl)(s, x, radii)
    found = largest_on_balls(lambda y: log_norm(b.jacobian(s, y)), x, radii, seed=0)
    assert bool((found <= own + 1e-9).all())
    assert bool((own <= straight + 1e-9).all())
    assert bool((straight <= ClosedForm(osl)(s, x, radii) + 1e-9).all())
    if radius == 0.1 and s == 2.9:
        assert float((own - log_norm(b.jacobian(s, x))).mean()) < 0.3 * float((straight - own).mean())


def test_the_direction_of_a_field_is_asked_for_and_the_method_too():
    score = NoisedScore(four_modes(), VP(1.0, 1.0))
    x, radii = normal(3, 2, seed=1), torch.ones(3, dtype=torch.float64)
    up, down = (FieldLogNorm(score, direction=direction)(0.5, x, radii) for direction in (1, -1))
    assert bool((up > -down).all())
    with pytest.raises(ValueError, match=r"direction: expected \+1"):
        FieldLogNorm(score, direction=2)
    with pytest.raises(TypeError):
        FieldLogNorm(score)
    with untyped(), pytest.raises(TypeError, match="field: Sine has no method ball_log_norm; use LipschitzJacobian"):
        FieldLogNorm(Sine(2, 0), direction=1)


def test_every_bound_obeys_the_protocol():
    score = NoisedScore(four_modes(), VP(1.0, 1.0))
    assert isinstance(score, BallBounded)
    for bound in (
        ClosedForm(score.osl),
        LipschitzJacobian(score, score.jacobian_lipschitz),
        FieldLogNorm(score, direction=1),
    ):
        assert isinstance(bound, BallLogNorm)
