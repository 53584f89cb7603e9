"""Four initial value problems, each as a field of gflow and of JAX with the same numbers. Solves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gflow.fields import ProbabilityFlow, reverse
from gflow.problems import VP, GaussianMixture, NoisedScore
from gflow.state import State
from gflow.velocity import Time, VelocityField

T = 3.0
MODES = ((2.0, 0.0), (0.0, 2.0), (-2.0, 0.0), (0.0, -2.0))
VARIANCE = 0.25


@dataclass(frozen=True)
class Problem:
    """dy/dt = v(t, y) from 0 to ``t1``."""

    name: str
    v: VelocityField[Any]
    for_jax: Callable[[], Callable[[Any, Any], Any]]
    """The same field on JAX arrays; called only where JAX is installed."""
    y0: State
    t1: float
    level: float
    """Root mean square error at which solvers are compared."""
    steps: tuple[int, ...]
    """Numbers of steps of constant size whose errors enclose the level."""


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pendulums() -> Problem:
    """1000 pendulums: a field of four operations."""

    def v(t: Time, y: Tensor, /) -> Tensor:  # noqa: ARG001
        return torch.stack((y[:, 1], -torch.sin(y[:, 0])), 1)

    def for_jax() -> Callable[[Any, Any], Any]:
        import jax.numpy as jnp

        return lambda t, y: jnp.stack((y[:, 1], -jnp.sin(y[:, 0])), 1)  # noqa: ARG005

    return Problem("cheap f, 1000 x 2", v, for_jax, normal(1000, 2, seed=0), 10.0, 1e-6, (125, 250))


def network() -> Problem:
    """A tanh network of (x, t) that moves 4096 particles."""
    sizes = (3, 64, 64, 2)
    weights = [normal(a, b, seed=a + b) * a**-0.5 for a, b in zip(sizes, sizes[1:], strict=False)]

    def v(t: Time, x: Tensor, /) -> Tensor:
        z = torch.cat((x, torch.as_tensor(t, dtype=x.dtype).expand(len(x), 1)), 1)
        for w in weights[:-1]:
            z = torch.tanh(z @ w)
        return z @ weights[-1]

    def for_jax() -> Callable[[Any, Any], Any]:
        import jax.numpy as jnp

        own = [jnp.asarray(w.numpy()) for w in weights]

        def field(t: Any, x: Any) -> Any:
            z = jnp.concatenate((x, jnp.full((len(x), 1), t)), 1)
            for w in own[:-1]:
                z = jnp.tanh(z @ w)
            return z @ own[-1]

        return field

    return Problem("network, 4096 x 2", v, for_jax, normal(4096, 2, seed=1), 5.0, 1e-6, (20, 60))


def mixture() -> Problem:
    """The probability flow of four modes, from noise to data."""
    means = torch.tensor(MODES, dtype=torch.float64)
    path = VP(1.0, 1.0, T=T)
    law = GaussianMixture(means.new_full((len(means),), 1 / len(means)), means, means.new_full((len(means),), VARIANCE))
    v = reverse(ProbabilityFlow(path, NoisedScore(law, path)), T)

    def for_jax() -> Callable[[Any, Any], Any]:
        import jax
        import jax.numpy as jnp

        own = jnp.asarray(np.array(MODES))

        def field(s: Any, x: Any) -> Any:
            alpha = jnp.exp(-(T - s) / 2)
            variance = alpha**2 * VARIANCE + 1 - alpha**2
            away = alpha * own - x[:, None, :]
            share = jax.nn.softmax(-(away**2).sum(-1) / (2 * variance), axis=1)
            return (x + (share[..., None] * away).sum(1) / variance) / 2

        return field

    noise = law.at(path, T).sample(1000, torch.Generator().manual_seed(2))
    return Problem("mixture, 1000 x 2", v, for_jax, noise, T, 1e-6, (60, 120))


def parameters() -> Problem:
    """Gradient flow of a regression, on the parameters of a 3 x 128 network."""
    sizes = (1, 128, 128, 128, 1)
    layers = zip(sizes, sizes[1:], strict=False)
    y0 = {
        f"layer{k}": {"weight": normal(a, b, seed=k) * a**-0.5, "bias": normal(b, seed=k + 9) * 0.1}
        for k, (a, b) in enumerate(layers)
    }
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]
    target = torch.sin(3 * x)

    def loss(y: Any) -> Tensor:
        z = x
        for layer in list(y.values())[:-1]:
            z = torch.tanh(z @ layer["weight"] + layer["bias"])
        last = list(y.values())[-1]
        return (z @ last["weight"] + last["bias"] - target).square().mean()

    gradient = torch.func.grad(loss)

    def v(t: Time, y: Any, /) -> Any:  # noqa: ARG001
        return {name: {key: -x for key, x in layer.items()} for name, layer in gradient(y).items()}

    def for_jax() -> Callable[[Any, Any], Any]:
        import jax
        import jax.numpy as jnp

        points, values = jnp.asarray(x.numpy()), jnp.asarray(target.numpy())

        def own_loss(y: Any) -> Any:
            z = points
            for name in sorted(y)[:-1]:
                z = jnp.tanh(z @ y[name]["weight"] + y[name]["bias"])
            last = y[max(y)]
            return ((z @ last["weight"] + last["bias"] - values) ** 2).mean()

        own = jax.grad(own_loss)
        return lambda t, y: jax.tree.map(lambda g: -g, own(y))  # noqa: ARG005

    return Problem("parameters of 3 x 128", v, for_jax, y0, 0.5, 1e-7, (40, 80))


PROBLEMS = {"cheap": pendulums, "network": network, "mixture": mixture, "parameters": parameters}
