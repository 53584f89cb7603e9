"""Rows and arrays as the study stores them, made by hand: no sampler runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gflow.estimate import Estimate
from gflow.study import Record
from studies.w2_bound.config import Case, Config, cases

SMALL = Config(
    n=64, n_cloud=16, eps=(0.01, 0.1), steps=(10, 20), sde_steps=(32, 64), stops=(0.01, 0.1), noise=(2.0, 5.0)
)
SEEDS = tuple(range(6))
_FACTORS = {"synchronous": 1.1, "propagator": 1.5, "pathwise": 2.5, "local": 30.0, "global": 1e8}
_NEAREST = {"train": 0.4, "held_out": 1.1, "copies": 0.5}


def exact(value: float, bias: Any = "up") -> Estimate:
    return Estimate.exact(value, bias=bias)


def run(config: Config = SMALL, seeds: tuple[int, ...] = SEEDS) -> tuple[list[Record], dict[str, Any]]:
    """Records of every case of a config, and their arrays."""
    records = [Record(case.name, seed, row(case, seed)) for case in cases(config) for seed in seeds]
    return records, {r.row["arrays"]: arrays(r.row["d"], case_of(config, r).stop, r.seed) for r in records}


def case_of(config: Config, record: Record) -> Case:
    return next(case for case in cases(config) if case.name == record.case)


def row(case: Case, seed: int) -> dict[str, Any]:
    w2, d = 0.1 * (1 + 0.05 * seed), 64 if case.kind == "digits" else 2
    ladder = {name: Estimate.bound(math.log(w2 * f), bias="up") for name, f in _FACTORS.items()}
    if case.geometry == "kwon":
        ladder["global"] = Estimate.bound(970.0, bias="up")
    if d > 8:
        del ladder["propagator"]
    if case.sampler == "sde" and case.kind != "mixture":
        del ladder["global"]
    sampled = case.kind not in ("mixture", "tight")
    kinds = {name: "measured" if name != "global" or sampled else "certified" for name in ladder}
    return {
        "sampler": case.sampler,
        "n": 64,
        "d": d,
        "w2": Estimate(w2, w2 * (1 - 1e-12), w2, bias="up"),
        "sampling_floor": Estimate(0.2, 0.15, 0.25, n=5, level=0.95, bias="up"),
        "ladder": ladder,
        "kinds": {**kinds, "synchronous": "certified"},
        "slack": slack(ladder, w2),
        "budget": budget(case, w2),
        "arrays": f"{case.name.replace('/', '-')}_{seed}",
        **extras(case, seed, w2),
    }


def slack(ladder: dict[str, Estimate], w2: float) -> dict[str, Any]:
    lost = {
        n: ladder[n] if math.isinf(ladder[n].mean) else exact(ladder[n].mean - w2)
        for n in ladder
        if n in ("local", "global")
    }
    return {"account": exact(1.1 * w2), "coupling": exact(0.1 * w2), "alignment": exact(0.3 * w2), "lipschitz": lost}


def budget(case: Case, w2: float) -> dict[str, Any]:
    terms = {"initial": 0.05, "model": 2.5 * w2, "discretization": 1.0 / case.steps}
    if case.kind not in ("field", "score"):
        terms |= {"truncation": 0.01, "monte_carlo": 0.2}
    total, measured = sum(terms.values()), 0.25
    return {
        "terms": {name: exact(value) for name, value in terms.items()},
        "total": exact(total),
        "measured": exact(measured),
        "slack": exact(total - measured),
        "target": "p_0" if "truncation" in terms else "p_stop",
    }


def extras(case: Case, seed: int, w2: float) -> dict[str, Any]:
    if case.kind == "tight":
        ratio = 1.3 if (case.sampler, case.variant) == ("sde", "B") else 1 + 1e-12
        law = {"bound": ratio, "w2": 1.0, "ratio": ratio}
        return {"law": law | ({"sharper": 1.0} if case.sampler == "sde" else {})}
    if case.kind == "network":
        return {"dsm": [matching(t, (-1) ** seed) for t in (0.01, 0.05, 0.2)]}
    if case.kind in ("digits", "data"):
        found: dict[str, Any] = {"nearest": {law: _NEAREST for law in ("exact", "network", "held_out")}}
        return found | ({"variation": Estimate(2.0, 2.0, 2.2)} if case.sampler == "ode" else {})
    if case.swept == "sde":
        return {"sign": signs(w2, seed)}
    return (
        {"cauchy_schwarz": Estimate.bound(25.0 if case.geometry == "checked" else 1000.0)}
        if case.kind == "mixture"
        else {}
    )


def matching(t: float, side: int) -> dict[str, Any]:
    names = ("denoising", "constant", "shifted", "matching")
    values = {
        name: Estimate(v, v - 0.1, v + 0.1, 1000, 0.95) for name, v in zip(names, (9.0, 8.0, 1.0, 1.0), strict=True)
    }
    return {"t": t, **values, "difference": Estimate(side * 0.01, side * 0.01 - 0.1, side * 0.01 + 0.1, 1000, 0.95)}


def signs(w2: float, seed: int) -> dict[str, Any]:
    value = 0.4 + 0.01 * seed
    return {
        "t": [1.0, 0.5, 0.001],
        "synchronous": [exact(0.0), exact(-0.1), exact(value)],
        "optimal": [
            exact(0.0),
            Estimate(0.1, 0.05, 0.15, 64, 0.95),
            Estimate(value, value - 0.3, value + 0.3, 64, 0.95),
        ],
        "w2": [0.0, 0.5 * w2, w2],
        "sharper": Estimate.bound(math.log(24 * w2)),
    }


def arrays(d: int, stop: float, seed: int) -> dict[str, Any]:
    draw, s = np.random.default_rng(seed), np.linspace(0.0, 1.0 - stop, 12)
    return {
        "s": s,
        "distance": 0.1 * s,
        "model_error": s,
        "entering": np.full(11, 0.01),
        "arriving": np.full(11, 0.02),
        "reference": draw.uniform(0, 1, (20, d)).astype("float32"),
        "sampled": draw.uniform(0, 1, (20, d)).astype("float32"),
    }
