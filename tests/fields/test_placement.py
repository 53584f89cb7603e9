"""Dtype and device of everything come from the inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gflow.fields import GaussianDisplacement, ProbabilityFlow, RectifiedFlow, reverse
from gflow.problems import LINEAR, VP, Empirical, Gaussian, GaussianMixture, NoisedScore, gaussian_flow_map

PATH = VP(0.1, 20.0)


def laws(dtype: torch.dtype) -> tuple[Gaussian, GaussianMixture, GaussianMixture, GaussianMixture, Empirical]:
    cpu = torch.device("cpu")
    means = torch.tensor([[0.5, 0.5], [-0.5, 0.5], [0.0, 0.0]], dtype=dtype, device=cpu)
    w, one = means.new_tensor([0.2, 0.3, 0.5]), torch.eye(2, dtype=dtype, device=cpu)
    return (
        Gaussian(means[0], one),
        GaussianMixture(w, means, means.new_full((3,), 0.1)),
        GaussianMixture(w, means, means.new_tensor([0.1, 0.2, 0.3])),
        GaussianMixture(w, means, one.repeat(3, 1, 1)),
        Empirical(means),
    )


def everything(dtype: torch.dtype, x: Tensor) -> list[Tensor]:
    normal, shared, isotropic, full, cloud = laws(dtype)
    results = []
    for law in (normal, shared, isotropic, full, cloud):
        score = NoisedScore(law, PATH)
        b = reverse(ProbabilityFlow(PATH, score), 1.0)
        results += [score(0.3, x), b(0.3, x), b.jacobian(0.3, x), law.at(PATH, 0.3).log_prob(x)]
        results += [law.mean(), law.covariance(), law.sample(5, torch.Generator().manual_seed(0))]
    results.append(gaussian_flow_map(normal, PATH, 1.0, 0.1, x))
    for field in (
        RectifiedFlow(LINEAR, shared, full),
        GaussianDisplacement(normal, Gaussian(2 * normal.mu, 3 * normal.C)),
    ):
        results += [field(0.3, x), field.jacobian(0.3, x)]
    shared.at(PATH, 0.3).score_osl()
    cloud.at(PATH, 0.3).score_osl()
    return results


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_made_on_a_default_device_or_in_a_default_dtype(dtype: torch.dtype) -> None:
    x = torch.tensor([[0.1, 0.2], [-0.3, 0.4]], dtype=dtype, device="cpu")
    # A factory without device= would land on "meta" here, and mixing it with x raises.
    with torch.device("meta"):
        results = everything(dtype, x)
    assert {result.dtype for result in results} == {dtype}
    assert {result.device.type for result in results} == {"cpu"}


def test_float32_agrees_with_float64() -> None:
    x = torch.tensor([[0.1, 0.2], [-0.3, 0.4]], dtype=torch.float64)
    make: Callable[[torch.dtype, Tensor], list[Tensor]] = everything
    for low, high in zip(make(torch.float32, x.float()), make(torch.float64, x), strict=True):
        if len(low) != 5:  # samples are other draws
            torch.testing.assert_close(low.double(), high, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_laws_and_fields_run_on_the_gpu() -> None:
    means = torch.tensor([[0.5, 0.5], [-0.5, 0.5]], device="cuda")
    law = GaussianMixture(means.new_tensor([0.5, 0.5]), means, means.new_tensor([0.1, 0.1]))
    x = law.sample(10, torch.Generator().manual_seed(0))
    b = reverse(ProbabilityFlow(PATH, NoisedScore(law, PATH)), 1.0)
    assert b(0.3, x).device == b.jacobian(0.3, x).device == means.device
    assert law.at(PATH, 0.3).score_osl().bias == "none"
