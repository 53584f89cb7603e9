"""Score networks: a plain network, preconditioned for a path. Knows no loss and no sampler."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gflow.learn.networks import Body
from gflow.lipschitz.ball import check_balls
from gflow.lipschitz.sampled import check_direction
from gflow.problems.path import Path
from gflow.velocity import Time

_FREQUENCIES = 4
NOISE_FEATURES = 1 + 2 * _FREQUENCIES
"""Length of the feature vector in which a ``ScoreNetwork`` tells its body the noise level."""


@runtime_checkable
class BoundedBody(Body, Protocol):
    """A body that bounds its own logarithmic norm over balls of inputs."""

    def ball_log_norm(
        self,
        centres: Float[Tensor, "n d"],
        radii: Float[Tensor, " n"],
        features: Tensor | None = None,
        /,
        *,
        direction: int,
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``log_norm(direction * Dy)`` on each ball."""
        ...


class ScoreNetwork(nn.Module):
    """``s(t, x) = -(x - alpha m)/v + alpha std F / (sigma sqrt v)``, ``v = sigma^2 + alpha^2 std^2``.

    The preconditioning of EDM (Karras et al. 2022, table 1) for any path ``x_t = alpha x_data +
    sigma z``: F sees ``(x - alpha m) / sqrt v``, of unit size, and its target has unit size; F = 0
    is the exact score for Gaussian data N(m, std^2 I). Time enters as ``noise_features``, bounded
    at both ends of the path.

    A field ``(t, x) -> (n, d)`` in the path's own time, t a float, a 0-d tensor, or (n,) for one
    time per row; dtype and device are those of the parameters, and x must have them. Usable under
    ``torch.func``.

    Raises:
        ValueError: ``data_std`` not positive and finite.
    """

    data_mean: Tensor | None

    def __init__(
        self, path: Path, body: Body, data_std: float, *, data_mean: Float[Tensor, " d"] | None = None
    ) -> None:
        super().__init__()
        if not 0 < data_std < math.inf:
            raise ValueError(f"data_std: needs a positive finite number, got {data_std}")
        self.path = path
        self.body = body
        self.data_std = data_std
        self.register_buffer("data_mean", data_mean)

    def forward(self, t: Time, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The score at time ``t`` and points ``x``.

        Raises:
            ValueError: a float ``t`` where sigma = 0, where no score exists, or a ``t`` of a shape
                other than () and (n,).
        """
        alpha, sigma = coefficients(self.path, t, x)
        if not isinstance(sigma, Tensor) and sigma <= 0:
            raise ValueError(f"t: there is no score at t={t}, where sigma = {sigma}")
        variance = sigma * sigma + (alpha * self.data_std) ** 2
        root = variance**0.5
        features = noise_features(alpha, sigma, x)
        centred = x if self.data_mean is None else x - alpha * self.data_mean
        gain = alpha * self.data_std / (sigma * root)
        return gain * self.body(centred / root, features) - centred / variance

    def ball_log_norm(
        self, t: Time, centres: Float[Tensor, "n d"], radii: Float[Tensor, " n"], /, *, direction: int
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``log_norm(direction * Ds(t, .))`` on each ball, up to round-off.

        That of the body on the balls that it sees, of radius ``radius / sqrt v``, times the gain
        over sqrt v, less ``direction / v``.

        Raises:
            ValueError: as the body does, or a ``t`` where sigma = 0.
            TypeError: a body without ``ball_log_norm``, such as a ``ConvNet``.
        """
        if not isinstance(self.body, BoundedBody):
            raise TypeError(
                f"ball_log_norm: the body must have a method ball_log_norm, as MLP has, got {type(self.body).__name__}"
            )
        check_direction(direction)
        check_balls(centres, radii)
        # Arithmetic of floats, whatever the kind of t: one time for all balls.
        time = float(t)
        alpha, sigma = float(self.path.alpha(time)), float(self.path.sigma(time))
        if sigma <= 0:
            raise ValueError(f"t: there is no score at t={time}, where sigma = {sigma}")
        variance = sigma * sigma + (alpha * self.data_std) ** 2
        root = variance**0.5
        centred = centres if self.data_mean is None else centres - alpha * self.data_mean
        features = noise_features(alpha, sigma, centres)
        inner: Tensor = self.body.ball_log_norm(centred / root, radii / root, features, direction=direction)
        return alpha * self.data_std / (sigma * variance) * inner - direction / variance


def coefficients(path: Path, t: Time, x: Float[Tensor, "n d"]) -> tuple[Time, Time]:
    """``alpha`` and ``sigma``: floats, or tensors that broadcast against ``x``, in its dtype."""
    if not isinstance(t, Tensor):
        return path.alpha(t), path.sigma(t)
    if t.ndim > 1 or (t.ndim == 1 and len(t) != len(x)):
        raise ValueError(f"t: expected a number or one time per row ({len(x)},), got shape {tuple(t.shape)}")
    # Evaluated in the dtype of t, which may be finer than that of x, and only then rounded.
    alpha, sigma = (torch.as_tensor(c(t)).to(x) for c in (path.alpha, path.sigma))
    return (alpha[:, None], sigma[:, None]) if t.ndim else (alpha, sigma)


def noise_features(alpha: Time, sigma: Time, like: Tensor) -> Tensor:
    """``u = tanh(log(sigma/alpha) / 4)`` with sines and cosines of ``u pi k / 2``: (k,) or (n, k).

    In (-1, 1) at every noise level, so finite at alpha = 0 and at sigma = 0.
    """
    p, q = sigma**0.5, alpha**0.5
    u = (p - q) / (p + q)  # the tanh above, without its logarithm
    u = u if isinstance(u, Tensor) else torch.tensor([u], dtype=like.dtype, device=like.device)
    u = u if u.ndim else u[None]
    angles = u * (math.pi / 2 * torch.arange(1, _FREQUENCIES + 1, dtype=like.dtype, device=like.device))
    return torch.cat([u, angles.sin(), angles.cos()], -1)
