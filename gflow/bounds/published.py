"""The published bounds: one global constant per time, the expectation under the reference law (W2B-1, 4, 5, 14, 15)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import OneSidedConstant, model_error
from gflow.bounds.quadrature import Array, Panels
from gflow.bounds.rungs import log, log_sum, rms
from gflow.estimate import Bias, Estimate
from gflow.problems import Path
from gflow.velocity import VelocityField

Samples = Callable[[float], Float[Tensor, "n d"]]
"""s -> points with the law p_s of the reference at sampling time s."""


def gronwall_bound(
    panels: Panels, errors: Array, constants: Array, initial: float, *, bias: Bias = "unknown"
) -> Estimate:
    """``int exp(int_s^S L) e_s ds + exp(int L) W_0`` from values at the nodes of ``panels`` (W2B-1).

    Carried as a logarithm. The panels must resolve ``exp(int L)``: a layer between two nodes is not seen.

    Args:
        panels: quadrature in sampling time.
        errors: ||(f - g)||_{L2(p_s)} at the nodes.
        constants: one-sided Lipschitz constants of the model in the direction of sampling (W2B-2).
        initial: W2 of the initial laws.
        bias: label of the result.

    Raises:
        ValueError: arrays that do not match the nodes, negative errors or a negative initial distance.
    """
    _check_values(panels, "errors", errors, least=0.0)
    _check_values(panels, "constants", constants)
    _check_number("initial", initial)
    growth = panels.tail(constants)
    terms = [log(w * e) + a for w, e, a in zip(panels.weights, errors, growth, strict=True)]
    return Estimate.bound(float(log_sum(*terms, log(initial) + panels.integral(constants))), bias=bias)


def global_bound(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    samples: Samples,
    osl: OneSidedConstant,
    panels: Panels,
    *,
    initial: float = 0.0,
) -> Estimate:
    """The published bound between the flows of f and g, both in sampling time (W2B-1, W2B-4, W2B-5).

    With probability-flow fields f - g is g^2/2 times the score error, with the drifts of the SDE it
    is g^2 times it, so the weights of W2B-4 and W2B-5 come from the fields and cannot be mixed with
    the constant of the other (``gflow.fields.ReverseDrift`` makes both kinds). The Monte Carlo error
    of the expectation is that of ``samples``; the root of a sample mean is biased down (W2B-16), so
    closed constants leave the bias ``unknown``, and sampled ones make it ``down``.

    Args:
        f: reference field.
        g: model field; the constant is its own.
        samples: points with the law of the reference at s.
        osl: one-sided Lipschitz constant of g at s.
        panels: quadrature in sampling time.
        initial: W2 of the initial laws; 0 for the same law.

    Raises:
        ValueError: a field that returns another shape or is not finite (the message gives the time
            and the number of particles), constants that are not finite, or ``initial < 0``.
    """
    nodes = [float(s) for s in panels.nodes]
    errors = np.array([l2_error(f, g, samples, s) for s in nodes])
    constants = [osl(s) for s in nodes]
    certified = all(c.bias in ("none", "up") for c in constants)
    values = np.array([c.mean for c in constants])
    return gronwall_bound(panels, errors, values, initial, bias="unknown" if certified else "down")


def cauchy_schwarz_bound(
    panels: Panels,
    squared_diffusion: Array,
    score_errors: Array,
    drift_constants: Array,
    score_constants: Array,
    *,
    rho: float,
    initial: float = 0.0,
    bias: Bias = "unknown",
) -> Estimate:
    """(c int g^2 I^2)^{1/2} (c int g^2 e^2)^{1/2} + I W_0, c = (1 + rho)/2 (W2B-14; Kwon, Fan and Lee 2022).

    I = exp int_s^S (L_f + c g^2 L_s). At ``rho = 1`` the first term is (2 int g^2 I^2)^{1/2} J^{1/2}
    with J = (1/2) int g^2 e^2, the objective of the paper. It is at least the form of ``global_bound``, and equal
    to it when the error is proportional to I.

    Args:
        panels: quadrature in sampling time.
        squared_diffusion: g^2 at the nodes.
        score_errors: L2(p_s) norm of the score error at the nodes.
        drift_constants: one-sided Lipschitz constant L_f of the linear drift in sampling time.
        score_constants: one-sided Lipschitz constant L_s of the learned score.
        rho: noise of the sampler as a share of g^2; 0 for the probability flow.
        initial: W2 of the initial laws.
        bias: label of the result.

    Raises:
        ValueError: arrays that do not match the nodes, or a negative ``rho``, g^2, error or distance.
    """
    for name, values in (("squared_diffusion", squared_diffusion), ("score_errors", score_errors)):
        _check_values(panels, name, values, least=0.0)
    for name, values in (("drift_constants", drift_constants), ("score_constants", score_constants)):
        _check_values(panels, name, values)
    _check_number("rho", rho)
    _check_number("initial", initial)
    c = (1.0 + rho) / 2
    constants = drift_constants + c * squared_diffusion * score_constants
    growth = panels.tail(constants)
    log_weight = log_sum(
        *(log(w * c * q) + 2 * a for w, q, a in zip(panels.weights, squared_diffusion, growth, strict=True))
    )
    objective = panels.integral(c * squared_diffusion * score_errors**2)
    value = log_sum(log_weight / 2 + log(objective) / 2, log(initial) + panels.integral(constants))
    return Estimate.bound(float(value), bias=bias)


def initial_error_bound(path: Path, second_moment: float, dim: int, *, prior_std: float) -> Estimate:
    """W2(p_T, N(0, s^2 I)) <= (alpha_T^2 E|x_0|^2 + (s - sigma_T)^2 d)^{1/2}, one noise for both (W2B-15).

    ``second_moment`` is E|x_0|^2 of the data, ``prior_std`` the s of the prior that the sampler starts
    from: 1 for VP and the linear path, sigma_T for VE.

    Raises:
        ValueError: ``second_moment < 0``, ``dim < 1`` or ``prior_std < 0``.
    """
    _check_moment(second_moment, dim)
    _check_number("prior_std", prior_std)
    t = path.noise_time
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    return Estimate.exact(math.sqrt(alpha**2 * second_moment + (prior_std - sigma) ** 2 * dim), bias="up")


def truncation_bound(path: Path, t: float, second_moment: float, dim: int) -> Estimate:
    """W2(p_0, p_t) <= ((1 - alpha_t)^2 E|x_0|^2 + sigma_t^2 d)^{1/2}: sampling stopped at path time t (W2B-16).

    ``second_moment`` is E|x_0|^2 of the data.

    Raises:
        ValueError: ``second_moment < 0``, ``dim < 1``, or t outside the path.
    """
    _check_moment(second_moment, dim)
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    return Estimate.exact(math.sqrt((1 - alpha) ** 2 * second_moment + sigma**2 * dim), bias="up")


def l2_error(
    f: VelocityField[Tensor],
    g: VelocityField[Tensor],
    samples: Samples,
    s: float,
    names: tuple[str, str] = ("f", "g"),
) -> float:
    """``||f - g||_{L2}`` at sampling time s under the law of ``samples(s)``; raises as ``model_error``."""
    return rms(model_error(f, g, s, samples(s), names).norm(dim=1))


def _check_values(panels: Panels, name: str, values: Array, *, least: float = -math.inf) -> None:
    if np.shape(values) != panels.nodes.shape or not np.all(np.isfinite(values)):
        raise ValueError(f"{name}: expected {len(panels.nodes)} finite values, got {np.shape(values)}")
    if np.min(values) < least:
        raise ValueError(f"{name}: must not be negative, got {np.min(values)}")


def _check_number(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}: must be finite and not negative, got {value}")


def _check_moment(second_moment: float, dim: int) -> None:
    _check_number("second_moment", second_moment)
    if dim < 1:
        raise ValueError(f"dim: must be at least 1, got {dim}")
