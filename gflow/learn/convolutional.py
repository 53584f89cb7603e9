"""A small convolutional critic of images. Knows no loss."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gflow.learn.activations import largest_slope
from gflow.learn.layerwise import Activation
from gflow.learn.networks import check_input, draw, linear

_SMALLEST = 4
"""Images are halved until their side is at most this: 8 once, 28 three times."""


class ConvCritic(nn.Module):
    """Images of one channel, flattened to (n, side^2), to one number each, without batch statistics.

    A 3x3 convolution, then 3x3 convolutions of stride 2 that double the channels, then an affine layer; smooth
    activations between them, so that its gradient is continuous. Initialized as ``MLP``.

    Raises:
        ValueError: a size that is not positive.
    """

    def __init__(
        self,
        side: int,
        *,
        generator: torch.Generator,
        channels: int = 16,
        activation: Activation = nn.functional.silu,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if min(side, channels) < 1:
            raise ValueError(f"ConvCritic: side and channels must be positive, got {side} and {channels}")
        self.side, self.activation = side, activation
        self.features = None

        def conv(a: int, b: int, stride: int) -> nn.Conv2d:
            layer = nn.Conv2d(a, b, 3, stride=stride, padding=1, dtype=dtype, device="meta")
            return draw(layer, fan_in=9 * a, generator=generator)

        layers, width = [conv(1, channels, 1)], side
        while width > _SMALLEST:
            layers.append(conv(channels, 2 * channels, 2))
            channels, width = 2 * channels, (width + 1) // 2
        self.layers = nn.ModuleList(layers)
        self.head = linear(channels * width**2, 1, generator=generator, dtype=dtype)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
        """The critic's outputs at the images ``x``."""
        check_input(self, x, None)
        if x.shape[1] != self.side**2:
            raise ValueError(f"x: expected {self.side} x {self.side} = {self.side**2} pixels, got {x.shape[1]}")
        h = x.reshape(-1, 1, self.side, self.side)
        for layer in self.layers:
            h = self.activation(layer(h))
        return cast(Tensor, self.head(h.flatten(1)))

    def lipschitz_bound(self) -> float:
        """The product of bounds of the layers' norms and the activation's largest slopes, up to round-off.

        A convolution is at most ``sqrt(m)`` times the norm of its weight as a matrix, where a pixel enters m
        windows: 9 of them at stride 1 and 4 at stride 2. ``inf`` for an activation of unknown slope.
        """
        windows = [9, *[4] * (len(self.layers) - 1)]
        norms = [
            float(torch.linalg.matrix_norm(each.weight.detach().flatten(1), 2)) for each in (*self.layers, self.head)
        ]
        return math.prod(norms) * math.sqrt(math.prod(windows)) * largest_slope(self.activation) ** len(self.layers)
