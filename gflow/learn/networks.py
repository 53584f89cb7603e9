"""Plain networks on (n, d) points, drawn from a generator. Knows no loss, no path and no time.

All are built of operations that ``torch.func`` transforms (no in-place operation, no batch
statistics), act on every row by itself, and take what they are conditioned on as a feature vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gflow.learn.activations import largest_slope
from gflow.learn.layerwise import Activation, layerwise_log_norm
from gflow.lipschitz.ball import check_balls
from gflow.lipschitz.sampled import check_direction

L = TypeVar("L", bound=nn.Module)


@runtime_checkable
class Body(Protocol):
    """A network ``(x, features) -> y``; features of one vector hold for all rows."""

    def __call__(self, x: Tensor, features: Tensor | None = None, /) -> Tensor:
        """The value (n, d_out) at ``x`` (n, d_in), given features (k,) or (n, k)."""
        ...


class MLP(nn.Module):
    """Fully connected layers with a smooth activation between them.

    Weights and biases are uniform on +-1/sqrt(fan-in), drawn in ``dtype`` on the CPU from
    ``generator``; move the module afterwards. Features enter the first layer.

    Raises:
        ValueError: a width that is not positive, or negative ``features``.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        generator: torch.Generator,
        hidden: Sequence[int] = (64, 64, 64),
        features: int = 0,
        activation: Activation = nn.functional.silu,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        widths = (d_in, *hidden, d_out)
        if min(widths) < 1 or features < 0:
            raise ValueError(f"MLP: widths must be positive and features >= 0, got {widths} and {features}")
        self.activation = activation
        self.layers = nn.ModuleList(linear(a, b, generator=generator, dtype=dtype) for a, b in pairwise(widths))
        self.features = linear(features, widths[1], generator=generator, dtype=dtype) if features else None

    def forward(self, x: Float[Tensor, "n d_in"], features: Tensor | None = None) -> Float[Tensor, "n d_out"]:
        """The value at ``x`` given features (k,) or (n, k); none for a network built without."""
        check_input(self, x, features)
        first, *rest = self.layers
        h: Tensor = first(x) if self.features is None else first(x) + self.features(features)
        for layer in rest:
            h = layer(self.activation(h))
        return h

    def ball_log_norm(
        self,
        centres: Float[Tensor, "n d"],
        radii: Float[Tensor, " n"],
        features: Tensor | None = None,
        /,
        *,
        direction: int,
    ) -> Float[Tensor, " n"]:
        """An upper bound of ``log_norm(direction * Dy)`` on each ball of inputs, up to round-off.

        Layer by layer (``learn.layerwise``): exact at radius 0 and monotone in the radius.

        Raises:
            ValueError: bad balls, a direction other than +1 and -1, outputs that are not as many as
                inputs, or an activation without a known continuous derivative, such as ReLU.
        """
        check_direction(direction)
        check_balls(centres, radii)
        check_input(self, centres, features)
        layers = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            first = layers[0](centres) if self.features is None else layers[0](centres) + self.features(features)
            return layerwise_log_norm(layers, self.activation, first, radii, direction=direction)

    def lipschitz_bound(self) -> float:
        """The product of the layers' spectral norms and the activation's largest slopes, up to round-off.

        ``inf`` for an activation of unknown slope.
        """
        slope = largest_slope(self.activation) if len(self.layers) > 1 else 1.0
        norms = [float(torch.linalg.matrix_norm(cast(Tensor, layer.weight).detach(), 2)) for layer in self.layers]
        return math.prod(norms) * slope ** (len(norms) - 1)


class ConvNet(nn.Module):
    """Residual 3x3 convolutions on square one-channel images flattened to (n, side^2).

    Two convolutions per block; features shift the channels inside each block. Three blocks see 15
    pixels, more than the 8 of the digits. Initialized as ``MLP``.

    Raises:
        ValueError: a size that is not positive, or negative ``features``.
    """

    def __init__(
        self,
        side: int,
        *,
        generator: torch.Generator,
        channels: int = 32,
        blocks: int = 3,
        features: int = 0,
        activation: Activation = nn.functional.silu,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if min(side, channels, blocks) < 1 or features < 0:
            raise ValueError(
                f"ConvNet: side, channels and blocks must be positive and features >= 0, "
                f"got {side}, {channels}, {blocks}, {features}"
            )
        self.side = side
        self.activation = activation

        def conv(a: int, b: int) -> nn.Conv2d:
            return draw(nn.Conv2d(a, b, 3, padding=1, dtype=dtype, device="meta"), fan_in=9 * a, generator=generator)

        self.enter = conv(1, channels)
        self.first = nn.ModuleList(conv(channels, channels) for _ in range(blocks))
        self.second = nn.ModuleList(conv(channels, channels) for _ in range(blocks))
        self.leave = conv(channels, 1)
        self.features = linear(features, blocks * channels, generator=generator, dtype=dtype) if features else None

    def forward(self, x: Float[Tensor, "n d"], features: Tensor | None = None) -> Float[Tensor, "n d"]:
        """The value at the images ``x`` given features (k,) or (n, k); none for a network built without."""
        check_input(self, x, features)
        if x.shape[1] != self.side**2:
            raise ValueError(
                f"x: expected images of {self.side} x {self.side} = {self.side**2} pixels, got {x.shape[1]}"
            )
        h: Tensor = self.enter(x.reshape(-1, 1, self.side, self.side))
        for k, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            inner = first(self.activation(h))
            if self.features is not None:
                inner = inner + self.features(features).chunk(len(self.first), -1)[k][..., None, None]
            h = h + second(self.activation(inner))
        value: Tensor = self.leave(self.activation(h))
        return value.reshape(x.shape)


def linear(d_in: int, d_out: int, *, generator: torch.Generator, dtype: torch.dtype) -> nn.Linear:
    """An affine layer drawn from the generator; the global one is not touched."""
    return draw(nn.Linear(d_in, d_out, dtype=dtype, device="meta"), fan_in=d_in, generator=generator)


def draw(layer: L, *, fan_in: int, generator: torch.Generator) -> L:
    """The layer, built on the meta device, with all parameters uniform on +-1/sqrt(fan_in) on the CPU."""
    layer = layer.to_empty(device="cpu")
    bound = 1 / math.sqrt(fan_in)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


def check_input(network: nn.Module, x: Tensor, features: Tensor | None) -> None:
    """Raise ValueError on points of another dtype, or features that the network does not expect or lacks."""
    dtype = next(network.parameters()).dtype
    if x.dtype != dtype:
        raise ValueError(f"x: expected {dtype}, the dtype of the network, got {x.dtype}")
    if (network.features is None) != (features is None):
        raise ValueError(
            f"features: the network was built {'without' if network.features is None else 'with'} them, "
            f"got {'none' if features is None else tuple(features.shape)}"
        )
