"""The W2 budget of a gradient flow, whose reference field depends on the current law: what a critic obeys (W2B-21)."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from gflow.bounds.published import Samples, gronwall_bound, l2_error
from gflow.bounds.quadrature import Panels
from gflow.estimate import Bias, Estimate
from gflow.velocity import VelocityField


def gradient_flow_bound(
    u: VelocityField[Tensor],
    exact: VelocityField[Tensor],
    samples: Samples,
    osl: Estimate,
    panels: Panels,
    *,
    initial: float = 0.0,
) -> Estimate:
    """W2(q_S, rho_S) of a flow along u against the exact flow of KL(. || p), after time S (W2B-21).

    ``int e^{K(S-s)} ||u_s - grad log(p/q_s)||_{L2(q_s)} ds + e^{KS} W2(q_0, rho_0)``, K the one-sided
    Lipschitz constant of grad log p. The error of the velocity is taken where the flow is, under q_s, and
    against the ratio with its *current* law: for ``u`` the gradient of a critic that is the critic's
    gradient error (RATIO-6). The entropy's part of the velocity drops, by the optimal coupling.
    Bounds for a field that is fixed in advance (``global_bound``, ``ladder``) do not hold here.

    Args:
        u: the field that moves q.
        exact: ``(s, x) -> grad log p - grad log q_s`` for the law q_s that u has reached.
        samples: s -> points of q_s; their Monte Carlo error is that of the result.
        osl: K, negative for a strongly log-concave p; its ``hi`` is used.
        panels: quadrature on [0, S].
        initial: W2(q_0, rho_0).

    Raises:
        ValueError: a field that returns another shape or is not finite (the message gives the time and
            the number of particles), a constant that is not finite, or ``initial < 0``.
    """
    if not math.isfinite(osl.hi):
        raise ValueError(f"osl: expected a finite constant of grad log p, got {osl.hi}")
    errors = panels.map(lambda s: l2_error(exact, u, samples, s, ("exact", "u")))
    bias: Bias = "down" if osl.bias == "down" else "unknown"
    return gronwall_bound(panels, errors, np.full_like(errors, osl.hi), initial, bias=bias)
