"""How far softmax weights can go over a ball: above and below what random points of it show, exact for two."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gflow.lipschitz.mixed import AffineMix, weight_ranges
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
