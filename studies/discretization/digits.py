"""Digits, d = 64: the probability flow of a score network that the study trains as `studies.w2_bound` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gflow.fields import ProbabilityFlow, reverse
from gflow.learn import sigma_squared
from gflow.problems import VP, digits
from gflow.problems.distribution import normal
from studies.discretization.config import Config
from studies.discretization.sampler import Sampler, tight
from studies.w2_bound import network
from studies.w2_bound.config import Config as Training

if TYPE_CHECKING:
    from gflow.study import Context

_STOP = 1e-2
_KEPT = 512  # images kept as starts: the network needs all, a repeat a few


def prepare(config: Config, context: Context) -> dict[str, Any]:
    """Train the network on all digits."""
    data = digits().to(device=context.device, dtype=context.dtype)
    path = VP(0.1, 20.0)
    context.progress(f"training the score network of the digits, {len(data)} points in d = {data.shape[1]}")
    settings = Training(train_steps=config.train_steps)
    trained, loss = network.train(path, data, settings, sigma_squared(path), _STOP, context, width=config.width)
    return {"data": data[:_KEPT], "state": trained.state_dict(), "loss": loss}


def sampler(config: Config, context: Context) -> Sampler:
    """The probability flow of the network from noised digits, in sampling time."""
    stored, path = context.artifacts["digits"], VP(0.1, 20.0)
    data = stored["data"].to(device=context.device, dtype=context.dtype)
    score = network.load(path, data, config.width, stored["state"], context)
    draw = context.generator_for("start", key="digits")
    rows = torch.randperm(len(data), generator=draw, device=draw.device)[: config.n_digits].to(data.device)
    z = normal(config.n_digits, data, draw)
    x0 = path.alpha(path.noise_time) * data[rows] + path.sigma(path.noise_time) * z
    span = path.noise_time - _STOP
    field = reverse(ProbabilityFlow(path, score), path.noise_time)
    return Sampler(field, x0, span, tight(field, x0, span), config.digits_steps)
