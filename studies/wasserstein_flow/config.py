"""What `studies.wasserstein_flow` computes: its settings, its cases, and what is refused before work starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gflow.study import UsageError
from studies.flags import shown

Kind = Literal["decay", "modes", "budget", "family", "table", "race", "stiff"]


@dataclass(frozen=True)
class Config:
    """Settings of the study; every one is a flag."""

    n: int = 200
    """Particles, and points of data, of every estimated flow."""
    probes: int = 60
    """Points that carry the score of the particles' law."""
    steps: int = 32
    """Steps, and evaluations of the velocity, of every estimated flow; a multiple of 8."""
    cells: int = 400
    """Cells of the finite volumes on the line."""
    separations: tuple[float, ...] = (2.0, 3.0, 4.0)
    """Distance of the two modes from the origin, in their standard deviations."""
    errors: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.5)
    """Sizes of the error that is put into an exact velocity."""
    shift: float = 1.0
    """Distance of the means of the two normal laws whose flows leave the Gaussian family."""
    stiffness: tuple[float, ...] = (10.0, 100.0, 1000.0)
    """Condition numbers of the covariance to be reached."""
    stiff_steps: tuple[int, ...] = (10, 20, 40, 80, 160, 320)
    """Numbers of steps of explicit and implicit methods."""
    critic_steps: int = 100
    """Training steps of a critic at every evaluation of its velocity."""
    width: int = 32
    """Width of a critic's two hidden layers."""
    table_seeds: int = 1
    """Seeds of the critic rows of MonoFlow's table, in one batch."""
    table_share: float = 1.0
    """Share of the table's training steps that are taken; 1 for its numbers."""


@dataclass(frozen=True)
class Case:
    """One experiment: its kind, the problem, and what is done with it."""

    name: str
    kind: Kind
    problem: str = ""
    """Name of the loss, target, row or stiffness, as the kind has it."""
    scheme: str = ""
    """Name of the velocity estimator."""


LOSSES = (
    "logit",
    "saturating",
    "non-saturating",
    "chi",
    "exponential",
    "arcsinh",
    "LSGAN to 1",
    "LSGAN to 1/2",
    "logit + saturating",
)
"""Generator losses of the decay on the line; the last has h' >= 1."""
FAMILY = ("logit", "saturating", "non-saturating", "arcsinh")
"""Losses whose flows are watched leaving the Gaussian family."""
_LEAST_LEVELS = 4  # of steps, for an order with an interval
TARGETS = ("gaussian", "modes", "digits")
ESTIMATORS: dict[str, tuple[str, ...]] = {
    "gaussian": (
        "exact",
        "kde",
        "ulsif",
        "critic",
        "critic R1",
        "tracked critic",
        "svgd",
        "mmd",
        "noisy mmd",
        "drifting",
        "drifting, Laplacian",
        "drifting, unit speed",
        "sinkhorn",
        "sinkhorn, two batches",
        "sliced",
        "jko critic",
        "langevin",
    ),
}
ESTIMATORS["modes"] = tuple(name for name in ESTIMATORS["gaussian"] if name != "exact")
ESTIMATORS["digits"] = (
    *(name for name in ESTIMATORS["modes"] if name not in ("svgd", "langevin", "ulsif", "jko critic")),
    "convolutional critic",
)


def cases(config: Config) -> tuple[Case, ...]:
    """All cases, in the order of the report."""
    from studies.wasserstein_flow.monoflow import ROWS

    return (
        *(Case(f"decay/{loss}", "decay", loss) for loss in LOSSES),
        *(Case(f"modes/{a:g}", "modes", f"{a:g}") for a in config.separations),
        Case("budget/affine", "budget"),
        *(Case(f"family/{loss}", "family", loss) for loss in FAMILY),
        *(Case(f"table/{row.name}", "table", row.name) for row in ROWS),
        *(Case(f"race/{t}/{e}", "race", t, e) for t in TARGETS for e in ESTIMATORS[t]),
        *(Case(f"stiff/{k:g}", "stiff", f"{k:g}") for k in config.stiffness),
    )


def validate(config: Config, dtype: str) -> None:
    """Refuse what cannot run."""
    if dtype != "float64":
        raise UsageError(f"--dtype: decay is followed down to round-off in float64, got {dtype}")
    for name, least in (("n", 20), ("probes", 8), ("steps", 8), ("cells", 40), ("critic_steps", 1), ("width", 1)):
        if getattr(config, name) < least:
            raise UsageError(f"--{name.replace('_', '-')}: expected at least {least}, got {getattr(config, name)}")
    for name in ("n", "steps"):
        multiple = 2 if name == "n" else 8
        if getattr(config, name) % multiple:
            raise UsageError(f"--{name}: expected a multiple of {multiple}, got {getattr(config, name)}")
    if config.table_seeds < 1 or not 0.0 < config.table_share <= 1.0:
        raise UsageError(
            f"--table-seeds, --table-share: expected at least 1 and a share in (0, 1], got {config.table_seeds} "
            f"and {config.table_share:g}"
        )
    for name, least_value in (("separations", 0.5), ("errors", 0.0), ("stiffness", 1.0), ("stiff_steps", 0)):
        values = getattr(config, name)
        if not values or not min(values) > least_value or list(values) != sorted(set(values)):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag}: expected increasing numbers above {least_value:g}, got {shown(values)}")
    if len(config.stiff_steps) < _LEAST_LEVELS:
        raise UsageError(
            f"--stiff-steps: expected at least {_LEAST_LEVELS} numbers for an order, got {shown(config.stiff_steps)}"
        )
    if not 0.0 < config.shift <= 4.0:
        raise UsageError(f"--shift: expected a number in (0, 4], got {config.shift:g}")


def cost(config: Config, case: Case) -> tuple[float, float]:
    """Seconds on one core and bytes of one repeat, from timings at the default sizes."""
    cells = config.cells / 400
    seconds = {
        "decay": 1.0 * cells**3,
        "modes": 2.0 * cells**2.5,
        "budget": 0.3,
        "family": 1.2 * cells**2.5,
        "stiff": 7.5 * sum(config.stiff_steps) / 630,
        "table": 5.0 * config.table_share * (1 + 0.2 * (config.table_seeds - 1)),
        "race": _race_seconds(config, case),
    }
    return seconds[case.kind], 4e8 * max(1.0, (config.n / 500) ** 2)


def _race_seconds(config: Config, case: Case) -> float:
    """Of one estimator: a critic's training at every evaluation, or sums over pairs."""
    evaluations = 2.2 * config.steps / 32
    training = {"critic": 5.0, "critic R1": 8.0, "jko critic": 12.0, "convolutional critic": 30.0}
    if case.scheme in training:
        return training[case.scheme] * evaluations / 2.2 * config.critic_steps / 100
    pairs = {"sinkhorn": 2.0, "sinkhorn, two batches": 3.0, "kde": 1.0, "ulsif": 1.0}
    return pairs.get(case.scheme, 0.3) * evaluations * (config.n / 200) ** 2
