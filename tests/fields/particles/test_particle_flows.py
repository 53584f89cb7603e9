"""What every particle flow obeys: symmetries, chunks, derivatives, dtype, and no NaN from awkward clouds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jacrev

import gflow.fields.particles.transport_flows
import gflow.transport.entropic
from gflow.fields.particles import (
    DriftingFlow,
    GaussianKernel,
    KernelDensityFlow,
    LaplacianKernel,
    MMDFlow,
    NoisyMMDFlow,
    SinkhornFlow,
    SlicedFlow,
    SteinFlow,
)
from gflow.ode import EULER, ConstantStep, ExplicitRK, solve_ivp
from gflow.transport import Sinkhorn
from gflow.velocity import StepwiseField, VelocityField
from tests.strategies import F64, points, untyped

Make = Callable[[torch.Tensor], VelocityField[torch.Tensor]]
GAUSS, LAPLACE = GaussianKernel(0.8), LaplacianKernel(0.8)
TO_DATA: dict[str, Make] = {
    "mmd": lambda x: MMDFlow(x, GAUSS),
    "mmd laplacian": lambda x: MMDFlow(x, LAPLACE),
    "drifting": lambda x: DriftingFlow(x, GAUSS),
    "drifting laplacian": lambda x: DriftingFlow(x, LAPLACE),
    "drifting normalised": lambda x: DriftingFlow(x, GAUSS, normalised=True),
    "density": lambda x: KernelDensityFlow(x, 0.8),
    "sinkhorn": lambda x: SinkhornFlow(x, Sinkhorn(2.0, 1e-11)),
    "sliced": lambda x: SlicedFlow(x, 5, seed=0).at_step(3),
}
STEIN: Make = lambda x: SteinFlow(lambda y: x.mean(0) - y, GAUSS)  # noqa: E731
ALL = TO_DATA | {"stein": STEIN}
SMOOTH = [name for name in ALL if name != "sinkhorn"]
SWAPPED = ["mmd", "mmd laplacian", "drifting", "drifting laplacian", "drifting normalised", "density"]

names = pytest.mark.parametrize("name", ALL)
sizes, dims, seeds = st.integers(1, 6), st.integers(1, 3), st.integers(0, 999)
few = settings(max_examples=6)


def close(found: torch.Tensor, expected: torch.Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=atol)


@names
@few
@given(n=sizes, m=sizes, d=dims, seed=seeds)
def test_permuted_particles_have_permuted_velocities_and_shifts_change_nothing(name, n, m, d, seed):
    y, data = points(n, d, seed, 1.0), points(m, d, seed + 1, 1.0)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    v = ALL[name](data)(0.0, y)
    assert bool(torch.isfinite(v).all())
    close(ALL[name](data)(0.0, y[order]), v[order])
    close(ALL[name](data + 5.0)(0.0, y + 5.0), v, 1e-8)


@pytest.mark.parametrize("name", TO_DATA)
@few
@given(n=sizes, d=dims, seed=seeds)
def test_particles_at_the_data_stand_still(name, n, d, seed):
    y = points(n, d, seed, 1.0)
    close(TO_DATA[name](y.clone())(0.0, y), torch.zeros_like(y), 1e-8)


@pytest.mark.parametrize("name", SWAPPED)
@few
@given(d=dims, seed=seeds)
def test_kernel_flows_change_sign_where_data_and_particles_swap(name, d, seed):
    # Read at the same places: both clouds hold the same points, with other masses.
    x, p, q = points(6, d, seed, 1.0), points(6, 1, seed)[:, 0].abs() + 0.1, points(6, 1, seed + 1)[:, 0].abs() + 0.1
    make = {
        "mmd": lambda a, b: MMDFlow(x, GAUSS, a, b),
        "mmd laplacian": lambda a, b: MMDFlow(x, LAPLACE, a, b),
        "drifting": lambda a, b: DriftingFlow(x, GAUSS, data_weights=a, weights=b),
        "drifting laplacian": lambda a, b: DriftingFlow(x, LAPLACE, data_weights=a, weights=b),
        "drifting normalised": lambda a, b: DriftingFlow(x, GAUSS, False, a, b),
        "density": lambda a, b: KernelDensityFlow(x, 0.8, a, b),
    }[name]
    close(make(p, q)(0.0, x), -make(q, p)(0.0, x), 1e-13)


@names
def test_chunks_change_no_value(name, monkeypatch):
    y, data = points(11, 2, 0, 1.0), points(7, 2, 1, 1.0)
    whole = ALL[name](data)(0.0, y)
    monkeypatch.setattr(gflow.transport.entropic, "_CHUNK_BYTES", 8 * 7 * 3)
    monkeypatch.setattr(gflow.fields.particles.transport_flows, "_CHUNK_BYTES", 8 * 18 * 2)
    close(ALL[name](data)(0.0, y), whole, 1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_torch_func_autograd_and_differences_agree(name):
    y, data = points(4, 2, 0, 1.0), points(5, 2, 1, 1.0)
    field = ALL[name](data)
    exact = jacrev(lambda x: field(0.0, x))(y)
    close(torch.autograd.functional.jacobian(lambda x: field(0.0, x), y), exact, 1e-12)
    direction, h = points(4, 2, 2, 1.0), 1e-5
    slope = (field(0.0, y + h * direction) - field(0.0, y - h * direction)) / (2 * h)
    close((exact * direction).sum((2, 3)), slope, 1e-7)


def test_a_derivative_of_the_sinkhorn_flow_is_refused():
    y, field = points(4, 2, 0, 1.0), TO_DATA["sinkhorn"](points(5, 2, 1, 1.0))
    with pytest.raises(RuntimeError, match="SinkhornFlow: the velocity is not differentiable"):
        jacrev(lambda x: field(0.0, x))(y)
    with pytest.raises(RuntimeError, match="SinkhornFlow: the velocity is not differentiable"):
        field(0.0, y.requires_grad_()).sum().backward()


@names
@pytest.mark.parametrize("d", [2, 12])
def test_single_duplicated_and_far_points_give_no_nan(name, d):
    x = points(1, d, 0, 1.0)
    for y, data in ((x, x), (x, x.repeat(3, 1)), (x.repeat(4, 1), points(3, d, 1, 1.0)), (x + 5, x.repeat(2, 1))):
        assert bool(torch.isfinite(ALL[name](data)(0.0, y)).all())
    if name != "sinkhorn":
        assert bool(torch.isfinite(ALL[name](x)(0.0, x + 1e4)).all())
        assert bool(torch.isfinite(jacrev(lambda y: ALL[name](x)(0.0, y))(x.repeat(3, 1))).all())


@pytest.mark.parametrize("name", SMOOTH)
def test_float32_stays_and_is_right_to_its_digits(name):
    y, data = points(9, 12, 0, 0.5), points(7, 12, 1, 0.5)
    single = ALL[name](data.float())(0.0, y.float())
    assert single.dtype == torch.float32
    close(single.double(), ALL[name](data)(0.0, y), 1e-4)


@names
def test_velocities_lie_on_the_device_of_the_particles(name):
    y, data = points(4, 2, 0, 1.0), points(5, 2, 1, 1.0)
    # A factory without device= would land on "meta" here, and mixing it with y raises.
    with torch.device("meta"):
        v = ALL[name](data)(0.0, y)
        noisy = NoisyMMDFlow(MMDFlow(data, GAUSS), 0.1, seed=0).at_step(0)(0.0, y)
    assert v.device == noisy.device == y.device
    close(v, ALL[name](data)(0.0, y))


def test_the_matrix_product_of_high_dimensions_has_the_values_of_differences(monkeypatch):
    y, data = points(9, 12, 0, 1.0), points(7, 12, 1, 1.0)
    found = [ALL[name](data)(0.0, y) for name in SWAPPED]
    monkeypatch.setattr("gflow.fields.particles.kernels._DIRECT_UP_TO", 100)
    for name, v in zip(SWAPPED, found, strict=True):
        close(ALL[name](data)(0.0, y), v, 1e-12)


def test_two_batches_stand_still_where_both_are_the_data():
    x, data = points(5, 2, 0, 1.0), points(4, 2, 1, 1.0)
    flow = SinkhornFlow(x, Sinkhorn(2.0, 1e-11), two_batches=True)
    close(flow(0.0, torch.cat([x, x])), torch.zeros(10, 2, dtype=F64), 1e-8)
    # Each half sees the other one: the two move differently from one cloud of both.
    y = torch.cat([x, data, data[:1]])
    assert float((flow(0.0, y) - SinkhornFlow(x, Sinkhorn(2.0, 1e-11))(0.0, y)).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="y: two batches need an even number"):
        flow(0.0, y[:9])


def test_stepwise_flows_repeat_within_a_step_and_change_between_steps():
    y, data = points(9, 2, 0, 1.0), points(7, 2, 1, 1.0)
    mmd = MMDFlow(data, GAUSS)
    for flow in (NoisyMMDFlow(mmd, 0.5, seed=1), SlicedFlow(data, 5, seed=1)):
        assert isinstance(flow, StepwiseField)
        first = flow.at_step(0)(0.0, y)
        assert torch.equal(first, flow.at_step(0)(1.0, y))
        assert not torch.equal(first, flow.at_step(1)(0.0, y))
    assert torch.equal(NoisyMMDFlow(mmd, 0.0, seed=1).at_step(4)(0.0, y), mmd(0.0, y))


@pytest.mark.parametrize("name", ["mmd", "drifting", "sinkhorn", "density"])
def test_solved_flows_come_closer_to_the_data(name):
    y, data = points(20, 2, 0, 0.5), points(20, 2, 1, 0.5) + 1.0
    end = solve_ivp(TO_DATA[name](data), y, 0.0, 3.0, method=ExplicitRK(EULER), controller=ConstantStep(0.3)).y1
    assert float((end.mean(0) - data.mean(0)).norm()) < 0.9 * float((y.mean(0) - data.mean(0)).norm())


@pytest.mark.parametrize("name", TO_DATA)
def test_bad_clouds_are_named(name):
    x = points(4, 2, 0)
    with untyped():
        for bad, message in (
            (x * torch.nan, "data: 4 of 4"),
            (x[:0], "data: needs at least"),
            (x[0], "data: expected"),
        ):
            with pytest.raises(ValueError, match=message):
                TO_DATA[name](bad)
        field = TO_DATA[name](x)
        for bad, message in (
            (points(3, 3, 0), "y: expected rows"),
            (x[:0], "y: expected"),
            (x.float(), "y: must share"),
        ):
            with pytest.raises(ValueError, match=message):
                field(0.0, bad)


def test_bad_settings_are_named():
    x = points(4, 2, 0)
    for bad in (0.0, -1.0, float("nan")):
        for make in (GaussianKernel, LaplacianKernel, lambda h: KernelDensityFlow(x, h)):
            with pytest.raises(ValueError, match="bandwidth: must be positive"):
                make(bad)
    with pytest.raises(ValueError, match="noise: must be finite"):
        NoisyMMDFlow(MMDFlow(x, GAUSS), -1.0, seed=0)
    with pytest.raises(ValueError, match="projections: needs at least 1"):
        SlicedFlow(x, 0, seed=0)
    with pytest.raises(ValueError, match="data_weights: weigh a cloud"):
        KernelDensityFlow(lambda y: -y, 1.0, data_weights=torch.ones(4, dtype=F64))
    with pytest.raises(ValueError, match="weights: particles in two batches"):
        SinkhornFlow(x, Sinkhorn(1.0, 1e-6), weights=torch.ones(4, dtype=F64), two_batches=True)
    with untyped(), pytest.raises(ValueError, match="weights: expected shape"):
        MMDFlow(x, GAUSS, weights=torch.ones(3, dtype=F64))(0.0, x)
