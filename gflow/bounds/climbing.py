"""The bound ladder: five upper bounds of W2 between two flows, from the sharpest to the published one (W2B-19)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds import rungs
from gflow.bounds.rungs import Step
from gflow.estimate import Estimate
from gflow.transport import optimal_pairs
from gflow.velocity import VelocityField

NAMES = ("synchronous", "propagator", "pathwise", "local", "global")
"""The rungs, each at most the next."""
PROPAGATOR_UP_TO = 8
"""Largest dimension in which fundamental matrices are formed."""

OneSidedConstant = Callable[[float], Estimate]
"""s -> one-sided Lipschitz constant of the model at sampling time s; bias ``down`` where it is sampled."""


@dataclass(frozen=True)
class Profile:
    """Where along sampling time the error enters, and what becomes of it; K steps, K + 1 nodes."""

    s: tuple[float, ...]
    """Nodes, (K + 1)."""
    distance: tuple[float, ...]
    """||x_s - y_s|| of the synchronous coupling at the nodes, (K + 1)."""
    model_error: tuple[float, ...]
    """||(f - g)(x_s)|| at the nodes, (K + 1)."""
    entering: tuple[float, ...]
    """L2 norm of what each step adds, (K)."""
    arriving: tuple[float, ...]
    """L2 norm of what is left of it at the end, amplified pathwise, (K)."""
    constant: tuple[float, ...]
    """Mean growth rate of the ``local`` rung over each step, (K)."""


@dataclass(frozen=True)
class Ladder:
    """Upper bounds of W2 between the two clouds at the end of sampling, each at most the next.

    All are bounds for the clouds that were given, not for the laws behind them.
    """

    synchronous: Estimate
    """||x_S - y_S||, the coupling that starts both flows from the same pairs."""
    propagator: Estimate | None
    """Fundamental matrices; None above 8 dimensions."""
    pathwise: Estimate
    """One logarithmic norm per pair."""
    local: Estimate
    """One logarithmic norm per time, the largest over the pairs."""
    global_: Estimate | None
    """The published form (W2B-1); None where no constant was given."""
    certified: bool
    """Whether the constant of ``global`` is a closed form rather than a sampled maximum."""
    profile: Profile
    account: Account
    """The exact account of the coupling distance, which the slack ledger reads (W2B-11)."""
    evaluations: int
    """Field evaluations of the two solves together."""
    x: Float[Tensor, "n d"]
    """The reference cloud at the end; row i was paired with row i of ``y`` at the start."""
    y: Float[Tensor, "n d"]
    """The model cloud at the end."""

    @property
    def bounds(self) -> dict[str, Estimate]:
        """The rungs that exist, by name, in order."""
        values = (self.synchronous, self.propagator, self.pathwise, self.local, self.global_)
        return {name: value for name, value in zip(NAMES, values, strict=True) if value is not None}

    def kind(self, name: str) -> str:
        """``certified`` where the constants of the rung are closed forms, else ``measured``."""
        return "certified" if name == "synchronous" or (name == "global" and self.certified) else "measured"


@dataclass(frozen=True)
class Rates:
    """What drives the pairs apart at one time, in the mean (W2B-11); e = x - y, delta = (f - g)(x)."""

    distance: float
    """W = ||e||."""
    forcing: float
    """E[e.delta]/W, its limit ||delta|| where W = 0."""
    growth: float
    """E[e.(g(x) - g(y))]/W^2, its limit along delta where W = 0."""
    error: float
    """||delta||."""

    @classmethod
    def at(
        cls,
        e: Float[Tensor, "n d"],
        delta: Float[Tensor, "n d"],
        gap: Float[Tensor, "n d"],
        push: Callable[[], Float[Tensor, "n d"]],
    ) -> Rates:
        """Rates from the pairs; ``push()`` is Dg delta, wanted only where all pairs meet."""
        squared, error = float((e * e).sum(1).mean()), rungs.rms(delta.norm(dim=1))
        if squared > 0:
            w = math.sqrt(squared)
            return cls(w, float((e * delta).sum(1).mean()) / w, float((e * gap).sum(1).mean()) / squared, error)
        growth = float((delta * push()).sum(1).mean()) / error**2 if error > 0 else 0.0
        return cls(0.0, error, growth, error)


@dataclass(frozen=True)
class Account:
    """The exact account of the coupling distance, step by step: W <- exp(growth) W + forcing."""

    growth: tuple[float, ...]
    forcing: tuple[float, ...]
    error: tuple[float, ...]
    """What replaces ``forcing`` when the alignment of e and delta is not used."""


def ordered_pairs(
    x0: Float[Tensor, "n d"], y0: Float[Tensor, "n d"] | None, *, paired: bool
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """The initial pairs: the same cloud twice, the given pairs, or an optimal plan between the clouds.

    Raises:
        TypeError: clouds that are not tensors.
        ValueError: clouds that are not (n, d) of one shape, dtype and device, fewer than 2 points,
            or numbers that are not finite.
    """
    for name, cloud in (("x0", x0), ("y0", x0 if y0 is None else y0)):
        check_cloud(name, cloud)
    if y0 is None:
        return x0, x0
    mine, its = ((tuple(c.shape), c.dtype, c.device) for c in (x0, y0))
    if mine != its:
        raise ValueError(
            f"y0: expected {mine[0]} of {mine[1]} on {mine[2]} as x0, got {its[0]} of {its[1]} on {its[2]}"
        )
    return x0, y0 if paired else y0[optimal_pairs(x0, y0).to(y0.device)]


def check_cloud(name: str, cloud: Tensor) -> None:
    """Raise unless ``cloud`` is a finite floating-point cloud (n >= 2, d >= 1), naming the argument."""
    if not isinstance(cloud, Tensor):
        raise TypeError(f"{name}: expected a tensor (n, d), got {type(cloud).__name__}")
    if cloud.ndim != 2 or len(cloud) < 2 or not cloud.numel() or not cloud.is_floating_point():
        given = f"{tuple(cloud.shape)} of {cloud.dtype}"
        raise ValueError(f"{name}: expected a floating-point cloud (n >= 2, d >= 1), got {given}")
    if bad := int((~torch.isfinite(cloud)).any(1).sum()):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity in {bad} of {len(cloud)} rows")


def row_chunks(x: Float[Tensor, "n d"]) -> list[slice]:
    """Rows whose Jacobians are held at once: all where transitions are kept, else about 64 MB of float64."""
    rows = len(x) if x.shape[1] <= PROPAGATOR_UP_TO else max(1, 2**23 // x.shape[1] ** 2)
    return [slice(k, k + rows) for k in range(0, len(x), rows)]


def default_tolerance(x: Float[Tensor, "n d"]) -> float:
    """Tolerance of the exact flows: 1e-9 for d <= 8, 1e-5 above, and what the dtype resolves."""
    return max(1e-9 if x.shape[1] <= PROPAGATOR_UP_TO else 1e-5, 8 * torch.finfo(x.dtype).eps)


def model_error(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    s: float,
    x: Float[Tensor, "n d"],
    names: tuple[str, str] = ("f", "g"),
) -> Float[Tensor, "n d"]:
    """(f - g)(x) at sampling time s; ``names`` are those of the two fields in messages.

    Raises:
        ValueError: a field returns another shape or dtype, NaN or infinity.
    """
    values = f(s, x), g(s, x)
    for name, value in zip(names, values, strict=True):
        if value.shape != x.shape or value.dtype != x.dtype:
            got = f"{tuple(value.shape)} of {value.dtype}"
            raise ValueError(f"{name} at s = {s:.6g}: expected {tuple(x.shape)} of {x.dtype}, got {got}")
        if bad := int((~torch.isfinite(value)).any(1).sum()):
            raise ValueError(f"{name} at s = {s:.6g}: NaN or infinite for {bad} of {len(x)} particles")
    return values[0] - values[1]


def assemble(
    e0: Float[Tensor, "n d"],
    ends: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]],
    steps: list[Step],
    *,
    certified: bool,
    profile: Profile,
    account: Account,
    evaluations: int,
) -> Ladder:
    """The rungs of a sequence of steps that carries the differences ``e0`` to that of ``ends``."""
    length, (x, y) = e0.double().norm(dim=1), ends
    has_global = all(step.global_growth is not None for step in steps)
    local = rungs.scalar(rungs.rms(length), [s.local_growth for s in steps], [s.log_local_source for s in steps])
    published = [s.global_growth for s in steps if s.global_growth is not None]
    top = rungs.scalar(rungs.rms(length), published, [s.log_global_source for s in steps]) if has_global else None
    formed = all(step.transition is not None for step in steps)
    return Ladder(
        synchronous=Estimate.bound(rungs.log_rms((x - y).double().norm(dim=1).log()), bias="up"),
        propagator=Estimate.bound(rungs.propagator(e0, steps), bias="up") if formed else None,
        pathwise=Estimate.bound(rungs.pathwise(length, steps), bias="up"),
        local=Estimate.bound(local, bias="up"),
        global_=None if top is None else Estimate.bound(top, bias="up" if certified else "down"),
        certified=certified,
        profile=profile,
        account=account,
        evaluations=evaluations,
        x=x,
        y=y,
    )
