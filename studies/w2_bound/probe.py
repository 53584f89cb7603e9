"""Is a user's field what the bounds take for granted? Tried on a few points, at a few times, before long work."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from gflow.lipschitz import check_rows_independent
from gflow.lipschitz.pointwise import reverse_mode
from gflow.study import UsageError
from gflow.velocity import VelocityField
from studies.w2_bound.own_field import FieldError, UserField, first_line

_DERIVATIVE = 0.01  # what autodiff and differences may differ by, relative to the derivative
_HALVINGS = 6  # of the last distances, over which a jump does not shrink
_SPREAD = 0.1  # points are moved by this part of their size: off the lattices on which data and kinks may both lie


def probe(field: UserField, flag: str, times: Sequence[float], points: Float[Tensor, "n d"], origin: str) -> None:
    """Evaluate the field at each time: finite, repeatable, row by row, continuous, with a derivative that is its own.

    Raises:
        UsageError: naming ``flag``, the time, and ``origin``, where the points come from.
    """
    generator = torch.Generator().manual_seed(0)
    for t in times:
        try:
            _check_repeatable(field, t, points)
            check_rows_independent(field, t, points)
            _check_continuous(field, t, points, generator)
            _check_derivative(field, t, points, generator)
        except FieldError as error:
            raise UsageError(f"{error} ({origin})") from error
        except ValueError as error:
            raise UsageError(f"{flag}: {error} ({origin})") from error


def _check_repeatable(field: VelocityField[Tensor], t: float, x: Float[Tensor, "n d"]) -> None:
    first, second = field(t, x), field(t, x)
    gap, allowed = float((first - second).abs().max()), 1e4 * torch.finfo(x.dtype).eps * float(first.abs().max())
    if gap > allowed:
        raise ValueError(
            f"at t = {t:g}: expected the same value at every call, got two that differ by {gap:.3g}; "
            "is a network in training mode?"
        )


def _check_continuous(field: UserField, t: float, points: Float[Tensor, "n d"], generator: torch.Generator) -> None:
    """Bisect segments between the points, each time into the half over which the field changes more.

    Over the last halvings a Lipschitz field changes less by a factor of 2 each, and a jump stays what it is.
    """
    eps = torch.finfo(points.dtype).eps
    a = _spread(points, generator)
    b = a.roll(1, 0)
    left, right = field(t, a), field(t, b)
    changes = [(right - left).norm(dim=1)]
    for _ in range(min(30, int(-math.log2(32 * eps)))):
        middle = (a + b) / 2
        value = field(t, middle)
        first = ((value - left).norm(dim=1) >= (right - value).norm(dim=1))[:, None]
        a, b = torch.where(first, a, middle), torch.where(first, middle, b)
        left, right = torch.where(first, left, value), torch.where(first, value, right)
        changes.append((right - left).norm(dim=1))
    rounding = 1e4 * eps * float(torch.cat((left, right)).abs().max())
    jumps = (changes[-1] > changes[-1 - _HALVINGS] / 2) & (changes[-1] > rounding)
    if bool(jumps.any()):
        row = int(changes[-1].where(jumps, 0.0).argmax())
        raise ValueError(
            f"at t = {t:g}: expected a field that is continuous in y, without which no bound holds, got one that "
            f"jumps: its values differ by {float(changes[-1][row]):.3g} between two points that are "
            f"{float((b - a)[row].norm()):.1g} apart; smooth the jump"
        )


def _spread(points: Float[Tensor, "n d"], generator: torch.Generator) -> Float[Tensor, "n d"]:
    """The points, moved a little."""
    return points + _SPREAD * _size(points) * torch.randn(points.shape, dtype=points.dtype, generator=generator)


def _size(points: Float[Tensor, "n d"]) -> float:
    return float(points.square().mean().sqrt()) or 1.0


def _check_derivative(field: UserField, t: float, points: Float[Tensor, "n d"], generator: torch.Generator) -> None:
    """Compare each derivative that the bounds use with central differences, in a random direction per row.

    Two step sizes tell how well the differences resolve the field: what they differ by, several
    times, is allowed, so that an oscillation finer than the step or a kink between the two is not
    held against the field, in single precision least of all. Rounding of the values is allowed too.
    A row may lie on a kink; hence the field is refused where more than half of the rows disagree.
    """
    eps = torch.finfo(points.dtype).eps
    x = _spread(points, generator)
    v = torch.randn(points.shape, dtype=points.dtype, generator=generator)
    h = eps ** (1 / 3) * _size(points)  # balances truncation, of order h^2, and rounding, of order eps / h
    coarse, fine = ((field(t, x + k * v) - field(t, x - k * v)) / (2 * k) for k in (h, h / 2))
    length, unresolved = fine.norm(dim=1), (coarse - fine).norm(dim=1)
    allowed = _DERIVATIVE * length + 4 * unresolved + 32 * eps / h * field(t, x).norm(dim=1)
    for name, pushed in _derivatives(field, t, x, v, fine / length.clamp_min(torch.finfo(x.dtype).tiny)[:, None]):
        if lost := int((~torch.isfinite(pushed.view(len(x), -1))).any(1).sum()):
            raise ValueError(f"at t = {t:g}: derivative in y is NaN or infinite for {lost} of {len(x)} particles")
        # A pull-back gives one number per row: the part of the derivative along the differences.
        gap = (pushed - fine).norm(dim=1) if pushed.ndim == 2 else (pushed - length).abs()
        bad = gap > allowed
        if int(bad.sum()) > len(x) // 2:
            worst = float((gap / length.clamp_min(torch.finfo(x.dtype).tiny))[bad].median())
            raise ValueError(
                f"at t = {t:g}: expected a derivative in y that agrees with differences of the values, "
                f"got one that is off by {100 * worst:.0f} % for {int(bad.sum())} of {len(x)} particles: "
                f"{name}"
            )


def _derivatives(
    field: UserField, t: float, x: Float[Tensor, "n d"], v: Float[Tensor, "n d"], u: Float[Tensor, "n d"]
) -> list[tuple[str, Tensor]]:
    """What forward mode, reverse mode and a closed form say of ``D v`` (n, d), or of ``u . D v`` (n)."""
    hidden = "does the field detach y, or leave torch?"
    try:
        found = [(hidden, jvp(lambda z: field(t, z), (x,), (v,))[1])]
        if not hasattr(field, "jacobian"):
            pull, seen = reverse_mode(field, t, x)
            if seen:
                found.append((hidden, (pull(u) * v).sum(1)))
    except Exception as error:  # torch.func raises many kinds
        cause = error.__cause__ or error
        raise ValueError(
            f"at t = {t:g}: expected a field that torch.func can differentiate, written in torch operations "
            f"(not in NumPy), got {first_line(cause)}"
        ) from error
    if hasattr(field, "jacobian"):
        found.append(("is its method jacobian right?", torch.einsum("nab,nb->na", field.jacobian(t, x), v)))
    return found
