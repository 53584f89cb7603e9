"""Clouds of real data: the exact noised score of a training half against a trained or a given score network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gflow.bounds import variation_bound
from gflow.learn import sigma_squared
from gflow.problems import VP, Empirical, NoisedScore, digits
from gflow.problems.distribution import normal
from studies.w2_bound.blame import MAX_STEPS, blamed
from studies.w2_bound.config import Case, Config
from studies.w2_bound.measure import floor_of, row, sample_run
from studies.w2_bound.network import load, sampled_constant, train
from studies.w2_bound.own_field import named
from studies.w2_bound.problem import Diffusion, halves, named_path
from studies.w2_bound.user import read_data, read_start

if TYPE_CHECKING:
    from gflow.study import Context

_DOMAIN_POINTS = 64


def prepare(config: Config, context: Context, kind: str) -> dict[str, Any]:
    """Split the cloud, train a score network on one half."""
    cloud = _cloud(config, kind, context)
    train_half, held_out = halves(cloud, context.generator_for("split", key=kind))
    path, case = _path(config, kind), Case("", "digits", stop=1e-2)
    context.progress(f"training the score network of {kind}, {len(train_half.points)} points in d = {cloud.shape[1]}")
    width = config.width if cloud.shape[1] <= 8 else 2 * config.width
    network, loss = train(path, train_half.points, config, sigma_squared(path), case.stop, context, width=width)
    return {
        "train": train_half.points,
        "held_out": held_out,
        "state": network.state_dict(),
        "loss": loss,
        "width": width,
    }


def run(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: network against exact score, from the noised training half, measured against the held-out half."""
    stored = context.artifacts[case.kind]
    train_half = Empirical(stored["train"].to(device=context.device, dtype=context.dtype))
    held_out = stored["held_out"].to(train_half.points)
    path = _path(config, case.kind)
    score = load(path, train_half.points, stored["width"], stored["state"], context)
    problem = Diffusion(path, NoisedScore(train_half, path), score, case.stop)
    return {**_compare(problem, case, train_half, held_out, config, context), "held_out": stored["loss"]}


def run_score(config: Config, case: Case, context: Context) -> dict[str, Any]:
    """One repeat: the user's score against the exact score of a cloud, or against another score."""
    path = named_path(config.path)
    like = torch.zeros(1, dtype=context.dtype, device=context.device)
    model = named(config.score, "--score")
    if config.data:
        train_half, held_out = halves(_cloud(config, "data", context), context.generator_for("split"))
        problem = Diffusion(path, NoisedScore(train_half, path), model, case.stop)
        with blamed({"--score": model}, problem.time, "is --path the one that it was trained on?"):
            return _compare(problem, case, train_half, held_out, config, context, MAX_STEPS)
    reference = named(config.reference, "--reference")
    problem = Diffusion(path, reference, model, case.stop)
    start = read_start(config.start, config.n, like, context.generator_for("start"))
    x0 = float(path.sigma(problem.start_time)) * start if config.start.startswith("normal:") else start
    # Both scores start from the same points: without data there is no law p_T to differ from.
    osl = sampled_constant(problem, lambda _: x0[:_DOMAIN_POINTS])
    with blamed({"--score": model, "--reference": reference}, problem.time, "start elsewhere (--start)"):
        result = sample_run(problem, case, x0, x0, None, context, osl=osl, max_steps=MAX_STEPS)
    floor = floor_of(result.reference, len(x0) // 2, config, context, "score")
    return row(case, result, floor, context)


def _compare(
    problem: Diffusion,
    case: Case,
    train_half: Empirical,
    held_out: Float[Tensor, "M d"],
    config: Config,
    context: Context,
    max_steps: int = 1_000_000,
) -> dict[str, Any]:
    n = min(config.n_cloud, len(held_out), len(train_half.points))
    clean = train_half.sample(n, context.generator_for("data", key=case.kind))
    x0, y0 = problem.start(clean, context.generator_for("start", key=case.kind))
    order = torch.randperm(len(held_out), generator=context.generator_for("fresh", key=case.kind, device="cpu"))
    fresh = problem.fresh(held_out[order[:n].to(held_out.device)], context.generator_for("fresh noise", key=case.kind))
    domain = noised_with_midpoints(problem, train_half, context.generator_for("domain"))
    osl = sampled_constant(problem, domain) if case.sampler == "ode" else None
    result = sample_run(problem, case, x0, y0, fresh, context, osl=osl, max_steps=max_steps)
    floor = floor_of(train_half.at(problem.path, problem.stop_time).sample, n, config, context, case.kind)
    extra: dict[str, Any] = {
        "nearest": {
            "exact": nearest(result.reference, train_half.points, held_out),
            "network": nearest(result.sampled, train_half.points, held_out),
            "held_out": nearest(fresh.noised, train_half.points, held_out),
        }
    }
    if case.sampler == "ode":
        f, g = problem.fields(0.0)
        extra["variation"] = variation_bound(f, g, x0, None, 0.0, problem.span, nodes=config.variation_nodes, tol=1e-4)
    return row(case, result, floor, context, clouds={"held_out": fresh.noised}, **extra)


def noised_with_midpoints(
    problem: Diffusion, law: Empirical, generator: Generator
) -> Callable[[float], Float[Tensor, "m d"]]:
    """Points of a convex domain at path time t: noised data, and the midpoints of pairs of them."""
    clean = law.sample(_DOMAIN_POINTS, generator)
    z = normal(len(clean), clean, generator)

    def points(t: float) -> Float[Tensor, "m d"]:
        x = float(problem.path.alpha(t)) * clean + float(problem.path.sigma(t)) * z
        return torch.cat((x, (x + x.roll(1, 0)) / 2))

    return points


def nearest(
    samples: Float[Tensor, "n d"], train_points: Float[Tensor, "N d"], held_out: Float[Tensor, "M d"]
) -> dict[str, float]:
    """Median distances to the nearest training and held-out points, and the share of copies.

    A sample counts as a copy where its nearest training point is at less than a third of the
    distance of the second nearest (the criterion of Yoon et al. 2023).
    """
    near = torch.cdist(samples, train_points).topk(2, largest=False).values
    other = torch.cdist(samples, held_out).min(1).values
    return {
        "train": float(near[:, 0].median()),
        "held_out": float(other.median()),
        "copies": float((near[:, 0] < near[:, 1] / 3).double().mean()),
    }


def _cloud(config: Config, kind: str, context: Context) -> Float[Tensor, "N d"]:
    cloud = digits() if kind == "digits" else read_data(config.data)
    return cloud.to(device=context.device, dtype=context.dtype)


def _path(config: Config, kind: str) -> Any:
    return VP(0.1, 20.0) if kind == "digits" else named_path(config.path)
