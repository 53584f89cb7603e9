"""Derivatives of smooth activations and their exact ranges over intervals. Knows no network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Derivative:
    """The derivative of an activation: monotone on each side of its turning points."""

    value: Callable[[Tensor], Tensor]
    turns: tuple[float, ...] = ()
    """Where the derivative has its local extrema, ascending."""

    def over(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Its smallest and largest value on each interval, up to round-off."""
        ends = self.value(low), self.value(high)
        smallest, largest = torch.minimum(*ends), torch.maximum(*ends)
        for turn in self.turns:
            value = self.value(low.new_tensor(turn))
            inside = (low <= turn) & (turn <= high)
            smallest = torch.where(inside, torch.minimum(smallest, value), smallest)
            largest = torch.where(inside, torch.maximum(largest, value), largest)
        return smallest, largest


def derivative_of(activation: Callable[[Tensor], Tensor]) -> Derivative:
    """The derivative of a known activation: a function of torch, or its module in its default form.

    Raises:
        ValueError: any other one. The derivative of a ReLU jumps, so over a ball around a kink no
            bound of the Jacobian tends to its value at the centre.
    """
    known = _find(activation)
    if known is None:
        name = (
            repr(activation) if isinstance(activation, nn.Module) else getattr(activation, "__name__", repr(activation))
        )
        raise ValueError(
            f"activation: its derivative must be known and continuous (silu, tanh, softplus, sigmoid, exact gelu, "
            f"nn.Identity, each in its default form), got {name}"
        )
    return known


def _find(activation: Callable[[Tensor], Tensor]) -> Derivative | None:
    if isinstance(activation, nn.Module):
        known = next((d for names, d in _KNOWN if type(activation) in names), None)
        return known if known is None or repr(activation) == repr(type(activation)()) else None
    return next((d for names, d in _KNOWN if activation in names), None)


def largest_slope(activation: Callable[[Tensor], Tensor]) -> float:
    """``sup |sigma'|`` of a known activation or of ReLU, ``inf`` of any other one."""
    if isinstance(activation, nn.ReLU) or activation in (torch.relu, nn.functional.relu):
        return 1.0
    derivative = _find(activation)
    if derivative is None:
        return math.inf
    # At the ends the known derivatives have reached their limits to rounding.
    at = torch.tensor([-100.0, *derivative.turns, 100.0], dtype=torch.float64)
    return float(derivative.value(at).abs().max())


def _silu(z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


def _tanh(z: Tensor) -> Tensor:
    return torch.cosh(z).square().reciprocal()  # 1 - tanh^2 would cancel


def _sigmoid(z: Tensor) -> Tensor:
    return torch.sigmoid(z) * torch.sigmoid(-z)


def _softplus(z: Tensor) -> Tensor:
    return torch.where(z > 20, 1.0, torch.sigmoid(z))  # torch goes over to the identity at 20


def _gelu(z: Tensor) -> Tensor:
    slope: Tensor = torch.special.ndtr(z) + z * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return slope


_TURN = 2.3993572805154674  # silu'' = 0: z tanh(z / 2) = 2
_KNOWN: tuple[tuple[tuple[object, ...], Derivative], ...] = (
    ((nn.functional.silu, nn.SiLU), Derivative(_silu, (-_TURN, _TURN))),
    ((torch.tanh, nn.functional.tanh, nn.Tanh), Derivative(_tanh, (0.0,))),
    ((nn.functional.softplus, nn.Softplus), Derivative(_softplus)),
    ((torch.sigmoid, nn.functional.sigmoid, nn.Sigmoid), Derivative(_sigmoid, (0.0,))),
    ((nn.functional.gelu, nn.GELU), Derivative(_gelu, (-math.sqrt(2.0), math.sqrt(2.0)))),
    ((nn.Identity,), Derivative(torch.ones_like)),
)
