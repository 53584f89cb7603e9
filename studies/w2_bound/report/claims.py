"""What the rows decide. Thresholds are fixed here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from scipy import stats

from gflow.estimate import Estimate
from gflow.study import Claim
from gflow.study.study import Verdict
from studies.numbers import MANY, count, factor, factors, log10_of, number, percent
from studies.repeats import of_kind
from studies.w2_bound.report.rows import Group, short, sweep

TIGHT = 1e-8
"""Largest |bound/W2 - 1| of the laws where the bound is an equality."""
ORDERED = 1e-6
"""Relative tolerance of the order, of bound against W2 and of sum against measured: round-off of solves."""
FAMILY = 0.05
"""Chance that a true claim over many intervals fails."""
RARE = 0.01
"""Level of the coverage test: the identity is a theorem, a mistake breaks it grossly, so false alarms weigh more."""
_LEAST_INTERVALS = 10


def claims(found: Sequence[Group]) -> list[Claim]:
    """The claims that the cases and seeds at hand can decide."""
    made = [_tight(found), _ordered(found), _above(found), _budget(found), _sign(found), _matching(found)]
    return [claim for claim in [*made, *_medians(found)] if claim is not None]


def left_out(found: Sequence[Group]) -> int:
    """Number of claims about medians that need more seeds than there are."""
    return sum(1 for group in _with_medians(found) if group.seeds < MANY)


def _tight(found: Sequence[Group]) -> Claim | None:
    chosen = [g for g in of_kind(found, "tight") if (g.case.sampler, g.case.variant) != ("sde", "B")]
    gaps = {(g.label, r.seed): abs(float(r.row["law"]["ratio"]) - 1) for g in chosen for r in g.records}
    if not gaps:
        return None
    worst = max(gaps, key=lambda key: gaps[key])
    return Claim(
        f"In the tight families (W2B-3) the bound of the laws equals their $W_2$ to {number(TIGHT)}",
        "ok" if gaps[worst] <= TIGHT else "failed",
        f"largest |bound/W2 − 1| = {number(gaps[worst])} over {count(len(gaps), 'row')} ({worst[0]}, seed {worst[1]})",
    )


def _ordered(found: Sequence[Group]) -> Claim | None:
    """log10(upper) - log10(lower) of neighbouring rungs, in every row."""
    gaps = {
        (f"{high} over {low}", _where(g, k)): log10_of(row["ladder"][high]) - log10_of(row["ladder"][low])
        for g in found
        for k, row in enumerate(g.rows)
        for low, high in pairwise(_rungs(row))
        if log10_of(row["ladder"][low]) > -math.inf
    }
    return _least("The ladder is ordered in every row (W2B-19)", gaps, "smallest ratio of a rung to the one below")


def _above(found: Sequence[Group]) -> Claim | None:
    gaps = {
        (name, _where(g, k)): log10_of(row["ladder"][name]) - math.log10(row["w2"].lo)
        for g in found
        for k, row in enumerate(g.rows)
        if row["w2"].lo > 0
        for name in _rungs(row)
        if name not in ("local", "global") or row["kinds"][name] == "certified"
    }
    text = "In every row `synchronous`, `propagator`, `pathwise` and every certified `global` bound the dual $W_2$"
    return _least(text, gaps, "smallest bound/W2")


def _least(text: str, gaps: Mapping[tuple[str, str], float], words: str) -> Claim | None:
    """A claim that no log10 ratio lies below 0 by more than round-off."""
    if not gaps:
        return None
    broken = [key for key, gap in gaps.items() if not gap >= math.log10(1 - ORDERED)]
    name, where = min(gaps, key=lambda key: gaps[key])
    below = 10 ** gaps[name, where] - 1
    shown = (
        f"1 {'−' if below < 0 else '+'} {number(abs(below))}" if 0 < abs(below) < 1e-3 else factor(gaps[name, where])
    )
    detail = (
        f"{words}: {shown} (`{name}`, {where}); {count(len(gaps), 'ratio')}, {len(broken)} below 1 − {number(ORDERED)}"
    )
    return Claim(text, "failed" if broken else "ok", detail)


def _budget(found: Sequence[Group]) -> Claim | None:
    """Sum of the budget against the certified interval of the measured W2."""
    rows = [(g, k, row["budget"]) for g in found for k, row in enumerate(g.rows)]
    if not rows:
        return None
    failed = [b for _, _, b in rows if b["total"].mean < b["measured"].lo * (1 - ORDERED)]
    torn = [b for _, _, b in rows if b["measured"].lo * (1 - ORDERED) <= b["total"].mean < b["measured"].mean]
    torn = [b for b in torn if b["total"].mean < b["measured"].mean * (1 - ORDERED)]
    g, k, least = min(rows, key=lambda r: _quotient(r[2]["total"].mean, r[2]["measured"].mean))
    return Claim(
        "The error budget (W2B-16) sums to at least the measured $W_2$ in every row",
        "failed" if failed else "inconclusive" if torn else "ok",
        f"smallest sum/W2 = {number(_quotient(least['total'].mean, least['measured'].mean))} ({_where(g, k)}); "
        f"{count(len(rows), 'row')}, {len(failed)} below",
    )


def _sign(found: Sequence[Group]) -> Claim | None:
    """Every time of every SDE case; intervals are widened so that all hold together."""
    tested = {(g, k): e for g in _signed(found) for k, e in enumerate(sign_estimates(g, "optimal"))}
    tested = {key: e for key, e in tested.items() if e.mean != 0}  # the start, where the clouds coincide
    if not tested:
        return None
    scores = {key: _score(e, len(tested)) for key, e in tested.items()}
    (group, k), score = min(scores.items(), key=lambda item: item[1])
    value, t = tested[group, k], group.rows[0]["sign"]["t"][k]
    return Claim(
        "Under the optimal coupling the sign term is not negative beyond its interval (W2B-6)",
        "failed" if score < -1 else "ok",
        f"lowest: {number(value.mean)} at t = {number(t)} ({group.label}), {number(score, 2)} half widths from 0; "
        f"{count(len(tested), 'time')}, 95 % for all of them together",
    )


def sign_estimates(group: Group, coupling: str) -> list[Estimate]:
    """The sign term at each time: over the seeds, or over the pairs of the one seed."""
    columns = zip(*(row["sign"][coupling] for row in group.rows), strict=True)
    return [Estimate.pool(column) if len(column) > 1 else column[0] for column in columns]


def _score(estimate: Estimate, tests: int) -> float:
    """Distance from 0 in half widths of an interval that holds for all tests at once (Bonferroni)."""
    half = estimate.hi - estimate.mean
    if half == 0:
        return math.copysign(math.inf, estimate.mean)
    single, several = (stats.t.isf(level / 2, max(estimate.n - 1, 1)) for level in (0.05, FAMILY / tests))
    return estimate.mean / (half * float(several / single))


def _matching(found: Sequence[Group]) -> Claim | None:
    """Coverage of 0 by the 95 % intervals of the difference, by a two-sided binomial test."""
    intervals = differences(found)
    if len(intervals) < _LEAST_INTERVALS:
        return None
    held = sum(1 for e in intervals if e.lo <= 0 <= e.hi)
    p = float(stats.binomtest(held, len(intervals), 0.95).pvalue)
    return Claim(
        "The denoising loss less its constant is the score-matching loss (W2B-13): "
        "95 % intervals of the difference hold 0 as often as they should",
        "ok" if p >= RARE else "failed",
        f"{held} of {len(intervals)} hold 0 ({percent(held / len(intervals))}), binomial p = {number(p, 2)}",
    )


def differences(found: Sequence[Group]) -> list[Estimate]:
    """Denoising loss minus constant minus score-matching loss: every network, seed and time."""
    return [entry["difference"] for g in of_kind(found, "network") for row in g.rows for entry in row.get("dsm", ())]


def _medians(found: Sequence[Group]) -> list[Claim]:
    enough = [g for g in _with_medians(found) if g.seeds >= MANY]
    errors, networks = sweep(enough, "error"), of_kind(enough, "network")
    # The claim is about a trained network, and the sweep holds badly trained ones: W2 itself chooses.
    best = sorted(networks, key=lambda g: g.w2.mean)[:1]
    made = [
        _ratio("mixture: `pathwise` is at most 5 times the exact $W_2$", errors, "pathwise", "", math.log10(5), -1),
        _ratio("mixture: `propagator` is at most 4 times the exact $W_2$", errors, "propagator", "", math.log10(4), -1),
        _ratio(
            "the network of smallest $W_2$: `pathwise` is at least 10 times below the published form",
            best,
            "global",
            "pathwise",
            1,
        ),
        _ratio(
            "digits: the bound by variation of constants (W2B-12), not `pathwise`, is at least 2 times below the "
            "published form",
            [g for g in of_kind(enough, "digits") if all("variation" in row for row in g.rows)],
            "global",
            "variation",
            math.log10(2),
        ),
        _finite(of_kind(enough, "digits")),
    ]
    return [claim for claim in made if claim is not None]


def _with_medians(found: Sequence[Group]) -> list[Group]:
    return [*sweep(found, "error"), *of_kind(found, "network", "digits")]


def _ratio(text: str, chosen: Sequence[Group], top: str, below: str, threshold: float, side: int = 1) -> Claim | None:
    """A median log10 ratio at least (side 1) or at most (side -1) a threshold; the worst case decides."""
    known = [(g, ratio) for g in chosen if top in g.rungs if (ratio := g.log_ratio(top, below)) is not None]
    if not known:
        return None
    verdicts = [_verdict(ratio, threshold, side) for _, ratio in known]
    worst: Verdict = next((v for v in ("failed", "inconclusive") if v in verdicts), "ok")
    seeds = min(g.seeds for g, _ in known)
    all_shown = "; ".join(f"{short(g)}: {factors(r)}" for g, r in known)
    return Claim(
        f"{text[0].upper()}{text[1:]} (median over the seeds, worst case)",
        worst,
        f"{all_shown}; {count(seeds, 'seed')}, interval of a median in brackets",
    )


def _verdict(ratio: Estimate, threshold: float, side: int) -> Verdict:
    if ratio.lo < threshold < ratio.hi:
        return "inconclusive"
    return "ok" if side * (ratio.mean - threshold) >= 0 else "failed"


def _finite(chosen: Sequence[Group]) -> Claim | None:
    if not chosen:
        return None
    logs = [log10_of(row["ladder"][name]) for g in chosen for row in g.rows for name in _rungs(row)]
    return Claim(
        "Digits: every rung is finite and representable",
        "ok" if max(logs) < 300 else "failed",
        f"largest: {factor(max(logs))}; {count(len(logs), 'bound')}",
    )


def _rungs(row: Mapping[str, Any]) -> list[str]:
    return [n for n in ("synchronous", "propagator", "pathwise", "local", "global") if n in row["ladder"]]


def _where(group: Group, k: int) -> str:
    return f"{group.label}, seed {group.records[k].seed}"


def _signed(found: Sequence[Group]) -> list[Group]:
    return [g for g in found if all("sign" in row for row in g.rows)]


def _quotient(a: float, b: float) -> float:
    return a / b if b > 0 else math.inf
