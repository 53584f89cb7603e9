"""What `studies.w2_bound` computes: its settings, its cases, and what is refused before work starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from gflow.study import UsageError
from studies.flags import shown

Kind = Literal["tight", "mixture", "network", "digits", "data", "score", "field"]
Sampler = Literal["ode", "sde"]
Method = Literal["euler", "heun", "rk4", "euler_maruyama"]
PathName = Literal["vp", "ve", "linear"]
T = TypeVar("T", int, float)

BETA_MIN = 0.1
"""First beta of the noising path."""


@dataclass(frozen=True)
class Config:
    """Settings of the study; every one is a flag."""

    n: int = 250
    """Particles per cloud, mixtures."""
    n_cloud: int = 32
    """Particles per cloud, digits and a data file; at most half of the file."""
    eps: tuple[float, ...] = (0.01, 0.05, 0.1)
    """Sizes of the controlled score error: shift of the centres, relative error of the width."""
    steps: tuple[int, ...] = (10, 20, 40)
    """Steps of the ODE samplers."""
    sde_steps: tuple[int, ...] = (32, 128)
    """Steps of the SDE samplers, powers of two."""
    stops: tuple[float, ...] = (0.01, 0.1)
    """Early-stopping times, beside the base's 0.001."""
    noise: tuple[float, ...] = (2.0, 5.0)
    """Final beta of the schedule, beside the base's 20: less noise is more initial mismatch."""
    train_steps: int = 2500
    """Training steps of each score network."""
    width: int = 48
    """Width of the networks' hidden layers for mixtures; images take twice that."""
    floor_repeats: int = 5
    """Pairs of samples behind the sampling floor."""
    variation_nodes: int = 13
    """Time nodes of the variation-of-constants bound, 4 k + 1; for images and networks."""
    data: str = ""
    """A cloud of your own: .npy, .npz (or file.npz:key) or .csv, one point a row. Selects its case."""
    field: str = ""
    """A velocity field of your own, package.module:name, called as name(t, y). Selects its case."""
    score: str = ""
    """A score of your own, package.module:name, called as name(t, x). Selects its case."""
    reference: str = ""
    """What --field or --score is compared with; for --score the data of --data serve as well."""
    start: str = "normal:2"
    """Start of --field and --score: a file of points, or normal:d for standard normal draws."""
    t0: float = 0.0
    """Start time of --field."""
    t1: float = 1.0
    """End time of --field; smaller than t0 where it runs backwards."""
    path: PathName = "vp"
    """Noising path of --score and --data: vp (beta 0.1 to 20), ve (sigma to 10) or linear."""


@dataclass(frozen=True)
class Case:
    """One experiment: a model against its reference, with one sampler."""

    name: str
    kind: Kind
    sampler: Sampler = "ode"
    method: Method = "heun"
    steps: int = 40
    eps: float = 0.05
    geometry: Literal["checked", "kwon"] = "checked"
    """Mixtures: centres at +-0.5 and width 0.1 (W2B-19), or width 0.0125 (Kwon, Fan and Lee 2022)."""
    stop: float = 1e-3
    """Distance in path time from the data at which sampling stops."""
    beta_max: float = 20.0
    variant: str = ""
    """Tight: family A or B. Networks: the weight of the training."""
    swept: str = ""
    """Name of the quantity that the case's group sweeps."""
    value: float | str = ""
    """Its value here."""


def cases(config: Config) -> tuple[Case, ...]:
    """The user's case where one is selected, else the published ones."""
    if config.data and not config.score:
        return tuple(Case(f"data/{s}", "data", s, m, 32, stop=1e-2) for s, m in _SAMPLERS)
    if config.score:
        return (Case("score/ode", "score", stop=1e-2),)
    if config.field:
        return (Case("field", "field"),)
    return (*_tight(), *_mixtures(config), *_digits())


_RANGES = {
    "n": (8, 10**6),
    "n_cloud": (8, 10**6),
    "train_steps": (1, 10**7),
    "width": (1, 10**5),
    "floor_repeats": (1, 10**4),
}
"""What each number may be: beyond, a typing error is likelier than a run of years. Memory is looked at before a run."""


def validate(config: Config, dtype: str) -> None:
    """Refuse what cannot run; readable files and importable names are checked by loading them."""
    import torch

    from studies.w2_bound.user import check

    for name, (least, most) in _RANGES.items():
        if not least <= getattr(config, name) <= most:
            raise UsageError(f"--{name.replace('_', '-')}: expected {least} to {most}, got {getattr(config, name)}")
    for name in ("eps", "stops", "noise"):
        _distinct(name, getattr(config, name), lambda x: 0 < x < math.inf, "positive finite numbers")
    if max(config.stops) >= 1:
        raise UsageError(f"--stops: expected times below 1, got {shown(config.stops)}")
    if min(config.noise) < BETA_MIN:
        given = shown(config.noise)
        raise UsageError(f"--noise: expected a final beta of at least {BETA_MIN}, the first one, got {given}")
    _distinct("steps", config.steps, lambda k: 1 <= k <= 2**16, "numbers of steps from 1 to 65536")
    _distinct("sde-steps", config.sde_steps, lambda k: 1 <= k <= 2**16 and not k & (k - 1), "powers of two up to 65536")
    for name in ("t0", "t1"):
        if not math.isfinite(getattr(config, name)):
            raise UsageError(f"--{name}: expected a finite time, got {getattr(config, name)}")
    if config.variation_nodes < 5 or config.variation_nodes > 4097 or config.variation_nodes % 4 != 1:
        raise UsageError(f"--variation-nodes: expected 5, 9, 13, ..., 4097, got {config.variation_nodes}")
    check(config, getattr(torch, dtype))


def _distinct(name: str, values: Sequence[T], good: Callable[[T], bool], wanted: str) -> None:
    """Refuse a sweep that is empty, holds a bad value, or the same one twice: each names a case."""
    if not values or not all(good(value) for value in values):
        raise UsageError(f"--{name}: expected {wanted}, got {shown(values)}")
    if len(set(shown(values).split())) < len(values):
        raise UsageError(f"--{name}: expected each value once, to six digits, got {shown(values)}")


def cost(config: Config, case: Case) -> tuple[float, float]:
    """Seconds on one core and bytes of one repeat, from timings at the default sizes (2 GHz, one thread)."""
    cloud = case.kind in ("digits", "data", "score")
    size = config.n_cloud / 32 if cloud else config.n / 250
    if case.sampler == "sde":
        seconds = (0.09 if cloud else 0.012) * case.steps * size
    else:
        seconds = {"tight": 0.6, "mixture": 1.3, "field": 1.3, "network": 4.5}.get(case.kind, 8.0) * size
    points = config.n_cloud if cloud else config.n
    return 0.2 + seconds, 4e8 + 3e5 * points + 41.0 * points**2  # the last for the costs between two clouds


def cost_of_training(config: Config) -> tuple[float, float]:
    """Seconds and bytes of the networks' training, where a selected case needs one."""
    kinds = {case.kind for case in cases(config)}
    networks = 3 * ("network" in kinds) + ("digits" in kinds) + ("data" in kinds)
    return 0.0033 * networks * config.train_steps * max(1.0, config.width / 48), 6e8 + 400.0 * config.width**2


_SAMPLERS: tuple[tuple[Sampler, Method], ...] = (("ode", "heun"), ("sde", "euler_maruyama"))


def _tight() -> tuple[Case, ...]:
    return tuple(
        Case(f"tight/{s}-{family}", "tight", s, m, 64, stop=1e-2, variant=family)
        for s, m in _SAMPLERS
        for family in ("A", "B")
    )


def _mixtures(config: Config) -> tuple[Case, ...]:
    kwon: Literal["kwon"] = "kwon"
    return (
        *(Case(f"mixture/error/{e:g}", "mixture", eps=e, swept="error", value=e) for e in config.eps),
        *(Case(f"mixture/kwon/{e:g}", "mixture", eps=e, geometry=kwon, swept="kwon", value=e) for e in config.eps),
        *(
            Case(f"mixture/{m}/{k}", "mixture", method=m, steps=k, swept=m, value=float(k))
            for m in ("euler", "heun")
            for k in config.steps
        ),
        *(Case(f"mixture/start/{b:g}", "mixture", beta_max=b, swept="start", value=b) for b in config.noise),
        *(Case(f"mixture/stop/{t:g}", "mixture", stop=t, swept="stop", value=t) for t in config.stops),
        *(
            Case(f"mixture/sde/{k}", "mixture", "sde", "euler_maruyama", k, swept="sde", value=float(k))
            for k in config.sde_steps
        ),
        *(Case(f"mixture/network/{w}", "network", variant=w, swept="network", value=w) for w in WEIGHTS),
    )


def _digits() -> tuple[Case, ...]:
    return tuple(Case(f"digits/{s}", "digits", s, m, 32, stop=1e-2) for s, m in _SAMPLERS)


WEIGHTS = ("uniform", "sigma2", "g2I-over-e")
"""Training weights of the score networks (W2B-8)."""
