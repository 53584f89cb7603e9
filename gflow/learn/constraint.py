"""Networks held to a constraint on their weights, renewed once a step: spectral normalization and clipping.

Within a step they are fixed functions of their weights: what differentiates twice, transforms or evaluates again
sees one critic.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize


@runtime_checkable
class StepModule(Protocol):
    """A module that does something once before each optimizer step, outside of any graph."""

    def at_step(self, k: int, /) -> None:
        """Called by ``fit`` before the loss of step ``k``, and on the averaged copy. Its buffers are its own."""
        ...

    def buffers(self) -> Iterator[Tensor]:
        """As of any module."""
        ...


def step_modules(module: nn.Module) -> list[StepModule]:
    """The module and its submodules that have ``at_step``."""
    return [each for each in module.modules() if isinstance(each, StepModule)]


class SpectralNorm(nn.Module):
    """A copy of a network, each Linear and Conv2d weight over its largest singular value (Miyato et al. 2018).

    A convolution's weight counts as the matrix (channels out, the rest). The singular vectors start exact and
    then follow the weights by one power iteration a step; the gradient takes them as constants, which is exact
    where they are. ``layer.weight`` is the normalized weight. Copies by ``deepcopy``; pickles as a
    ``state_dict`` only, as every parametrized module of torch.

    Raises:
        ValueError: no such layer, one that is normalized already, or a weight that is zero or not finite.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.layers = [name for name, each in network.named_modules() if isinstance(each, nn.Linear | nn.Conv2d)]
        if not self.layers:
            raise ValueError("network: has no Linear or Conv2d to normalize")
        for name, layer in self._named():
            if parametrize.is_parametrized(layer, "weight"):
                raise ValueError(f"network: {name} is parametrized already")
            parametrize.register_parametrization(layer, "weight", _OverSigma(name, cast(Tensor, layer.weight)))

    def forward(self, x: Float[Tensor, "n d"]) -> Tensor:
        """The network's value at the rows of ``x``."""
        return cast(Tensor, self.network(x))

    def at_step(self, k: int, /) -> None:  # noqa: ARG002
        """One power iteration for each weight."""
        for _, layer in self._named():
            weight = layer.parametrizations["weight"]  # type: ignore[index]
            weight[0].iterate(weight.original)  # type: ignore[union-attr]

    def lipschitz_bound(self) -> float:
        """The network's own, of the normalized weights."""
        return lipschitz_bound(self.network)

    def _named(self) -> list[tuple[str, nn.Module]]:
        return [(name, self.network.get_submodule(name)) for name in self.layers]


class _OverSigma(nn.Module):
    """``W / (u^T W v)`` with vectors that change in ``iterate`` only."""

    u: Tensor
    v: Tensor

    def __init__(self, name: str, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        # Negated, so that NaN fails.
        if not 0.0 < float(matrix.norm()) < math.inf:
            raise ValueError(f"network: the weight of {name} is zero or not finite, it has no direction")
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        self.register_buffer("u", u[:, 0].clone())
        self.register_buffer("v", vh[0].clone())

    def forward(self, weight: Tensor) -> Tensor:
        return weight / (self.u @ weight.flatten(1) @ self.v)

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        matrix = weight.flatten(1)
        # Not in place: a graph of the step before may still hold the old vectors.
        self.u = nn.functional.normalize(matrix @ self.v, dim=0)
        self.v = nn.functional.normalize(matrix.mT @ self.u, dim=0)


class ClippedWeights(nn.Module):
    """A copy of a network whose parameters are clipped to [-bound, bound] before each step (Arjovsky et al. 2017).

    Raises:
        ValueError: a bound that is not positive and finite.
    """

    def __init__(self, network: nn.Module, bound: float) -> None:
        super().__init__()
        if not 0.0 < bound < math.inf:
            raise ValueError(f"bound: must be positive and finite, got {bound}")
        self.network = copy.deepcopy(network)
        self.bound = bound
        self.at_step(0)

    def forward(self, x: Float[Tensor, "n d"]) -> Tensor:
        """The network's value at the rows of ``x``."""
        return cast(Tensor, self.network(x))

    @torch.no_grad()
    def at_step(self, k: int, /) -> None:  # noqa: ARG002
        """Clip all parameters in place."""
        for parameter in self.network.parameters():
            parameter.clamp_(-self.bound, self.bound)

    def lipschitz_bound(self) -> float:
        """The network's own, of the clipped weights."""
        return lipschitz_bound(self.network)


@runtime_checkable
class LipschitzBounded(Protocol):
    """A network that knows an upper bound of its Lipschitz constant."""

    def lipschitz_bound(self) -> float:
        """A bound of ``|f(x) - f(y)| / |x - y|`` over all points, up to round-off; ``inf`` where none is known."""
        ...


def lipschitz_bound(network: object) -> float:
    """The bound that a network knows of itself, ``inf`` for one that knows none."""
    return network.lipschitz_bound() if isinstance(network, LipschitzBounded) else math.inf
