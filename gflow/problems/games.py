"""Two-player games with known truth: losses as data, and the flows in which each player descends its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from gflow.state import Layout, State
from gflow.velocity import Time

P = TypeVar("P", bound=State)
"""State of one player."""
P_contra = TypeVar("P_contra", bound=State, contravariant=True)

S = TypeVar("S", bound=State)

_PLAYERS = ("theta", "phi")


@runtime_checkable
class Game(Protocol[P_contra]):
    """Two losses: theta descends the first, phi the second; zero-sum where they are opposite.

    Both return a 0-d tensor and are written with operations that ``torch.func`` can differentiate.
    A player is a tensor or a nested dict of tensors.
    """

    def loss_theta(self, theta: P_contra, phi: P_contra, /) -> Float[Tensor, ""]:
        """What theta descends."""
        ...

    def loss_phi(self, theta: P_contra, phi: P_contra, /) -> Float[Tensor, ""]:
        """What phi descends."""
        ...


@dataclass(frozen=True)
class GameFlow(Generic[P]):
    """``theta' = -grad_theta loss_theta, phi' = -grad_phi loss_phi``, both at the present state.

    The joint field on ``{"theta": ..., "phi": ...}``, autonomous, in training time from 0. A
    Runge-Kutta method has its order for the game only on this field; one that integrates every
    ``player`` against a frozen opponent has order 1, whatever its tableau (CODE-1). Differentiable
    by ``torch.func``; dtype and device are those of the state.
    """

    game: Game[P]

    def __call__(self, t: Time, y: Mapping[str, P], /) -> dict[str, P]:  # noqa: ARG002
        """The velocity of both players.

        Raises:
            ValueError: a state whose blocks are not theta and phi.
        """
        if set(y) != set(_PLAYERS):
            raise ValueError(f"y: expected the blocks theta and phi, got {list(y)}")
        theta, phi, game = y["theta"], y["phi"], self.game
        # Each player sees its opponent as it stands in y, so one gradient of the sum serves both.
        return _ascent(lambda z: -game.loss_theta(z["theta"], phi) - game.loss_phi(theta, z["phi"]), dict(y))

    def player(self, name: str, opponent: P) -> FrozenOpponent[P]:
        """The field of the player ``name`` alone, on its own state, its opponent held at ``opponent``.

        Raises:
            ValueError: a name other than theta and phi.
        """
        return FrozenOpponent(self.game, name, opponent)


@dataclass(frozen=True, eq=False)
class FrozenOpponent(Generic[P]):
    """One player's descent against an opponent that does not move; a block of ``GameFlow``. Made by ``player``."""

    game: Game[P]
    name: str
    """Who moves: theta or phi."""
    opponent: P
    """Where the other one stands."""

    def __post_init__(self) -> None:
        """Check the name."""
        if self.name not in _PLAYERS:
            raise ValueError(f"name: expected 'theta' or 'phi', got {self.name!r}")

    def __call__(self, t: Time, x: P, /) -> P:  # noqa: ARG002
        """The velocity of the player at its state ``x``."""
        if self.name == "theta":
            return _ascent(lambda theta: -self.game.loss_theta(theta, self.opponent), x)
        return _ascent(lambda phi: -self.game.loss_phi(self.opponent, phi), x)


@dataclass(frozen=True)
class PenalisedGame(Generic[P]):
    """The game in which phi also descends ``gamma/2 |grad_theta loss_theta|^2`` (Qin et al. 2020, ODE-GAN).

    Its ``GameFlow`` has the penalty inside every stage, as an integrator's order requires. A scheme
    that adds the penalty after the step takes it from ``penalty_velocity``, and has order 1 (CODE-2).

    Raises:
        ValueError: ``gamma`` negative or not finite.
    """

    game: Game[P]
    """The game without the penalty."""
    gamma: float
    """Weight of the penalty."""

    def __post_init__(self) -> None:
        """Check the weight."""
        _check_weight("gamma", self.gamma)

    def penalty(self, theta: P, phi: P, /) -> Float[Tensor, ""]:
        """``gamma/2 |grad_theta loss_theta|^2``."""
        slope = grad(self.game.loss_theta)(theta, phi)
        return 0.5 * self.gamma * Layout.of(slope).flatten(slope).square().sum()

    def loss_theta(self, theta: P, phi: P, /) -> Float[Tensor, ""]:
        """That of the game."""
        return self.game.loss_theta(theta, phi)

    def loss_phi(self, theta: P, phi: P, /) -> Float[Tensor, ""]:
        """That of the game plus the penalty."""
        return self.game.loss_phi(theta, phi) + self.penalty(theta, phi)

    def penalty_velocity(self, t: Time, y: Mapping[str, P], /) -> dict[str, P]:  # noqa: ARG002
        """What the penalty adds to the velocity: ``-grad_phi penalty`` for phi, 0 for theta. A field by itself."""
        layout = Layout.of(y["theta"])
        still = layout.unflatten(torch.zeros_like(layout.flatten(y["theta"])))
        return {"theta": cast(P, still), "phi": _ascent(lambda phi: -self.penalty(y["theta"], phi), y["phi"])}


@dataclass(frozen=True)
class BilinearGame:
    """Zero-sum ``L = theta . phi``: a rotation, eigenvalues +-i, ``|theta|^2 + |phi|^2`` conserved (STAB-1).

    Euler's method leaves the circle at sqrt(1 + h^2) per step for every h (STAB-2).
    """

    def loss_theta(self, theta: Float[Tensor, " d"], phi: Float[Tensor, " d"], /) -> Float[Tensor, ""]:
        """``theta . phi``."""
        return theta @ phi

    def loss_phi(self, theta: Float[Tensor, " d"], phi: Float[Tensor, " d"], /) -> Float[Tensor, ""]:
        """``-theta . phi``."""
        return -(theta @ phi)

    def exact(self, t: float, y: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """Where the flow is after time ``t``, of either sign, from ``y``."""
        c, s = math.cos(t), math.sin(t)
        theta, phi = y["theta"], y["phi"]
        return {"theta": c * theta - s * phi, "phi": s * theta + c * phi}


@dataclass(frozen=True)
class DiracGan:
    """Data at 0, generator at theta, critic ``D(x) = phi x``: ``L = f(theta phi)`` (Mescheder et al. 2018).

    phi ascends L less ``gamma/2 phi^2``, the zero-centred gradient penalty R1. At (0, 0) the eigenvalues are
    ``-gamma/2 +- sqrt(gamma^2/4 - f'(0)^2)`` (STAB-1, STAB-4). Players are (n,): n games side by side.

    Raises:
        ValueError: ``gamma`` negative or not finite.
    """

    f: Callable[[Tensor], Tensor]
    """Elementwise and smooth: ``u`` for the Wasserstein GAN, ``-softplus(-u)`` (f'(0) = 1/2) for the original one."""
    gamma: float = 0.0
    """Weight of the penalty."""

    def __post_init__(self) -> None:
        """Check the weight."""
        _check_weight("gamma", self.gamma)

    def loss_theta(self, theta: Float[Tensor, " n"], phi: Float[Tensor, " n"], /) -> Float[Tensor, ""]:
        """``f(theta phi)``, summed."""
        return self.f(theta * phi).sum()

    def loss_phi(self, theta: Float[Tensor, " n"], phi: Float[Tensor, " n"], /) -> Float[Tensor, ""]:
        """``-f(theta phi) + gamma/2 phi^2``, summed."""
        return 0.5 * self.gamma * phi.square().sum() - self.f(theta * phi).sum()


@dataclass(frozen=True)
class PlanarGame:
    """Losses that are combinations of ``theta phi, theta^2/2, phi^2/2, sin(theta + phi), cos(theta - 2 phi)``.

    Smooth, with bounded second derivatives, so its flow exists for all time; no closed form: compare
    with a fine solve. Players are (n,): n games side by side.

    Raises:
        ValueError: not five finite coefficients for each player.
    """

    theta: tuple[float, ...]
    """Coefficients of theta's loss."""
    phi: tuple[float, ...]
    """Coefficients of phi's loss; the opposite ones make the game zero-sum."""

    def __post_init__(self) -> None:
        """Check the coefficients."""
        for name, row in (("theta", self.theta), ("phi", self.phi)):
            if len(row) != 5 or not all(map(math.isfinite, row)):
                raise ValueError(f"{name}: expected 5 finite coefficients, got {row}")

    def loss_theta(self, theta: Float[Tensor, " n"], phi: Float[Tensor, " n"], /) -> Float[Tensor, ""]:
        """The combination with theta's coefficients, summed."""
        return _combine(self.theta, theta, phi)

    def loss_phi(self, theta: Float[Tensor, " n"], phi: Float[Tensor, " n"], /) -> Float[Tensor, ""]:
        """The combination with phi's coefficients, summed."""
        return _combine(self.phi, theta, phi)


SMOOTH_GAME = PlanarGame(theta=(1.0, 0.3, 0.0, 0.5, 0.2), phi=(-1.0, 0.0, 0.4, -0.3, 0.4))
"""A fixed game that is neither linear nor zero-sum, whose players act on themselves and on each other."""


def _combine(coefficients: tuple[float, ...], theta: Tensor, phi: Tensor) -> Tensor:
    a, b, c, d, e = coefficients
    polynomial = a * theta * phi + 0.5 * (b * theta * theta + c * phi * phi)
    return (polynomial + d * torch.sin(theta + phi) + e * torch.cos(theta - 2.0 * phi)).sum()


def _ascent(gain: Callable[[S], Tensor], x: S) -> S:
    """The gradient of ``gain``."""
    return cast(S, grad(gain)(x))


def _check_weight(name: str, value: float) -> None:
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name}: must be finite and not negative, got {value}")
