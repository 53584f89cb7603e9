"""Softmax weights over balls, exact for two, and the fields that they mix, whatever their velocities."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gflow.lipschitz import log_norm
from gflow.lipschitz.mixed import AffineMix, mixed_log_norm, weight_ranges
from tests.lipschitz.balls import unit
from tests.lipschitz.fields import normal, seeds


class Quadratics:
    """Logits ``c_k + b_k.x - x.P_k x / 2`` in R^d."""

    def __init__(self, k: int, d: int, seed: int, shared: bool) -> None:
        self.c, self.b = 2 * normal(k, seed=seed), 3 * normal(k, d, seed=seed + 1)
        factors = normal(1 if shared else k, d, d, seed=seed + 2)
        self.p = factors @ factors.mT

    def mix(self, x: Tensor) -> AffineMix:
        px = torch.einsum("kab,nb->nka", self.p, x)
        logits = self.c + x @ self.b.T - 0.5 * (px * x[:, None]).sum(2)
        scores = self.b - px
        return AffineMix(logits.log_softmax(1), scores, scores, -self.p, self.p)

    def ranges(self, x: Tensor, radii: Tensor):
        mix = self.mix(x)
        mean = (mix.log_gamma.exp()[:, :, None] * mix.scores).sum(1, keepdim=True)
        return weight_ranges(mix, mix.scores - mean, radii)


@given(st.integers(2, 6), st.integers(1, 3), seeds, st.booleans(), st.floats(-3.0, 0.7))
def test_w2b_20_no_weight_leaves_its_range_on_the_ball(k, d, seed, shared, exponent):
    law, x, radius = Quadratics(k, d, seed, shared), normal(8, d, seed=seed + 3), 10.0**exponent
    ranges = law.ranges(x, torch.full((8,), radius, dtype=x.dtype))
    for start in range(40):
        size = radius * (1.0 if start % 4 else 0.5)
        gamma = law.mix(x + size * unit(8, d, seed + start)).log_gamma.exp()
        assert bool((gamma <= ranges.gamma + ranges.rise + 1e-12).all())
        assert bool((gamma >= ranges.gamma - ranges.fall - 1e-12).all())


@given(st.integers(1, 3), seeds, st.floats(0.0, 2.0))
def test_two_weights_of_one_precision_reach_the_ends_of_their_ranges(d, seed, radius):
    law, x = Quadratics(2, d, seed, True), normal(8, d, seed=seed + 3)
    ranges = law.ranges(x, torch.full((8,), radius, dtype=x.dtype))
    axis = (law.b[0] - law.b[1]) / (law.b[0] - law.b[1]).norm()
    up, down = (law.mix(x + sign * radius * axis).log_gamma.exp() for sign in (1, -1))
    torch.testing.assert_close(ranges.rise[:, 0], (up - ranges.gamma)[:, 0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ranges.fall[:, 0], (ranges.gamma - down)[:, 0], rtol=1e-9, atol=1e-12)


def test_a_weight_of_one_to_rounding_still_knows_how_far_the_others_are():
    x = torch.zeros(1, 1, dtype=torch.float64)
    scores = torch.tensor([[[0.0], [100.0], [-3.0]]], dtype=x.dtype)
    one = torch.ones(1, 1, 1, dtype=x.dtype)
    mix = AffineMix(torch.tensor([[0.0, -60.0, -70.0]], dtype=x.dtype), scores, scores, -one, one)
    for radius, changed in ((0.5, False), (0.7, True)):  # 100 radius against a lead of 60
        ranges = weight_ranges(mix, scores, torch.tensor([radius], dtype=x.dtype))
        assert (float(ranges.rise[0, 1]) > 0.99) is changed
        assert (float(ranges.fall[0, 0]) > 0.99) is changed


class Mixed(Quadratics):
    """The mix of ``lean s_k(x) + v_k + K_k x``; precisions and slopes differ by the share ``apart``."""

    def __init__(self, k: int, d: int, seed: int, lean: float, free: float, apart: float) -> None:
        super().__init__(k, d, seed, shared=True)
        self.p = self.p * (1 + apart * torch.arange(k, dtype=self.p.dtype) / k)[:, None, None]
        self.v, self.slopes = free * normal(k, d, seed=seed + 4), free * apart * normal(k, d, d, seed=seed + 5)
        self.lean = lean

    def mix(self, x: Tensor) -> AffineMix:
        base = super().mix(x)
        v = self.lean * base.scores + self.v + torch.einsum("kab,nb->nka", self.slopes, x)
        return AffineMix(base.log_gamma, v, base.scores, self.slopes - self.lean * self.p, self.p)

    def jacobian(self, x: Tensor) -> Tensor:
        mix = self.mix(x)
        gamma = mix.log_gamma.exp()
        v, s = (q - (gamma[:, :, None] * q).sum(1, keepdim=True) for q in (mix.velocities, mix.scores))
        return torch.einsum("nk,kab->nab", gamma, mix.slopes) + torch.einsum("nk,nka,nkb->nab", gamma, v, s)


@given(
    st.integers(2, 5),
    st.integers(1, 3),
    seeds,
    st.sampled_from([-1.0, 0.0, 1.0]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([1e-9, 1e-3, 1.0]),
    st.floats(-2.0, 0.7),
)
def test_w2b_20_no_logarithmic_norm_on_the_ball_exceeds_the_bound(k, d, seed, lean, free, apart, exponent):
    field, x, radius = Mixed(k, d, seed, lean, free, apart), normal(8, d, seed=seed + 3), 10.0**exponent
    bound = mixed_log_norm(field.mix(x), torch.full((8,), radius, dtype=x.dtype))
    size = 1e-9 * (1 + bound.abs() + field.jacobian(x).flatten(1).norm(dim=1))
    for start in range(60):
        near = x + radius * (1.0 if start % 3 else 0.5) * unit(8, d, seed + start)
        assert bool((log_norm(field.jacobian(near)) <= bound + size).all())
