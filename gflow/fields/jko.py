"""Implicit steps of a gradient flow by a map and a dual critic: the proximal step of Jordan, Kinderlehrer and Otto."""

from __future__ import annotations

import copy
import enum
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gflow.fields.particles.cloud import Data
from gflow.learn import MLP, OptimizerFactory, RateSchedule, cosine
from gflow.ratio import CriticLogRatio, CriticObjective, critic_gradient, critic_outputs


class ResidualMap(nn.Module):
    """``T(x) = x + body(x)``, the identity as it is made: the last layer of the body's copy is set to 0.

    Raises:
        ValueError: a body that does not end in the dimension in which it begins.
    """

    def __init__(self, body: MLP) -> None:
        super().__init__()
        self.body = copy.deepcopy(body)
        first, last = self.body.layers[0], self.body.layers[-1]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        if first.in_features != last.out_features:
            raise ValueError(f"body: expected as many outputs as inputs, got {first.in_features}, {last.out_features}")
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Where the rows of ``x`` go."""
        moved: Tensor = x + self.body(x)
        return moved


class JKOStatus(enum.Enum):
    """How an implicit step ended."""

    CONVERGED = "the residual is within the tolerance"
    NOT_CONVERGED = "the steps are spent and the residual is above the tolerance: take more steps, or richer networks"
    NOT_FINITE = "a loss is NaN or infinite: take smaller steps of the optimizers"


@dataclass(frozen=True, eq=False)
class JKOResult:
    """An implicit step, and how far it is from one."""

    particles: Float[Tensor, "n d"]
    """T(x), samples of the next law."""
    map: nn.Module
    """T, the start of the next step's map where laws change slowly."""
    critic: nn.Module
    """D, the start of the next step's critic."""
    transport: float
    """``E |T(x) - x|^2 / (2 h)``: an upper bound of ``W2^2 / (2 h)`` between the clouds, equal for an optimal T."""
    divergence: float
    """The dual value of the critic: a lower bound of the divergence between the clouds' laws, up to sampling."""
    residual: float
    """Root mean square of ``(T(x) - x)/h - u(T(x))``, u the critic's velocity: 0 at a saddle over all maps."""
    critic_slope: float
    """Length of the gradient of the critic's loss in its parameters: 0 where the dual is solved."""
    status: JKOStatus


class JKOError(RuntimeError):
    """A step that did not converge; ``result`` holds how far it came."""

    def __init__(self, message: str, result: JKOResult) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[JKOError], tuple[str, JKOResult]]:
        """Both arguments, so that the error survives the way back from a worker process."""
        return type(self), (str(self), self.result)


@dataclass(frozen=True, eq=False)
class JKOStep:
    """``min_T max_D E |T(x) - x|^2 / (2 h) - L(D; data, T(x))``: an implicit step, the divergence in its dual form.

    With the objective ``f_gan(REVERSE_KL)`` the inner maximum is KL(T#q || p), and the step that of
    ``problems.gaussian_jko_step`` between normal laws (WGF-4, ORC-15; Fan et al. 2022). The critic takes
    ``critic_steps`` updates before each of the map's, on all rows of both clouds; learning rates fall to 0 along
    ``rate``. Deterministic. Dtype and device are those of the networks and clouds.

    Raises:
        ValueError: h or a tolerance that is not positive and finite, fewer than one step, or an objective that is
            no divergence's dual.
    """

    h: float
    """Step in the time of the flow."""
    objective: CriticObjective
    """The critic's loss L, minus the dual of the divergence."""
    map: nn.Module
    """T before training, (n, d) to (n, d), such as ``ResidualMap``; not changed."""
    critic: nn.Module
    """D before training, (n, d) to (n, 1); not changed."""
    optimizer: OptimizerFactory
    """Of the map."""
    critic_optimizer: OptimizerFactory
    """Of the critic."""
    steps: int
    """Updates of the map."""
    critic_steps: int
    """Updates of the critic before each of them."""
    tolerance: float
    """Residual, a velocity, up to which the step counts as converged."""
    rate: RateSchedule = cosine
    """Factor of both learning rates over the training."""

    def __post_init__(self) -> None:
        """Check the numbers and the objective."""
        for name, value in (("h", self.h), ("tolerance", self.tolerance)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name}: must be positive and finite, got {value}")
        if min(self.steps, self.critic_steps) < 1:
            raise ValueError(f"steps and critic_steps: must be at least 1, got {self.steps}, {self.critic_steps}")
        CriticLogRatio(self.critic, self.objective)

    def solve(self, x: Float[Tensor, "n d"], data: Float[Tensor, "m d"], /, *, throw: bool = True) -> JKOResult:
        """The step from the particles ``x`` towards the law of ``data``.

        Raises:
            ValueError: clouds that are empty, not finite or do not fit each other, or a map of another shape.
            JKOError: unless it converged, if ``throw``; carries the result.
        """
        Data(data).require(Data(x).points, "x")
        move, critic = (copy.deepcopy(each).requires_grad_(True) for each in (self.map, self.critic))
        if move(x).shape != x.shape:
            raise ValueError(f"map: expected values {tuple(x.shape)}, got {tuple(move(x).shape)}")
        finite = self._alternate(move, critic, x, data)
        result = self._judge(move, critic, x, data, finite)
        if throw and result.status is not JKOStatus.CONVERGED:
            raise JKOError(
                f"JKOStep: {result.status.value} (residual {result.residual:.3g}, tolerance {self.tolerance:.3g}, "
                f"slope of the critic {result.critic_slope:.3g})",
                result,
            )
        return result

    def _alternate(self, move: nn.Module, critic: nn.Module, x: Tensor, data: Tensor) -> bool:
        """Train both in place; whether all losses were finite."""
        players = [self.critic_optimizer(list(critic.parameters())), self.optimizer(list(move.parameters()))]
        rates = [[group["lr"] for group in player.param_groups] for player in players]
        for k in range(self.steps):
            for player, initial in zip(players, rates, strict=True):
                for group, lr in zip(player.param_groups, initial, strict=True):
                    group["lr"] = lr * self.rate(k / self.steps)
            y = move(x)
            losses = [_update(players[0], self._risk(critic, y.detach(), data)) for _ in range(self.critic_steps)]
            gain = self.objective.on_model(critic_outputs(critic, y)).mean()
            losses.append(_update(players[1], self._cost(y, x) - gain))
            if not all(map(math.isfinite, losses)):
                return False
        return True

    def _judge(self, move: nn.Module, critic: nn.Module, x: Tensor, data: Tensor, finite: bool) -> JKOResult:
        y = move(x).detach()
        risk = self._risk(critic, y, data)
        slopes = torch.autograd.grad(risk, list(critic.parameters()))
        residual = math.nan
        if finite:
            u = critic_gradient(lambda z: self.objective.on_model(critic_outputs(critic, z)), y, create_graph=False)
            residual = float(((y - x) / self.h - u).square().sum(1).mean().sqrt())
        done = JKOStatus.CONVERGED if residual <= self.tolerance else JKOStatus.NOT_CONVERGED
        return JKOResult(
            particles=y,
            map=move.requires_grad_(False),
            critic=critic.requires_grad_(False),
            transport=float(self._cost(y, x)),
            divergence=-float(risk.detach()),
            residual=residual,
            critic_slope=float(nn.utils.get_total_norm(slopes)),
            status=done if finite else JKOStatus.NOT_FINITE,
        )

    def _risk(self, critic: nn.Module, y: Tensor, data: Tensor) -> Tensor:
        return self.objective.loss(critic_outputs(critic, data), critic_outputs(critic, y))

    def _cost(self, y: Tensor, x: Tensor) -> Tensor:
        return (y - x).square().sum(1).mean() / (2 * self.h)


def _update(optimizer: torch.optim.Optimizer, value: Tensor) -> float:
    """One step down a loss in the parameters of the optimizer alone; the loss before it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, slope in zip(parameters, torch.autograd.grad(value, parameters), strict=True):
        parameter.grad = slope
    optimizer.step()
    return float(value.detach())
