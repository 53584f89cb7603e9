"""The sections below the tables: what the bounds lose, which error dominates, networks, signs, copies, failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gflow.study import Claim
from studies.drawn import Drawn, placed
from studies.numbers import MANY, count, factor, interval, listed, number, percent
from studies.repeats import of_kind
from studies.w2_bound.report import tables
from studies.w2_bound.report.claims import left_out
from studies.w2_bound.report.figures.clouds import nearest
from studies.w2_bound.report.figures.drawn import sizes
from studies.w2_bound.report.rows import (
    NETWORKS,
    RESOLVED,
    Group,
    distinct,
    near_floor,
    resolution,
    sign_gain,
    sweep,
    target_name,
    weight,
)


def sections(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> list[str]:
    """All sections whose cases are there."""
    made = (_loses, _dominates, _networks, _sign, _memorize, _calibration)
    return [section(found, drawn) for section in made]


def _loses(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    ledger = tables.slack(found)
    if not ledger:
        return ""
    return f"""## What the bounds lose

The slack ledger (W2B-11), in multiples of W2, medians over the seeds. *Coupling*: pairing particles by a common start
instead of optimally. *Alignment*: taking the model error at its full length where it does not point along the
difference of the pair. *Lipschitz*: a one-sided constant in place of the rate at which the pairs really part, for the
`local` and for the `global` form. *Account* is the exact account of the coupling distance over W2, which is 1 plus the
coupling slack up to quadrature.

{ledger}
{placed(drawn, "where")}"""


def _dominates(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    terms = tables.budget(found)
    if not terms:
        return ""
    return f"""## Which error dominates

The budget (W2B-16): *truncation* is stopping early, *initial* starting from the prior instead of noised data (W2B-15),
*model* the score error, *discretization* the steps (W2B-10), *Monte Carlo* the finite clouds. Initial, model and
discretization are upper bounds carried to the end of sampling (`pathwise`), so the sum bounds the exact W2 between the
sampler's cloud and its target: fresh data ($p_0$), or the reference's own cloud ($p_{{\\mathrm{{stop}}}}$). The floor
is W2 between two independent samples of the reference law: a measured W2 near it says only that n points cannot tell
the laws apart. The prior's draws are made of the noise of the noised data, so that *initial* holds the distance of the
two laws and not that of two samples.
{" ".join(text for text in (_target(found), _repeats(found), _steps(found), _starts(found)) if text)}

{terms}
{placed(drawn, "budget", "samples")}"""


def _target(found: Sequence[Group]) -> str:
    targets = {target_name(g) for g in found}
    return f"Here the target is {targets.pop()} throughout." if len(targets) == 1 else ""


def _repeats(found: Sequence[Group]) -> str:
    """n, seeds, and what the brackets are."""
    size = sizes([g for g in found if g.case.kind != "tight"])
    if max(g.seeds for g in found) == 1:
        return f"One repeat ({size}): no interval between repeats is there."
    return (
        f"Brackets: 95 % intervals between the seeds ({size}), read in logarithms, since no distance is negative. The "
        "terms and their sum are means over the seeds; W2 is pooled as squares, with the root last."
    )


def _steps(found: Sequence[Group]) -> str:
    """What the smallest and the largest number of steps leave, for each method."""
    parts = []
    for name, words in (("euler", "Euler"), ("heun", "Heun"), ("sde", "Euler-Maruyama")):
        groups = sweep(found, name)
        if len(groups) > 1:
            first, last = (g.terms["discretization"].mean for g in (groups[0], groups[-1]))
            steps = f"{groups[0].case.steps} to {groups[-1].case.steps} steps"
            parts.append(f"{words} from {number(first)} to {number(last)} ({steps})")
    return f"More steps take the discretization term of {listed(parts)}." if parts else ""


def _starts(found: Sequence[Group]) -> str:
    """How the initial term answers to the noise that is left out."""
    starts = sweep(found, "start")
    if not starts:
        return ""
    base = [g for g in sweep(found, "error") if g.case.eps == starts[0].case.eps]
    parts = [f"{number(g.terms['initial'].mean)} (final beta {g.case.beta_max:g})" for g in (*starts, *base)]
    return f"More noise takes the initial term from {' to '.join(parts)}."


def _networks(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    groups = of_kind(found, "network")
    if not groups:
        return ""
    ranked = sorted(groups, key=lambda g: g.w2.mean)
    parts = [f"{weight(g.case.variant)}: {interval(g.w2)}, `pathwise` {interval(g.rung('pathwise'))}" for g in ranked]
    theory = next((g for g in ranked if g.case.variant == "g2I-over-e"), None)
    place = ""
    if theory is not None and len(ranked) > 1:
        rank = ranked.index(theory)
        place = (
            "The weight $g^2 I/e$, the best for a fixed error profile (W2B-8), is indeed the best here."
            if rank == 0
            else f"The weight $g^2 I/e$, the best for a fixed error profile (W2B-8), is number {rank + 1} of "
            f"{len(ranked)}: its profile is that of the network trained with weight σ², and training changes it."
        )
    return f"""## Score networks and the weight of the loss

W2 between the network's and the exact score's cloud, by the weight of the denoising loss: {"; ".join(parts)}. {place}
The denoising loss is the score-matching loss plus a constant that no score can lower (W2B-13): a bound built on it
does not vanish at the true score.

{placed(drawn, "network")}"""


def _sign(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    groups = [g for g in sweep(found, "sde") if all("sign" in row for row in g.rows)]
    if not groups:
        return ""
    gains = [f"{factor(sign_gain(g).mean)} with {g.case.steps} steps" for g in groups]
    both = [g for g in sweep(found, "error") if g.case.eps == groups[-1].case.eps]
    versus = (
        f" The same score error moves the ODE's law by {interval(both[0].w2)} and that of the SDE with "
        f"{groups[-1].case.steps} steps by {interval(groups[-1].w2)}; their bounds do not order them (W2B-9)."
        if both
        else ""
    )
    return f"""## The sign term and the SDE

Run with common noise, two SDE samplers obey an inequality of the same form as two ODE samplers (W2B-5), but with twice
the weight of the score error and with the one-sided constant of another drift in the exponent (W2B-4). Written by
optimal couplings it has one more term, which is never negative for the laws (W2B-6) and may be negative under the
coupling of the flows (W2B-7); between two clouds it is estimated, with an interval. Keeping it multiplies `local`,
which drops it, by {listed(gains)} (median; W2B-9).{versus}

{placed(drawn, "sign")}"""


def _memorize(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    distances = tables.memory(found)
    if not distances:
        return placed(drawn, "digits")
    groups = [g for g in found if all("nearest" in row for row in g.rows)]
    verdicts = " ".join(_copies(g) for g in groups)
    return f"""## Does a sampler memorize?

Median distance of a sample to its nearest training and held-out point. A copy has its nearest training point at less
than a third of the distance of the second (Yoon et al. 2023, under References). {verdicts}

{distances}
{placed(drawn, "digits")}"""


def _copies(group: Group) -> str:
    exact, model = (nearest(group, law, "copies").mean for law in ("exact", "network"))
    level = nearest(group, "held_out", "train").mean
    near = nearest(group, "network", "train").mean
    side = "nearer to" if near < level else "farther from"
    own, noise = nearest(group, "exact", "train").mean, group.terms.get("truncation")
    left = "" if noise is None else f" (the noise left at the stopping time is {number(noise.mean)} long)"
    return (
        f"{group.label[0].upper()}{group.label[1:]}: by this rule the exact score copies in {percent(exact)} of "
        f"its samples, which lie {number(own)} from the training points{left}; the model copies in "
        f"{percent(model)}, and its samples lie {side} the training points than held-out points do "
        f"({number(near)} against {number(level)})."
    )


def _calibration(found: Sequence[Group], drawn: Mapping[str, Drawn]) -> str:
    del drawn
    families = tables.calibration(found)
    if not families:
        return ""
    return f"""## Calibration

Gaussian data and a model that is exact for another mean (A) or another width (B), with random parameters: for the ODE
the published bound equals the W2 of the laws in both, for the SDE in A only (W2B-3); in B the form that keeps the sign
term (W2B-9) closes the gap.

{families}"""


def failed(found: Sequence[Group], claims: Sequence[Claim]) -> str:
    """What failed, what cannot be told, and what a reader must not take for more than it is."""
    items = [*_not_held(claims), *_open(found)]
    return "## What failed or stayed open\n\n" + "\n".join(f"- {item}" for item in items)


def _not_held(claims: Sequence[Claim]) -> Iterator[str]:
    for claim in claims:
        if claim.verdict != "ok":
            word = "Failed" if claim.verdict == "failed" else "Inconclusive"
            yield f"**{word}**: {claim.text}. {claim.detail}."
    if claims and all(claim.verdict == "ok" for claim in claims):
        yield f"No claim failed ({len(claims)} made)."


def _open(found: Sequence[Group]) -> Iterator[str]:
    few = left_out(found)
    if few:
        yield f"Claims about medians need {MANY} seeds; none is made for the {count(few, 'case')} with fewer."
    own = [g for g in distinct(found) if g.case.kind != "tight"]
    against_data = [g for g in own if g.target == "p_0"]
    below = [g for g in against_data if near_floor(g)]
    if below:
        yield (
            f"In {len(below)} of {len(against_data)} cases the measured W2 is below "
            "1.2 times the sampling floor, so n particles hardly tell the sampler from data: "
            f"{_labels(below)}."
        )
    sampled = [g for g in found if "global" in g.rungs and not g.certified("global")]
    if sampled:
        yield (
            f"The constant of `global` is sampled, hence a lower estimate, in {_labels(sampled)}: "
            "the published form is at least what is shown."
        )
    no_global = [g for g in found if "global" not in g.rungs]
    if no_global:
        yield f"No published form was computed for {_labels(no_global)}."
    wide = [g for g in found if g.rows[0]["d"] > 8]
    if wide:
        yield f"`propagator` is formed up to 8 dimensions only, so it is missing for {_labels(wide)}."
    yield from _sde_and_training(found)
    yield from _variation(found)


def _labels(chosen: Sequence[Group]) -> str:
    """Labels hold commas, so semicolons part them."""
    return "; ".join(g.label for g in chosen)


def _sde_and_training(found: Sequence[Group]) -> Iterator[str]:
    if any(g.case.sampler == "sde" for g in found):
        yield (
            "The discretization term of an SDE sampler is measured against four times its steps, so it misses the "
            "error of the finer run and is a lower estimate."
        )
    shared = [g for g in of_kind(found, *NETWORKS) if g.case.kind != "score"]
    if shared and max(g.seeds for g in shared) > 1:
        yield "Each network is trained once and shared by all seeds: intervals do not cover the training."


def _variation(found: Sequence[Group]) -> Iterator[str]:
    """The variation-of-constants bound where it was computed, with its quadrature range."""
    for g in found:
        if not all("variation" in row for row in g.rows):
            continue
        values = [row["variation"] for row in g.rows]
        middle = sorted(values, key=lambda e: e.mean)[len(values) // 2]
        top = resolution(g)
        note = (
            f"unresolved by its quadrature (median {number(middle.mean)}, upper end {number(middle.hi)}) and not used"
            if top > RESOLVED
            else f"{number(middle.mean)}, with a quadrature good to {percent(top - 1, 2)}"
        )
        yield f"The bound by variation of constants (W2B-12) on {g.label} is {note}."
