"""Reverse diffusions: marginals, continuity, Jacobians, direction of time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from torch import Tensor
from torch.func import jacfwd, jvp, vmap

from gflow.fields import ProbabilityFlow, RectifiedFlow, ReverseDrift, reverse
from gflow.problems import LINEAR, VE, VP, Gaussian, GaussianMixture, NoisedScore, Path, Schedule, SmoothDistribution
from gflow.velocity import DifferentiableField, Time
from tests.strategies import F64, floats, gaussians, inside, mixtures, paths, points, untyped

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

laws = st.one_of(gaussians(), mixtures())
seeds = st.integers(0, 1000)


@given(gaussians(), paths(), floats(0.1, 0.9), floats(0.0, 3.0))
def test_w2b_17_reverse_family_keeps_the_moments_at_every_time(
    law: Gaussian, path: Path, share: float, rho: float
) -> None:
    field, t = ReverseDrift(path, NoisedScore(law, path), rho), inside(path, share)
    now, at = law.at(path, t), torch.tensor(t, dtype=F64)
    slope = field.jacobian(t, now.mean().unsqueeze(0))[0]
    # Sampling runs towards the data; the noise it adds counts in that direction.
    noise = math.copysign(field.diffusion(t) ** 2, path.data_time - path.noise_time)
    spread = slope @ now.C + now.C @ slope.mT + noise * torch.eye(law.dim, dtype=F64)
    one = torch.ones_like(at)
    torch.testing.assert_close(jvp(lambda s: law.at(path, s).mu, (at,), (one,))[1], field(t, now.mu.unsqueeze(0))[0])
    change = jvp(lambda s: law.at(path, s).C, (at,), (one,))[1]
    size = float(slope.abs().max() * now.C.abs().max()) + abs(noise)
    torch.testing.assert_close(spread, change, rtol=0.0, atol=1e-9 * size)


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0, 2.0])
def test_w2b_17_reverse_family_returns_to_the_variance_of_the_data(rho: float) -> None:
    path, law = VP(1.0, 1.0, 2.0), Gaussian(torch.zeros(1, dtype=F64), torch.full((1, 1), 0.3, dtype=F64))
    field, origin = ReverseDrift(path, NoisedScore(law, path), rho), torch.zeros(1, 1, dtype=F64)

    def backward(t: float, v: float) -> float:
        return 2.0 * float(field.jacobian(t, origin)) * v - field.diffusion(t) ** 2

    v0 = [float(law.at(path, 2.0).covariance())]
    solved = integrate.solve_ivp(backward, (2.0, 0.0), v0, method="DOP853", rtol=1e-11, atol=1e-13)
    assert solved.y[0, -1] == pytest.approx(0.3, rel=1e-9)


def continuity_residual(law_at: object, field: object, t: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """``d_t log p + v . grad log p + div v`` and the size of its terms, by automatic differentiation."""
    at = torch.tensor(t, dtype=F64)
    change = jvp(lambda s: law_at(s).log_prob(x), (at,), (torch.ones_like(at),))[1]  # type: ignore[operator]
    v = field(t, x)  # type: ignore[operator]
    divergence = vmap(jacfwd(lambda row: field(t, row.unsqueeze(0))[0]))(x).diagonal(0, 1, 2).sum(1)  # type: ignore[operator]
    carried = (v * law_at(t).score(x)).sum(1)  # type: ignore[operator]
    return change + carried + divergence, change.abs() + carried.abs() + divergence.abs() + 1.0


@given(laws, paths(), floats(0.1, 0.9), seeds)
def test_wgf_2_probability_flow_solves_the_continuity_equation(
    law: SmoothDistribution, path: Path, share: float, seed: int
) -> None:
    field = ProbabilityFlow(path, NoisedScore(law, path))
    residual, size = continuity_residual(
        lambda s: law.at(path, s), field, inside(path, share), points(4, law.dim, seed)
    )
    assert float((residual.abs() / size).max()) < 1e-9


@given(laws, paths(), floats(0.1, 0.9), floats(0.0, 3.0), seeds)
def test_jacobian_is_that_of_autodiff(law: SmoothDistribution, path: Path, share: float, rho: float, seed: int) -> None:
    t, x = inside(path, share), points(4, law.dim, seed)
    drift = ReverseDrift(path, NoisedScore(law, path), rho)
    for field, time in ((drift, t), (reverse(drift, path.noise_time), path.noise_time - t)):
        automatic = vmap(jacfwd(lambda row, f=field, s=time: f(s, row.unsqueeze(0))[0]))(x)
        torch.testing.assert_close(field.jacobian(time, x), automatic, rtol=1e-8, atol=1e-8)


@given(laws, paths(), floats(0.1, 0.9), floats(0.0, 3.0))
def test_fields_are_differentiable_in_time(law: SmoothDistribution, path: Path, share: float, rho: float) -> None:
    field, x, t, h = ReverseDrift(path, NoisedScore(law, path), rho), points(3, law.dim, 0), inside(path, share), 1e-6
    at = torch.tensor(t, dtype=F64)
    value, slope = jvp(lambda s: field(s, x), (at,), (torch.ones_like(at),))
    torch.testing.assert_close(value, field(t, x), rtol=1e-9, atol=1e-9)
    difference = (field(t + h, x) - field(t - h, x)) / (2.0 * h)
    scale = float(1.0 + value.abs().max() + slope.abs().max())
    torch.testing.assert_close(slope, difference, rtol=0.0, atol=1e-5 * scale)
    torch.testing.assert_close(torch.as_tensor(field.diffusion(at)), torch.tensor(field.diffusion(t), dtype=F64))


@given(mixtures(kind="shared"), paths(), floats(0.1, 0.9), floats(0.0, 3.0), seeds)
def test_sampling_osl_bounds_the_field_in_its_direction(
    law: GaussianMixture, path: Path, share: float, rho: float, seed: int
) -> None:
    field, t = ReverseDrift(path, NoisedScore(law, path), rho), inside(path, share)
    sign = 1.0 if path is LINEAR else -1.0
    x = points(50, law.dim, seed)
    quotients = torch.linalg.eigvalsh(sign * field.jacobian(t, x)).amax(1)
    constant = field.sampling_osl(t)
    assert float(quotients.max()) <= constant.mean + 1e-8 * (1.0 + abs(constant.mean))
    if len(law.weights) == 1:
        assert float(quotients.max()) == pytest.approx(constant.mean, rel=1e-8, abs=1e-8)


def test_a_path_whose_noise_falls_has_no_sampling_constant() -> None:
    """osl(-score) is not -osl(score), and nothing else is known of the score."""
    path = Schedule(torch.ones_like, lambda t: 0.2 + 0.5 * torch.sin(4.0 * t), 0.0, 1.0)
    law = GaussianMixture(
        torch.full((2,), 0.5, dtype=F64), torch.tensor([[1.0], [-1.0]], dtype=F64), torch.full((2,), 0.05, dtype=F64)
    )
    flow = ProbabilityFlow(path, NoisedScore(law, path))
    with pytest.raises(ValueError, match=r"sampling_osl: the noise must not fall .* t = 0\.7"):
        flow.sampling_osl(0.7)
    # Where it rises the constant is that of the field.
    assert flow.sampling_osl(0.2).mean >= float(-flow.jacobian(0.2, torch.zeros(1, 1, dtype=F64))) - 1e-12


def test_the_usual_forms_of_vp_and_ve() -> None:
    x = points(5, 2, 0)

    def score(t: Time, y: Tensor) -> Tensor:
        return torch.sin(y) + t

    vp = VP(0.5, 0.5)
    torch.testing.assert_close(ProbabilityFlow(vp, score)(0.3, x), -0.25 * (x + score(0.3, x)))
    torch.testing.assert_close(ReverseDrift(vp, score, 1.0)(0.3, x), -0.25 * x - 0.5 * score(0.3, x))
    torch.testing.assert_close(ProbabilityFlow(VE(5.0), score)(2.0, x), -2.0 * score(2.0, x))
    assert ReverseDrift(vp, score, 1.0).diffusion(0.3) == pytest.approx(math.sqrt(0.5))
    assert ReverseDrift(VE(5.0), score, 0.5).diffusion(2.0) == pytest.approx(math.sqrt(2.0))
    assert ProbabilityFlow(vp, score).diffusion(0.3) == 0.0


def test_reverse_negates_and_turns_time() -> None:
    x = points(5, 2, 0)

    def field(t: Time, y: Tensor) -> Tensor:
        return t * y

    b = reverse(field, 3.0)
    torch.testing.assert_close(b(1.0, x), -2.0 * x)
    torch.testing.assert_close(reverse(b, 3.0)(0.7, x), field(0.7, x))


def test_the_jacobian_is_there_exactly_when_it_is_known() -> None:
    path = VP(1.0, 1.0)
    exact = NoisedScore(Gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64)), path)
    for score, known in ((exact, True), (lambda t, x: -x, False)):
        drift = ReverseDrift(path, score, 0.5)
        for field in (drift, reverse(drift, 1.0), reverse(reverse(drift, 1.0), 1.0)):
            assert hasattr(field, "jacobian") is known
            assert isinstance(field, DifferentiableField) is known
    with untyped(), pytest.raises(TypeError, match="sampling_osl: the score must have an osl"):
        ProbabilityFlow(path, lambda t, x: -x).sampling_osl(0.5)


@pytest.mark.parametrize("rho", [-0.1, math.inf, math.nan])
def test_bad_rho_is_named(rho: float) -> None:
    with untyped(), pytest.raises(ValueError, match="rho: must be finite and not negative"):
        ReverseDrift(VP(1.0, 1.0), lambda t, x: -x, rho)


@given(mixtures(), floats(0.05, 0.95), seeds)
def test_reflow_1_flow_matching_from_noise_is_the_probability_flow(law: GaussianMixture, t: float, seed: int) -> None:
    noise = Gaussian(torch.zeros(law.dim, dtype=F64), torch.eye(law.dim, dtype=F64))
    x, score = points(5, law.dim, seed), NoisedScore(law, LINEAR)
    v = RectifiedFlow(LINEAR, noise, law)(t, x)
    torch.testing.assert_close(v, (x + (1.0 - t) * score(t, x)) / t, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(v, ProbabilityFlow(LINEAR, score)(t, x), rtol=1e-8, atol=1e-8)
