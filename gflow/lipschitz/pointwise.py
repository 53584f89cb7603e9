"""Jacobians of a field at many points, and their logarithmic norm. Knows no constant of a whole field."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vjp, vmap

from gflow.velocity import Time, VelocityField

MEMORY_LIMIT = 2**28
"""Bytes that one chunk of Jacobians may take, intermediates included (estimated)."""
_LOOP_UP_TO = 8  # below, d pull-backs in a loop beat one vmap over cotangents (measured, CPU)


def jacobian(
    v: VelocityField[Tensor], t: Time, x: Float[Tensor, "n d"], *, chunk: int | None = None
) -> Float[Tensor, "n d d"]:
    """``[i, a, b] = d v(t, x)[i, a] / d x[i, b]``, in closed form where ``v`` has ``.jacobian``.

    Otherwise d pull-backs of the whole batch: exact when row i of ``v`` depends on row i of ``x``
    alone (``check_rows_independent`` tests that). A field that hides its graph, say behind
    ``torch.no_grad``, is pushed forward instead. The result is detached, in the dtype and on the
    device of ``x``.

    Args:
        v: field, in either direction of time; the Jacobian is that of ``v`` as it stands.
        t: time, as ``v`` takes it.
        x: points.
        chunk: rows per pass; by default what keeps a pass below ``MEMORY_LIMIT``.

    Raises:
        ValueError: ``x`` is not (n, d), ``chunk < 1``, a result of another shape or dtype, or a
            Jacobian that is not finite (the message gives the time and the number of rows).
    """
    check_points(x)
    size = default_chunk(v, x) if chunk is None else chunk
    if size < 1:
        raise ValueError(f"chunk: needs at least 1 row, got {size}")
    with torch.no_grad():
        if len(x) <= size:
            return _jacobian(v, t, x)
        return torch.cat([_jacobian(v, t, part) for part in torch.split(x, size)])


def log_norm(a: Float[Tensor, "n d d"]) -> Float[Tensor, " n"]:
    """Largest eigenvalue of ``(a + a^T) / 2``: the logarithmic norm for the Euclidean norm.

    Closed form for d <= 2. Also called the measure of a matrix (Dahlquist 1958). Keeps dtype and
    device, and is differentiable where the eigenvalue is simple.

    Raises:
        ValueError: ``a`` is not (n, d, d).
    """
    if a.ndim != 3 or a.shape[1] != a.shape[2]:
        raise ValueError(f"a: expected square matrices (n, d, d), got {tuple(a.shape)}")
    if a.shape[1] == 1:
        return a[:, 0, 0]
    if a.shape[1] == 2:
        p, q = a[:, 0, 0], a[:, 1, 1]
        return ((p + q) + torch.hypot(p - q, a[:, 0, 1] + a[:, 1, 0])) / 2
    values: Tensor = torch.linalg.eigvalsh((a + a.mT) / 2)
    return values[:, -1]


def default_chunk(v: VelocityField[Tensor], x: Float[Tensor, "n d"]) -> int:
    """Rows per pass that keep the Jacobians of ``v`` at ``x`` below ``MEMORY_LIMIT``."""
    d = max(x.shape[1], 1)
    # Closed forms hold a few (d, d) arrays; a pull-back holds a few layers per cotangent.
    per_row = 4 * d * d if hasattr(v, "jacobian") else d * max(512, 8 * d)
    return max(1, MEMORY_LIMIT // (per_row * x.element_size()))


def check_points(x: Tensor, name: str = "x") -> None:
    """Raise ValueError unless ``x`` is a floating-point array (n, d) with n, d >= 1."""
    if x.ndim != 2 or not x.numel() or not x.is_floating_point():
        raise ValueError(f"{name}: expected floating-point points (n, d), got {tuple(x.shape)} of {x.dtype}")


def check_value(y: Tensor, x: Tensor, t: Time, what: str = "field") -> None:
    """Raise ValueError unless the value ``y`` of a field has the shape and dtype of ``x``."""
    if y.shape != x.shape or y.dtype != x.dtype:
        raise ValueError(
            f"{what} at t={float(t):g}: expected {tuple(x.shape)} of {x.dtype}, got {tuple(y.shape)} of {y.dtype}"
        )


def reverse_mode(v: VelocityField[Tensor], t: Time, x: Float[Tensor, "n d"]) -> tuple[Callable[[Tensor], Tensor], bool]:
    """The pull-back u -> u^T J at ``x`` and whether the value of ``v`` remembers ``x``."""
    seen = False

    def value(z: Tensor) -> Tensor:
        nonlocal seen
        y = v(t, z)
        check_value(y, z, t)
        seen = y.requires_grad
        return y

    pull = vjp(value, x)[1]
    return (lambda u: pull(u)[0]), seen


def _jacobian(v: VelocityField[Tensor], t: Time, x: Tensor) -> Tensor:
    # hasattr, not isinstance: a runtime protocol costs 4 us a time, and this is the hot loop.
    j: Tensor = v.jacobian(t, x) if hasattr(v, "jacobian") else _by_autodiff(v, t, x)
    n, d = x.shape
    if j.shape != (n, d, d) or j.dtype != x.dtype:
        raise ValueError(
            f"jacobian at t={float(t):g}: expected {n, d, d} of {x.dtype}, got {tuple(j.shape)} of {j.dtype}"
        )
    if not math.isfinite(float(j.sum())):  # one pass, no mask
        bad = int((~torch.isfinite(j)).flatten(1).any(1).sum())
        raise ValueError(f"jacobian at t={float(t):g}: NaN or infinite for {bad} of {n} particles")
    return j


def _by_autodiff(v: VelocityField[Tensor], t: Time, x: Tensor) -> Tensor:
    d = x.shape[1]
    basis = torch.eye(d, dtype=x.dtype, device=x.device)
    pull, seen = reverse_mode(v, t, x)
    if not seen:
        return torch.stack([jvp(lambda z: v(t, z), (x,), (e.expand_as(x),))[1] for e in basis], -1)
    if d <= _LOOP_UP_TO:
        return torch.stack([pull(e.expand_as(x)) for e in basis], 1)
    columns: Tensor = vmap(lambda e: pull(e.expand_as(x)), out_dims=1)(basis)
    return columns
