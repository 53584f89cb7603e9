"""Does a field act on every particle by itself? What Jacobians per row take for granted."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.lipschitz.pointwise import check_points, check_value
from gflow.velocity import Time, VelocityField


def check_rows_independent(v: VelocityField[Tensor], t: Time, x: Float[Tensor, "n d"]) -> None:
    """Check on two rows a, b of ``x`` that ``v(t, y)[i]`` depends on ``y[i]`` alone.

    Compares the batches (a, b), (a, a) and (b, b): three evaluations on two rows. Coupling through
    a mean, a maximum or the position in the batch is found; it would make a Jacobian per row, and
    every constant made of it, wrong without a sign. With one row only, b is a shifted copy.

    Raises:
        ValueError: the rows are coupled, or the field returns another shape or dtype or is not finite.
    """
    check_points(x)
    a, b = x[:1], x[1:2] if len(x) > 1 and not torch.equal(x[0], x[1]) else x[:1] + 1
    with torch.no_grad():
        mixed, first, second = (_evaluate(v, t, torch.cat(rows)) for rows in ((a, b), (a, a), (b, b)))
    expected = torch.cat([mixed[:1], mixed[:1], mixed[1:], mixed[1:]])
    gap = float((torch.cat([first, second]) - expected).abs().max())
    # Equal batch shapes take equal kernels; the factor allows for reordered sums.
    allowed = 1e4 * torch.finfo(x.dtype).eps * max(float(mixed.abs().max()), 1e-300)
    if not gap <= allowed:
        raise ValueError(
            f"field at t={float(t):g}: row i of the result must depend on row i of the points alone, "
            f"but changing another row changes it by {gap:.3g} (allowed {allowed:.1g})"
        )


def _evaluate(v: VelocityField[Tensor], t: Time, y: Tensor) -> Tensor:
    value = v(t, y)
    check_value(value, y, t)
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"field at t={float(t):g}: NaN or infinite at one of two of the points")
    return value
