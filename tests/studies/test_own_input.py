"""The user's data, fields and settings: what cannot be used is refused with one line that names the flag."""

from __future__ import annotations

import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gflow.study import UsageError
from gflow.study.store import Store
from studies.w2_bound import STUDY
from studies.w2_bound.config import Config, validate
from studies.w2_bound.own_field import FieldError, UserField, named

# Forward mode compiles decompositions by torch.jit the first time that it is used.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")

NAN = float("nan")


def spiral(t: float, y: Tensor) -> Tensor:
    return torch.stack((-y[:, 1], y[:, 0]), 1) - y + 0.1 * torch.sin(3 * y)


class WithJacobian:
    """The spiral without its sine, and a Jacobian that is right up to a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, t: float, y: Tensor) -> Tensor:
        return torch.stack((-y[:, 1], y[:, 0]), 1) - y

    def jacobian(self, t: float, y: Tensor) -> Tensor:
        return self.factor * torch.tensor([[-1.0, -1.0], [1.0, -1.0]]).to(y).expand(len(y), 2, 2)


def write_in_place(t: float, y: Tensor) -> Tensor:
    y *= -0.5
    return y


def quits(t: float, y: Tensor) -> Tensor:
    sys.exit(3)


def network(dtype: torch.dtype, *, dropout: float = 0.0) -> torch.nn.Module:
    layers = torch.nn.Linear(2, 32), torch.nn.Dropout(dropout), torch.nn.ReLU(), torch.nn.Linear(32, 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = torch.nn.Sequential(*layers).to(dtype)
        for layer in layers[::3]:
            layer.reset_parameters()

    class Field(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, t: float, y: Tensor) -> Tensor:
            return self.body(y)

    return Field()


SINGLE = torch.nn.Conv1d(1, 1, 1)

FIELDS = {
    "spiral": spiral,
    "detached": lambda t, y: spiral(t, y).detach(),
    "detached_argument": lambda t, y: spiral(t, y.detach()),
    "partly_detached": lambda t, y: -y + 0.1 * torch.sin(3 * y.detach()),
    "numpy": lambda t, y: torch.from_numpy(-y.detach().numpy()),
    "right_jacobian": WithJacobian(1.0),
    "wrong_jacobian": WithJacobian(1.05),
    "in_place": write_in_place,
    "nothing": lambda t, y: None,
    "single": lambda t, y: y.float(),
    "flat_late": lambda t, y: y[:, :1] if t > 0.7 else y,
    "nan_late": lambda t, y: y * NAN if 0.4 < t < 0.6 else y,
    "nan_between": lambda t, y: torch.cat((y[:3] * NAN, y[3:])) if 0.33 < t < 0.35 else -y,
    "nan_derivative": lambda t, y: torch.where(y > 99.0, y * NAN, y),
    "quits": quits,
    "undecided": lambda t, y: y + torch.rand_like(y),
    "coupled": lambda t, y: y - y.mean(0),
    "constant": lambda t, y: torch.ones_like(y),
    "kinked": lambda t, y: -y.relu(),
    "fine": lambda t, y: 1e-3 * torch.sin(1e3 * y),
    "shear": lambda t, y: y @ y.new_tensor([[-1.0, 0.0], [2000.0, -1.0]]),
    "shear_too": lambda t, y: 1.001 * FIELDS["shear"](t, y),
    "sign": lambda t, y: -torch.sign(y - 0.3),
    "rounded": lambda t, y: -y - 1e-2 * y.round(),
    "sign_between": lambda t, y: -y - torch.sign(y) if 0.1 < t < 0.2 else -y,
    "explodes": lambda t, y: 20 * y**3,
    "root": lambda t, y: -torch.sign(y) * y.abs().sqrt(),
    "ramp": lambda t, y: -torch.tanh(1e4 * y),
    "energy": lambda t, y: -torch.autograd.grad((y.requires_grad_() ** 4).sum(), y)[0],
    "energy_func": lambda t, y: -torch.func.grad(lambda z: (z**4).sum())(y),
    "energy_rows": lambda t, y: -torch.func.vmap(torch.func.grad(lambda z: (z**4).sum()))(y),
    "convolution": lambda t, y: SINGLE(y[:, None])[:, 0],
    "A_class": WithJacobian,
    "large": lambda t, y: 1e6 + y,
    "network": network(torch.float64),
    "network32": network(torch.float32),
    "dropout": network(torch.float64, dropout=0.5),
}


@pytest.fixture(scope="module", autouse=True)
def own_module():
    """The fields above as attributes of an importable module."""
    module = types.ModuleType("own_flows")
    module.__dict__.update(FIELDS)
    sys.modules["own_flows"] = module
    yield
    del sys.modules["own_flows"]


def own(field: str, **settings: object) -> Config:
    return Config(field=f"own_flows:{field}", reference="own_flows:spiral", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            "detached",
            r"^--field: at t = 0: expected a derivative .* off by 100 % for 64 of 64 particles: does the field",
        ),
        ("detached_argument", r"^--field: at t = 0: expected a derivative .* off by 100 % .* does the field detach y"),
        ("partly_detached", r"^--field: at t = 0: expected a derivative .* does the field detach y"),
        ("wrong_jacobian", r"^--field: at t = 0: expected a derivative .* off by 5 % .* is its method jacobian right"),
        ("numpy", r"^--field: at t = 0: expected a field .* written in torch operations \(not in NumPy\)"),
        ("nothing", r"^--field: at t = 0: expected a torch tensor, got NoneType"),
        (
            "single",
            r"^--field: at t = 0: expected \(64, 2\) of torch.float64, got \(64, 2\) of torch.float32; try --dtype",
        ),
        ("network32", r"^--field: at t = 0: RuntimeError: .*; try --dtype float32, if that is what a network"),
        ("convolution", r"^--field: at t = 0: RuntimeError: .*; try --dtype float32, if that is what a network"),
        ("energy", r"^--field: at t = 0: .* does not require grad .* take torch.func.grad .* torch.func.vmap"),
        ("flat_late", r"^--field: at t = 0.75: expected \(64, 2\) .*, got \(64, 1\)"),
        ("nan_late", r"^--field: at t = 0.5: expected finite numbers, got NaN or infinity for 64 of 64 particles"),
        ("nan_derivative", r"^--field: at t = 0: derivative in y is NaN or infinite for 64 of 64 particles"),
        ("quits", r"^--field: at t = 0: SystemExit: 3"),
        ("undecided", r"^--field: at t = 0: expected the same value at every call"),
        ("sign", r"^--field: at t = 0: expected a field that is continuous in y, .* its values differ by 2 between"),
        ("rounded", r"^--field: at t = 0: expected a field that is continuous .* differ by 0.01\d* between"),
        ("coupled", r"^--field: field at t=0: row i of the result must depend on row i"),
    ],
)
def test_a_field_that_bounds_cannot_use_is_refused_with_flag_and_time(field: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        validate(own(field), "float64")
    assert "tried on 64 points of --start normal:2, d = 2, in torch.float64" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "field",
    [
        "spiral",
        "right_jacobian",
        "in_place",
        "constant",
        "kinked",
        "fine",
        "root",
        "ramp",
        "large",
        "network",
        "dropout",
        "energy_func",
        "energy_rows",
    ],
)
def test_no_sound_field_is_refused(field: str, dtype: str) -> None:
    if dtype == "float32" and field in ("network", "dropout"):
        field = "network32"
    validate(own(field), dtype)


@pytest.mark.parametrize("field", ["detached", "partly_detached", "wrong_jacobian"])
def test_single_precision_still_finds_a_wrong_derivative(field: str) -> None:
    with pytest.raises(UsageError, match="expected a derivative"):
        validate(own(field), "float32")


def test_a_double_network_in_single_precision_is_told_its_dtype() -> None:
    with pytest.raises(UsageError, match="; try --dtype float64, if that is what a network"):
        validate(own("network"), "float32")


def test_a_class_is_no_field() -> None:
    with pytest.raises(UsageError, match="^--field: expected something to call .*, got the class A_class; make"):
        named("own_flows:A_class", "--field")


def test_kinks_on_the_points_of_the_data_are_no_wrong_derivative(tmp_path: Path) -> None:
    lattice = torch.cartesian_prod(torch.arange(-3.0, 4.0), torch.arange(-3.0, 4.0))
    np.save(tmp_path / "lattice.npy", lattice.numpy())
    kinks = lambda t, y: (y - y.round()).abs()  # noqa: E731  # every point of the lattice is a kink
    sys.modules["own_flows"].kinks = kinks  # type: ignore[attr-defined]
    validate(own("kinks", start=str(tmp_path / "lattice.npy")), "float64")


def test_the_reference_and_a_score_are_named_by_their_own_flags() -> None:
    with pytest.raises(UsageError, match="^--reference: at t = 0: expected a derivative"):
        validate(Config(field="own_flows:spiral", reference="own_flows:detached"), "float64")
    with pytest.raises(UsageError, match=r"^--score: at t = 10: expected a derivative"):
        validate(Config(score="own_flows:detached", reference="own_flows:spiral", path="ve"), "float64")
    with pytest.raises(UsageError, match=r"tried on 64 points of --start normal:3, d = 3"):
        validate(own("spiral", start="normal:3"), "float64")


def test_a_field_that_fails_between_the_probes_names_flag_time_and_particles(tmp_path: Path) -> None:
    flags = ["--field", "own_flows:nan_between", "--reference", "own_flows:spiral", "--workers", "1"]
    assert STUDY.main(["--preset", "smoke", "--out", str(tmp_path / "run"), *flags]) == 1
    (record,) = Store(tmp_path / "run").records(lambda r: r.case)
    assert record.failed is not None
    assert record.failed.startswith("FieldError: --field: at t = 0.3")
    assert "NaN or infinity for 3 of 48 particles" in record.failed


def failure_of(folder: Path, *flags: str) -> str:
    """What the one row of a run of a user's field says, which failed."""
    assert STUDY.main(["--preset", "smoke", "--n", "8", "--out", str(folder), "--workers", "1", *flags]) == 1
    (record,) = Store(folder).records(lambda r: r.case)
    assert record.failed is not None
    return record.failed


@pytest.mark.parametrize("flag", ["--field", "--reference"])
def test_a_jump_that_the_probe_cannot_see_ends_the_row_at_the_step_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setattr("studies.w2_bound.field.MAX_STEPS", 500)
    other = "--reference" if flag == "--field" else "--field"
    failed = failure_of(tmp_path / "run", flag, "own_flows:sign_between", other, "own_flows:spiral")
    assert re.match(rf"FieldError: {flag}: at t = 0\.1\d*: 500 steps from t = 0 took its exact flow no further", failed)
    assert "it seems not to be continuous there (values change by 2 over" in failed


@pytest.mark.parametrize(
    ("times", "begin"), [(("--t0", "0", "--t1", "1"), "0.00"), (("--t0", "1.05", "--t1", "0.05"), "1.04")]
)
def test_a_flow_that_explodes_names_its_flag_its_time_and_what_a_user_can_do(
    tmp_path: Path, times: tuple[str, ...], begin: str
) -> None:
    field = "explodes" if begin == "0.00" else "implodes"
    sys.modules["own_flows"].implodes = lambda t, y: -20 * y**3  # type: ignore[attr-defined]
    failed = failure_of(tmp_path / "run", "--field", f"own_flows:{field}", "--reference", "own_flows:spiral", *times)
    assert failed.startswith(f"FieldError: --field: at t = {begin}")
    assert "seems to leave all bounds there" in failed
    assert failed.endswith("end earlier (--t1), or start elsewhere (--start)")
    assert "rtol" not in failed


def test_a_score_whose_flow_explodes_names_the_time_of_its_path(tmp_path: Path) -> None:
    failed = failure_of(tmp_path / "run", "--score", "own_flows:spiral", "--reference", "own_flows:explodes")
    assert re.match(r"FieldError: --reference: at t = 0\.\d+: its exact flow goes no further", failed)
    assert failed.endswith("start elsewhere (--start)")


def test_bounds_that_overflow_are_reported_by_their_powers_of_ten(tmp_path: Path) -> None:
    flags = ["--field", "own_flows:shear_too", "--reference", "own_flows:shear", "--n", "8", "--workers", "1"]
    assert STUDY.main(["--preset", "smoke", "--out", str(tmp_path / "run"), *flags]) == 0
    text = (tmp_path / "run/report.md").read_text()
    assert "bound (in parentheses: the published form) is $10^{4" in text  # e^1000
    assert "is *model* (100\u00a0% of the budget); the budget is $10^{4" in text
    assert "nan" not in text


def test_writing_into_the_points_does_them_no_harm() -> None:
    y = torch.ones(3, 2)
    UserField(write_in_place, "--field")(0.0, y)
    assert bool((y == 1).all())


def test_a_network_leaves_no_graph_and_is_in_evaluation_mode() -> None:
    field, y = named("own_flows:dropout", "--field"), torch.ones(3, 2, dtype=torch.float64)
    assert not field(0.0, y).requires_grad
    assert torch.equal(field(0.0, y), field(0.0, y))


def test_errors_of_a_field_are_field_errors_with_their_cause() -> None:
    with pytest.raises(FieldError, match=r"^--score: at t = 0.25: ZeroDivisionError") as caught:
        UserField(lambda t, y: y / (1 // 0), "--score")(0.25, torch.ones(2, 2))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("code", ["raise SystemExit('no licence')", "raise SystemExit(0)", "1 / 0"])
def test_a_module_that_quits_at_import_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (tmp_path / "own_quitter.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"^--field: cannot import 'own_quitter': (SystemExit|ZeroDivisionError)"):
        named("own_quitter:field", "--field")


@given(
    name=st.sampled_from(["eps", "stops", "noise"]), bad=st.sampled_from([NAN, float("inf"), -float("inf"), 0.0, -1.0])
)
def test_no_sweep_takes_a_number_that_is_not_positive_and_finite(name: str, bad: float) -> None:
    with pytest.raises(UsageError, match=rf"^--{name}: expected positive finite numbers, got 0.5 {bad:g}$"):
        validate(Config(**{name: (0.5, bad)}), "float64")


@pytest.mark.parametrize("name", ["eps", "steps", "sde_steps", "stops", "noise"])
def test_a_value_given_twice_is_refused(name: str) -> None:
    value = getattr(Config(), name)[0]
    with pytest.raises(UsageError, match=rf"^--{name.replace('_', '-')}: expected each value once"):
        validate(Config(**{name: (value, value)}), "float64")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stops": (0.5, 1.5)}, "--stops: expected times below 1, got 0.5 1.5"),
        ({"noise": (2.0, 0.01)}, "--noise: expected a final beta of at least 0.1, the first one, got 2 0.01"),
        ({"steps": (10, 65537)}, "--steps: expected numbers of steps from 1 to 65536, got 10 65537"),
        ({"n": 10**9}, "--n: expected 8 to 1000000, got 1000000000"),
        ({"n_cloud": 7}, "--n-cloud: expected 8 to 1000000, got 7"),
        ({"train_steps": 10**12}, "--train-steps: expected 1 to 10000000, got 1000000000000"),
        ({"width": 10**6}, "--width: expected 1 to 100000, got 1000000"),
        ({"variation_nodes": 4101}, "--variation-nodes: expected 5, 9, 13, ..., 4097, got 4101"),
    ],
)
def test_settings_out_of_range_are_refused_as_they_were_typed(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        validate(Config(**settings), "float64")  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_more_particles_than_memory_holds_are_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gflow.study.provenance.available_memory", lambda: 2**34)
    assert STUDY.main(["--n", "100000", "--case", "tight", "--out", str(tmp_path / "run")]) == 2
    assert "memory: expected cases that fit 16.0 GiB available, got tight/" in capsys.readouterr().err
    assert STUDY.main(["--width", "10000", "--case", "tight", "--out", str(tmp_path / "run")]) == 2
    assert "memory: expected a preparation that fits 16.0 GiB available" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["t0", "t1"])
def test_times_are_finite(name: str) -> None:
    with pytest.raises(UsageError, match=f"^--{name}: expected a finite time, got nan"):
        validate(own("spiral", **{name: NAN}), "float64")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "nosuch.npy"}, "--start: needs --field, or --score"),
        ({"t0": 3.0}, "--t0: needs --field"),
        ({"t1": 3.0}, "--t1: needs --field"),
        ({"path": "ve"}, "--path: needs --score or --data"),
        ({"reference": "own_flows:spiral"}, "--reference: needs --field or --score"),
        ({"field": "own_flows:spiral", "reference": "own_flows:spiral", "path": "ve"}, "--path: needs"),
        ({"score": "own_flows:spiral", "reference": "own_flows:spiral", "t0": 0.5}, "--t0: needs --field"),
    ],
)
def test_a_flag_without_effect_is_refused_with_what_it_needs(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        validate(Config(**settings), "float64")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--field own_flows:spiral --steps 7", "--steps: has no effect beside --field; leave it out, got 7"),
        ("--field own_flows:spiral --eps 0.3 0.4", "--eps: has no effect beside --field; leave it out, got 0.3 0.4"),
        ("--field own_flows:spiral --width 17", "--width: has no effect beside --field; leave it out, got 17"),
        ("--field own_flows:spiral --n-cloud 9", "--n-cloud: has no effect beside --field; leave it out, got 9"),
        ("--score own_flows:spiral --noise 3", "--noise: has no effect beside --score; leave it out, got 3"),
        (
            "--field own_flows:spiral --start cloud.npy --n 9",
            "--n: has no effect beside --field and a file of --start; leave it out, got 9",
        ),
    ],
)
@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_a_sweep_beside_a_field_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], preset: str, flags: str, message: str
) -> None:
    command = [*flags.split(), "--reference", "own_flows:spiral", "--preset", preset, "--dry-run"]
    assert STUDY.main(command) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
@pytest.mark.parametrize("name", ["n", "n_cloud", "eps", "steps", "noise", "train_steps", "width", "variation_nodes"])
def test_a_setting_is_refused_beside_data_just_where_it_has_no_effect(tmp_path: Path, preset: str, name: str) -> None:
    np.save(tmp_path / "cloud.npy", np.random.default_rng(0).normal(size=(40, 2)))
    given = {"eps": (0.3,), "steps": (7,), "noise": (3.0,), "variation_nodes": 21}.get(name, 27)
    config = replace(STUDY.presets[preset], data=str(tmp_path / "cloud.npy"))
    validate(config, "float64")
    if name in ("n_cloud", "train_steps", "width", "variation_nodes"):
        validate(replace(config, **{name: given}), "float64")
        return
    with pytest.raises(UsageError, match=rf"^--{name}: has no effect beside --data"):
        validate(replace(config, **{name: given}), "float64")


@pytest.mark.parametrize(
    ("cloud", "dtype", "message"),
    [
        (np.eye(7), "float64", "--data: expected at least 8 points, got 7"),
        (np.ones((40, 2)), "float64", "--data: expected points that differ, got 40 equal ones"),
        (1e200 * np.eye(10), "float64", "--data: expected numbers up to 5e.11"),
        (1e4 * np.eye(10), "float32", "--data: expected numbers up to 8e.02"),
        (np.full((9, 2), 100.0) + 1e-9 * np.eye(9, 2), "float32", "--data: expected points that differ"),
    ],
)
def test_a_cloud_that_cannot_be_noised_is_refused(tmp_path: Path, cloud: np.ndarray, dtype: str, message: str) -> None:
    np.save(tmp_path / "cloud.npy", cloud)
    with pytest.raises(UsageError, match=f"^{message}"):
        validate(Config(data=str(tmp_path / "cloud.npy")), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 19])
def test_a_file_of_few_points_ends_with_its_report(tmp_path: Path, n: int) -> None:
    np.save(tmp_path / "cloud.npy", np.random.default_rng(0).normal(size=(n, 2)))
    flags = ["--preset", "smoke", "--train-steps", "5", "--data", str(tmp_path / "cloud.npy"), "--workers", "1"]
    assert STUDY.main([*flags, "--out", str(tmp_path / "run")]) in (0, 3)
    assert all(r.failed is None for r in Store(tmp_path / "run").records(lambda r: r.case))
