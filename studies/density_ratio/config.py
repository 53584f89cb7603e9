"""What `studies.density_ratio` computes: its settings, its cases, and what is refused before work starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from gflow.study import UsageError
from studies.flags import shown

Kind = Literal["base", "size", "dimension", "overlap", "divergence", "penalty", "width", "digits"]
Estimator = Literal["critic", "kde", "ulsif", "kde-best"]


@dataclass(frozen=True)
class Config:
    """Settings of the study; every one is a flag."""

    n: int = 2000
    """Points of either cloud, where size is not what is swept."""
    sizes: tuple[int, ...] = (250, 500, 1000, 4000)
    """Points of either cloud in the sweep over sizes, beside n."""
    dims: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Dimensions in which one and the same log-ratio is hidden."""
    shifts: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """Distances m of N(m, 1) from N(0, 1)."""
    weights: tuple[float, ...] = (0.01, 1.0)
    """Weights of the gradient penalties R1 and R2."""
    widths: tuple[int, ...] = (16, 256)
    """Widths of the critic's hidden layers, beside width."""
    n_digits: int = 4000
    """Points of either cloud for the digits."""
    noises: tuple[float, ...] = (0.4, 0.8)
    """Standard deviations of the noise on the digits, whose pixels are in [0, 1]."""
    width: int = 64
    """Width of the critic's two hidden layers."""
    steps: int = 1500
    """Most training steps of a critic."""
    queries: int = 2000
    """Fresh points of either law at which errors are taken."""


@dataclass(frozen=True)
class Case:
    """One estimator on one pair of laws."""

    name: str
    kind: Kind
    estimator: Estimator
    n: int
    """Points of either cloud."""
    width: int
    """Of the critic's hidden layers."""
    problem: Literal["planar", "hidden", "shifted", "digits"] = "planar"
    dim: int = 2
    shift: float = 0.0
    """Distance of the means of ``shifted``."""
    noise: float = 0.0
    """Standard deviation of the noise on ``digits``."""
    objective: str = "vanilla"
    """What a critic minimises, a key of ``OBJECTIVES``."""
    penalty: str = "none"
    """What is added, a key of ``PENALTIES``."""
    weight: float = 0.0
    """Its weight."""


BASELINES: tuple[Estimator, ...] = ("kde", "ulsif")
ESTIMATORS: tuple[Estimator, ...] = ("critic", *BASELINES)
_DIVERGENCES = (
    "least-squares",
    "kl",
    "reverse-kl",
    "pearson",
    "neyman",
    "squared-hellinger",
)
_LEAST_TRAINED = 100  # rows of a cloud, of which a fifth is held out


def cases(config: Config) -> tuple[Case, ...]:
    """All cases, in the order of the report."""
    base = Case("", "base", "critic", config.n, config.width)

    def compared(name: str, kind: Kind, **changes: object) -> list[Case]:
        made = replace(base, kind=kind, **changes)  # type: ignore[arg-type]  # fields of Case
        return [replace(made, name=f"{kind}/{e}{name}", estimator=e) for e in ESTIMATORS]

    def critic(name: str, kind: Kind, **changes: object) -> Case:
        return replace(base, name=f"{kind}/{name}", kind=kind, **changes)  # type: ignore[arg-type]  # fields of Case

    sizes = sorted((config.n, *config.sizes))
    digits = {"problem": "digits", "dim": 64, "n": config.n_digits}
    return (
        *compared("", "base"),
        *(case for n in config.sizes for case in compared(f"-{n}", "size", n=n)),
        *(replace(base, name=f"size/kde-best-{n}", kind="size", estimator="kde-best", n=n) for n in sizes),
        *(case for d in config.dims for case in compared(f"-{d}", "dimension", problem="hidden", dim=d)),
        *(c for m in config.shifts for c in compared(f"-{m:g}", "overlap", problem="shifted", dim=1, shift=m)),
        *(critic(name, "divergence", objective=name) for name in _DIVERGENCES),
        *(critic(f"{p}-{w:g}", "penalty", penalty=p, weight=w) for p in ("r1", "r2") for w in config.weights),
        *(critic(name, "penalty", **changes) for name, changes in _OTHER_CRITICS.items()),
        *(critic(f"{w}", "width", width=w) for w in config.widths),
        *(case for s in config.noises for case in compared(f"-{s:g}", "digits", **digits, noise=s)),
    )


# Critics that tell a velocity and no log-ratio, and one that is bound layer by layer.
_OTHER_CRITICS: dict[str, dict[str, object]] = {
    "spectral": {"penalty": "spectral"},
    "wgan-gp": {"objective": "wasserstein", "penalty": "wgan-gp", "weight": 10.0},
    "zero-centred": {"objective": "wasserstein", "penalty": "zero-centred", "weight": 0.5},
}


def validate(config: Config, dtype: str) -> None:  # noqa: ARG001  # critics train in either dtype
    """Refuse what cannot run."""
    for name in ("n", "n_digits", "queries"):
        if getattr(config, name) < _LEAST_TRAINED:
            raise UsageError(
                f"--{name.replace('_', '-')}: expected at least {_LEAST_TRAINED}, got {getattr(config, name)}"
            )
    for name in ("width", "steps"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name}: expected at least 1, got {getattr(config, name)}")
    least = {"sizes": _LEAST_TRAINED, "dims": 1, "widths": 1}
    for name in ("sizes", "dims", "shifts", "weights", "widths", "noises"):
        values = getattr(config, name)
        low = least.get(name, 0)
        rising = all(a < b for a, b in pairwise(values))  # NaN is not
        if not values or not (min(values) >= low and min(values) > 0 and rising):
            bound = f"of at least {low}" if low else "above 0"
            raise UsageError(f"--{name}: expected increasing numbers {bound}, got {shown(values)}")
    for name, own in (("sizes", config.n), ("widths", config.width)):
        if own in getattr(config, name):
            raise UsageError(f"--{name}: {own} is the value of the base case, which is there anyway")


def cost(config: Config, case: Case) -> tuple[float, float]:
    """Seconds on one core and bytes of one repeat, from timings at the default sizes."""
    if case.estimator != "critic":
        pairs = 1e-9 * case.n * (case.n + 2 * config.queries) * (1 + case.dim / 16)
        return 0.2 + {"kde": 120.0, "ulsif": 20.0, "kde-best": 150.0}[case.estimator] * pairs, 5e8
    penalised = 2.5 if case.penalty not in ("none", "spectral") else 1.0
    return 0.3 + 1.2e-3 * config.steps * penalised * max(1.0, case.width / 64), 4e8
