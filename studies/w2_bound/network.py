"""Score networks trained in the study: on the mixture with three weights, and on clouds of data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from gflow.bounds.climbing import OneSidedConstant
from gflow.estimate import Estimate
from gflow.learn import (
    MLP,
    NOISE_FEATURES,
    ScoreNetwork,
    Weight,
    conditional_error,
    cosine,
    denoising_score_matching,
    fit,
    log_noise_times,
    sigma_squared,
    tabulated,
    uniform,
)
from gflow.lipschitz import JacobianOsl
from gflow.problems import VP, GaussianMixture, NoisedScore, Path
from gflow.problems.distribution import normal
from studies.w2_bound.config import WEIGHTS, Case, Config
from studies.w2_bound.measure import floor_of, row, sample_run
from studies.w2_bound.mixture import clouds
from studies.w2_bound.problem import Diffusion, four_modes

if TYPE_CHECKING:
    from gflow.study import Context

_DOMAIN = 1.5  # half width of the square in which the published constant is searched
_DSM_TIMES = (0.01, 0.05, 0.2, 0.5, 1.0)
_DSM_DRAWS = 20_000


def train(
    path: Path,
    data: Float[Tensor, "n d"],
    config: Config,
    weight: Weight,
    t_min: float,
    context: Context,
    *,
    width: int,
) -> tuple[ScoreNetwork, float]:
    """A score network fitted to ``data`` by denoising score matching, and its held-out loss."""
    dim = data.shape[1]
    network = blank(path, data, width, context).to(context.device)
    every = min(10, len(data) // 2)  # a tenth is held out, of a small cloud two points at least
    held_out, kept = data[::every], data[torch.arange(len(data)) % every != 0]
    losses = [
        denoising_score_matching(path, part, batch_size=size, weight=weight, t_min=t_min, times=log_noise_times)
        for part, size in ((kept, 256 if dim <= 8 else 128), (held_out, 1024))
    ]
    result = fit(
        network,
        losses[0],
        steps=config.train_steps,
        optimizer=lambda p: torch.optim.Adam(p, lr=3e-3 if dim <= 8 else 1e-3),
        ema_decay=0.99,
        generator=context.generator_for("training"),
        held_out=losses[1],
        rate=cosine,
    )
    return result.module, result.held_out if result.held_out is not None else math.nan


def blank(path: Path, data: Float[Tensor, "n d"], width: int, context: Context) -> ScoreNetwork:
    """An untrained score network for data of this mean and spread."""
    dim = data.shape[1]
    body = MLP(
        dim,
        dim,
        generator=context.generator_for("weights", key="network", device="cpu"),
        hidden=(width,) * 3,
        features=NOISE_FEATURES,
        dtype=context.dtype,
    )
    return ScoreNetwork(path, body, float((data - data.mean(0)).square().mean().sqrt()), data_mean=data.mean(0))


def prepare_mixture(config: Config, context: Context) -> dict[str, Any]:
    """The three networks of the mixture: the third is weighted by g^2 I/e of the second (W2B-8)."""
    path, case = VP(0.1, 20.0), Case("", "network")
    like = torch.zeros(2, dtype=context.dtype, device=context.device)
    law = four_modes(case.geometry, 0.0, like=like)
    data = law.sample(8192, context.generator_for("training data", key="mixture"))
    weights: dict[str, Weight] = {"uniform": uniform, "sigma2": sigma_squared(path)}
    trained: dict[str, Any] = {}
    for name in WEIGHTS:
        if name not in weights:
            weights[name] = best_weight(path, law, trained["sigma2"]["network"], case.stop, context)
        context.progress(f"training the score network of the mixture, weight {name}")
        network, loss = train(path, data, config, weights[name], case.stop, context, width=config.width)
        trained[name] = {"network": network, "loss": loss}
    states = {name: entry["network"].state_dict() for name, entry in trained.items()}
    return {"data": data[:1000], "states": states, "losses": {name: e["loss"] for name, e in trained.items()}}


def best_weight(path: Path, law: GaussianMixture, score: ScoreNetwork, stop: float, context: Context) -> Weight:
    """Lambda = g^2 I/e of a trained network (W2B-8), I from its local constants along the true law."""
    times = torch.logspace(math.log10(stop), 0.0, 40, dtype=torch.float64)
    generator = context.generator_for("weight")
    rates, weights = [], []
    for t in times.tolist():
        x = law.at(path, t).sample(256, generator)
        error = float((score(t, x) - law.at(path, t).score(x)).square().sum(1).mean().sqrt())
        g2 = float(path.diffusion_squared(t))
        osl = JacobianOsl()(score, t, x, direction=1).mean
        rates.append(-float(path.drift(t)) + g2 / 2 * osl)
        weights.append(math.log(g2 / error))
    # I_t = exp int_0^t L: what is left of an error made at t. Its level is of no account for training.
    growth = torch.cumulative_trapezoid(torch.tensor(rates, dtype=torch.float64), times)
    logs = torch.tensor(weights, dtype=torch.float64) + torch.cat((torch.zeros(1, dtype=torch.float64), growth))
    return tabulated(times, (logs - logs.max()).clamp(min=-12.0).exp())


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: a trained network against the exact score of the mixture."""
    path, stored = VP(0.1, case.beta_max), context.artifacts["mixture"]
    like = torch.zeros(2, dtype=context.dtype, device=context.device)
    law = four_modes(case.geometry, 0.0, like=like)
    score = load(path, stored["data"].to(like), config.width, stored["states"][case.variant], context)
    problem = Diffusion(path, NoisedScore(law, path), score, case.stop)
    x0, y0, fresh = clouds(problem, law, config, case, context)
    result = sample_run(problem, case, x0, y0, fresh, context, osl=sampled_constant(problem, lambda _: square(like)))
    floor = floor_of(law.at(path, problem.stop_time).sample, config.n, config, context, f"{case.geometry}/{case.stop}")
    return row(
        case, result, floor, context, held_out=stored["losses"][case.variant], dsm=matching(problem, law, context)
    )


def load(path: Path, data: Tensor, width: int, state: dict[str, Tensor], context: Context) -> ScoreNetwork:
    """A trained network from its state."""
    network = blank(path, data, width, context)
    network.load_state_dict(state)
    return network.to(device=context.device, dtype=context.dtype).requires_grad_(False)


def sampled_constant(problem: Diffusion, domain: Callable[[float], Float[Tensor, "m d"]]) -> OneSidedConstant:
    """Largest logarithmic norm of the model's field over points of a domain at path time t: a lower estimate."""
    field = problem.fields(0.0)[1]

    def constant(s: float) -> Estimate:
        return JacobianOsl()(field, s, domain(problem.time(s)), direction=1)

    return constant


def square(like: Tensor, points: int = 13) -> Float[Tensor, "m 2"]:
    """A grid on the square [-1.5, 1.5]^2, which holds the modes and the midplanes between them."""
    axis = torch.linspace(-_DOMAIN, _DOMAIN, points).to(like)
    return torch.cartesian_prod(axis, axis)


def matching(problem: Diffusion, law: GaussianMixture, context: Context) -> list[dict[str, Any]]:
    """Denoising loss minus its constant C_t against the score-matching loss, at chosen times (W2B-13).

    C_t = d/sigma^2 - E|grad log p_t|^2. The same draws serve both sides, so their difference is
    E[(conditional - exact score) . anything of x_t] = 0 up to Monte Carlo; its interval is normal.
    """
    rows = []
    for t in _DSM_TIMES:
        generator = context.generator_for(f"matching {t}")
        x_data = law.sample(_DSM_DRAWS, generator)
        z = normal(_DSM_DRAWS, x_data, generator)
        sigma = float(problem.path.sigma(t))
        x_t = float(problem.path.alpha(t)) * x_data + sigma * z
        exact, learned = problem.reference(t, x_t), problem.model(t, x_t)
        conditional = conditional_error(problem.model, problem.path, t, x_data, z)
        constant = (z / sigma).square().sum(1) - exact.square().sum(1)
        shifted, plain = conditional - constant, (learned - exact).square().sum(1)
        rows.append(
            {
                "t": t,
                "denoising": _mean(conditional),
                "constant": _mean(constant),
                "shifted": _mean(shifted),
                "matching": _mean(plain),
                "difference": _mean(shifted - plain),
            }
        )
    return rows


def _mean(values: Tensor) -> Estimate:
    mean, half = float(values.mean()), 1.96 * float(values.std()) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, n=len(values), level=0.95, bias="none")
