"""Toy laws and clouds: where their points lie, how often, and that the seed decides."""

from __future__ import annotations

import math

import pytest
import torch

from gflow.problems import checkerboard, eight_gaussians, grid_mixture, moons, ring_mixture, swiss_roll
from tests.strategies import F64, untyped


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_eight_modes_lie_on_the_circle_at_equal_angles() -> None:
    law = eight_gaussians(2.0, 0.1)
    torch.testing.assert_close(law.means.norm(dim=1), torch.full((8,), 2.0, dtype=F64))
    neighbours = (law.means - law.means.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(neighbours, torch.full((8,), 4.0 * math.sin(math.pi / 8), dtype=F64))
    torch.testing.assert_close(law.covariances, torch.full((8,), 0.01, dtype=F64))
    torch.testing.assert_close(law.means[0], torch.tensor([2.0, 0.0], dtype=F64))


@pytest.mark.parametrize(("side", "modes"), [(4, 16), (5, 25)])
def test_grids_are_centred_with_the_given_spacing(side: int, modes: int) -> None:
    law = grid_mixture(side, 2.0, 0.05)
    assert law.means.shape == (modes, 2)
    torch.testing.assert_close(law.mean(), torch.zeros(2, dtype=F64), rtol=0.0, atol=1e-14)
    distances = torch.cdist(law.means, law.means) + 1e9 * torch.eye(modes, dtype=F64)
    torch.testing.assert_close(distances.min(1).values, torch.full((modes,), 2.0, dtype=F64))


def test_grids_come_in_any_dimension() -> None:
    assert grid_mixture(2, 1.0, 0.1, dim=3).means.unique(dim=0).shape == (8, 3)
    assert grid_mixture(3, 1.0, 0.1, dim=1).means.flatten().tolist() == [-1.0, 0.0, 1.0]


def test_moons_are_two_half_circles() -> None:
    x = moons(2000, generator(), 0.0)
    upper, lower = x, x - torch.tensor([1.0, 0.5], dtype=F64)
    on_upper = ((upper.norm(dim=1) - 1.0).abs() < 1e-12) & (upper[:, 1] >= -1e-12)
    on_lower = ((lower.norm(dim=1) - 1.0).abs() < 1e-12) & (lower[:, 1] <= 1e-12)
    assert bool((on_upper | on_lower).all())
    assert abs(float(on_upper.double().mean()) - 0.5) <= 5.0 * 0.5 / 2000**0.5


def test_the_swiss_roll_is_a_spiral_of_one_and_a_half_turns() -> None:
    x = swiss_roll(2000, generator(), 0.0)
    radius = x.norm(dim=1)
    angle = 4.5 * math.pi * radius
    torch.testing.assert_close(
        x, radius.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], 1), atol=1e-10, rtol=0.0
    )
    assert 1.0 / 3.0 <= float(radius.min()) < 0.35
    assert 0.98 < float(radius.max()) <= 1.0


@pytest.mark.parametrize("cells", [2, 4, 6])
def test_the_checkerboard_fills_its_squares_evenly(cells: int) -> None:
    n = 9000
    x = checkerboard(n, generator(), cells)
    assert float(x.min()) >= -1.0
    assert float(x.max()) < 1.0
    index = ((x + 1.0) * cells / 2.0).floor().long()
    assert bool((index.sum(1) % 2 == 0).all())
    counts = (index[:, 0] * cells + index[:, 1]).bincount(minlength=cells**2)
    share = 2.0 / cells**2
    filled = counts[counts > 0] / n
    assert len(filled) == cells**2 // 2
    assert bool(((filled - share).abs() <= 5.0 * (share / n) ** 0.5).all())


@pytest.mark.parametrize("cloud", [moons, swiss_roll])
def test_noise_is_gaussian_about_the_curve(cloud: object) -> None:
    clean, noisy = cloud(4000, generator(), 0.0), cloud(4000, generator(), 0.2)  # type: ignore[operator]
    noise = (noisy - clean).flatten()
    assert abs(float(noise.std()) - 0.2) <= 5.0 * 0.2 / (2.0 * len(noise)) ** 0.5


@pytest.mark.parametrize(
    "cloud", [lambda g: moons(50, g, 0.1), lambda g: swiss_roll(50, g, 0.1), lambda g: checkerboard(50, g)]
)
def test_the_seed_decides_and_nothing_else(cloud: object) -> None:
    torch.manual_seed(0)
    first = cloud(generator(3))  # type: ignore[operator]
    torch.manual_seed(1)
    assert torch.equal(first, cloud(generator(3)))  # type: ignore[operator]
    assert not torch.equal(first, cloud(generator(4)))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ring_mixture(0, 1.0, 0.1), "modes: must be positive"),
        (lambda: eight_gaussians(1.0, 0.0), "std: must be positive"),
        (lambda: eight_gaussians(math.nan, 0.1), "radius: must be positive and finite"),
        (lambda: grid_mixture(4, -1.0, 0.1), "spacing: must be positive"),
        (lambda: moons(0, generator(), 0.1), "n: needs at least one sample, got 0"),
        (lambda: swiss_roll(5, generator(), -0.1), "noise: must be finite and not negative"),
        (lambda: checkerboard(5, generator(), 3), "cells: needs an even number"),
    ],
)
def test_bad_arguments_are_named(call: object, message: str) -> None:
    with untyped(), pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
