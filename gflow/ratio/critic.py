"""Log-ratios: of two known laws, and what a trained critic tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.problems import Distribution
from gflow.ratio.objective import CriticObjective

Critic = Callable[[Float[Tensor, "n d"]], Tensor]
"""Points (n, d) to outputs (n,) or (n, 1), each row by itself: no batch statistics."""


@runtime_checkable
class Potential(Protocol):
    """A function of points with its gradient, along which particles may move."""

    def __call__(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """The value at the rows of ``x``."""
        ...

    def gradient(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """Its gradient."""
        ...


@runtime_checkable
class LogRatio(Potential, Protocol):
    """The potential ``d(x) = log p(x) - log q(x)``, data over model."""

    def __call__(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """The log-ratio at the rows of ``x``."""
        ...

    def gradient(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """Its gradient: the velocity of the flow of KL(q || p)."""
        ...


@dataclass(frozen=True, eq=False)
class KnownLogRatio:
    """The log-ratio of two laws with known densities.

    Raises:
        ValueError: laws of different dimensions.
    """

    p: Distribution
    """The law of the data."""
    q: Distribution
    """The law of the model."""

    def __post_init__(self) -> None:
        """Check the dimensions."""
        if self.p.dim != self.q.dim:
            raise ValueError(f"p and q: need one dimension, got {self.p.dim} and {self.q.dim}")

    def __call__(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """The log-ratio at the rows of ``x``."""
        return self.p.log_prob(x) - self.q.log_prob(x)

    def gradient(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The difference of the scores."""
        return self.p.score(x) - self.q.score(x)


@dataclass(frozen=True, eq=False)
class CriticLogRatio:
    """The log-ratio of which a critic is the optimum of its objective.

    That of the laws only as far as the critic is optimal, and its gradient may be wrong where its values are
    right (RATIO-6).

    Raises:
        ValueError: an objective whose critics tell no log-ratio (hinge, Wasserstein).
    """

    critic: Critic
    """A trained network, or any function of points."""
    objective: CriticObjective
    """What it was trained for."""

    def __post_init__(self) -> None:
        """Refuse objectives without a log-ratio."""
        if self.objective.log_ratio is None:
            raise ValueError(f"objective: critics of {self.objective.name} tell no log-ratio; train for another")

    def __call__(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """The log-ratio at the rows of ``x``; differentiable.

        Raises:
            ValueError: outputs of another shape, or that are no log-ratio's optimum (the message counts them).
        """
        found = self.unchecked(x)
        if bad := int((~torch.isfinite(found.detach())).sum()):
            raise ValueError(
                f"critic: {bad} of {len(x)} outputs are no {self.objective.name} critic's of a finite log-ratio"
            )
        return found

    def unchecked(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """A call without the look at its entries, which the transforms of ``torch.func`` do not allow."""
        assert self.objective.log_ratio is not None
        found: Tensor = self.objective.log_ratio(critic_outputs(self.critic, x))
        return found

    def gradient(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """The gradient of the log-ratio, without a graph. Raises like a call, or as ``critic_gradient``."""
        return critic_gradient(self, x, create_graph=False)


@dataclass(frozen=True, eq=False)
class CriticPotential:
    """A critic's outputs as they are: what particles climb where the critic tells no log-ratio.

    Of a Wasserstein critic the gradient is the direction of transport, of length 1 where it is optimal under a
    1-Lipschitz constraint; of a zero-centred one the velocity of rectified flow's gradient part (REFLOW-6).

    Raises:
        ValueError: an objective whose critics give no velocity (hinge, RATIO-5).
    """

    critic: Critic
    """A trained network, or any function of points."""
    objective: CriticObjective
    """What it was trained for."""

    def __post_init__(self) -> None:
        """Refuse objectives without a velocity."""
        if self.objective.stepped:
            raise ValueError(
                f"objective: critics of {self.objective.name} give no velocity, the gradient of their optimum is 0 "
                "almost everywhere; train for another"
            )

    def __call__(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, " n"]:
        """The outputs at the rows of ``x``; differentiable. Raises as ``critic_outputs``."""
        return critic_outputs(self.critic, x)

    def gradient(self, x: Float[Tensor, "n d"], /) -> Float[Tensor, "n d"]:
        """Their gradient, without a graph. Raises as ``critic_gradient``."""
        return critic_gradient(self.critic, x, create_graph=False)


def critic_outputs(critic: Critic, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The outputs at the rows of ``x``, as (n,).

    Raises:
        ValueError: outputs of another shape than (n,) and (n, 1).
    """
    outputs = critic(x)
    if outputs.shape not in ((len(x),), (len(x), 1)):
        raise ValueError(f"critic: expected outputs ({len(x)},) or ({len(x)}, 1), got {tuple(outputs.shape)}")
    return outputs.reshape(len(x))


def critic_gradient(critic: Critic, x: Float[Tensor, "n d"], *, create_graph: bool) -> Float[Tensor, "n d"]:
    """The gradient of each output in its own row of ``x``; with a graph, for penalties on it.

    By ``autograd.grad``, whose double backward costs about 0.6 of ``torch.func``'s; inside ``torch.compile``, which
    knows the latter only, by ``torch.func`` and without the checks of dependence and finiteness.

    Raises:
        ValueError: no rows, outputs of another shape, outputs that do not depend on ``x``, or a gradient that
            is not finite (the message counts the rows).
    """
    if not len(x):
        raise ValueError("x: expected at least one point, got none")
    if torch.compiler.is_compiling():
        compiled: Tensor = torch.func.grad(lambda y: critic_outputs(critic, y).sum())(x)
        return compiled
    with torch.enable_grad():
        points = x.detach().requires_grad_(True)
        total = critic_outputs(critic, points).sum()
        if not total.requires_grad:
            raise ValueError("critic: its outputs do not depend on the points, so that it has no gradient")
        (gradient,) = torch.autograd.grad(total, points, create_graph=create_graph, materialize_grads=True)
    if bad := int((~torch.isfinite(gradient.detach())).any(1).sum()):
        raise ValueError(f"critic: its gradient is NaN or infinite for {bad} of {len(x)} points")
    return gradient
