"""The report of w2_bound: what it claims, what it says with cases missing, and that it draws."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gflow.estimate import Estimate
from gflow.plot import theme
from gflow.study import Record
from gflow.study.figure import draw
from gflow.study.markdown import place_figures
from studies.numbers import (
    factor,
    interval,
    median,
    number,
    percent,
    pooled_mean,
    pooled_w2,
    spread,
    tied,
)
from studies.repeats import of_kind
from studies.w2_bound.report import report
from studies.w2_bound.report.claims import claims
from studies.w2_bound.report.rows import distinct, groups
from tests.strategies import floats
from tests.studies.report_rows import SMALL, exact, run

USERS = {
    "data": dataclasses.replace(SMALL, data="cloud.npy"),
    "score": dataclasses.replace(SMALL, score="a:b", reference="a:c"),
    "field": dataclasses.replace(SMALL, field="a:b", reference="a:c"),
}


def verdicts(records: list[Record]) -> dict[str, str]:
    return {claim.text: claim.verdict for claim in claims(groups(SMALL, records))}


def changed(records: list[Record], case: str, change: Any, seeds: int = 6) -> list[Record]:
    """The records with ``change(row)`` merged into the rows of one case, for the first seeds."""

    def new(record: Record) -> Record:
        hit = record.case == case and record.seed < seeds
        return dataclasses.replace(record, row={**record.row, **change(record.row)}) if hit else record

    return [new(record) for record in records]


def rung(name: str, factor_of_w2: float) -> Any:
    return lambda row: {
        "ladder": {**row["ladder"], name: Estimate.bound(math.log(row["w2"].mean * factor_of_w2), bias="up")}
    }


def term(value: float) -> Any:
    return lambda row: {"budget": {**row["budget"], "total": exact(value)}}


def law(ratio: float) -> Any:
    return lambda row: {"law": {**row["law"], "ratio": ratio}}


def optimal(value: Estimate) -> Any:
    return lambda row: {"sign": {**row["sign"], "optimal": [*row["sign"]["optimal"][:2], value]}}


def biased(shift: float) -> Any:
    wrong = Estimate(shift, shift - 0.1, shift + 0.1, 1000, 0.95)
    return lambda row: {"dsm": [{**entry, "difference": wrong} for entry in row["dsm"]]}


def test_every_claim_holds_where_the_rows_are_sound():
    records, _ = run()
    found = verdicts(records)
    assert set(found.values()) == {"ok"}
    assert len(found) == 11


@pytest.mark.parametrize(
    ("words", "case", "change"),
    [
        ("tight families", "tight/ode-A", law(1 + 2e-8)),
        ("tight families", "tight/sde-A", law(1 - 2e-8)),
        ("ladder is ordered", "digits/ode", rung("pathwise", 31.0)),
        ("ladder is ordered", "mixture/network/sigma2", rung("global", 29.0)),
        ("bound the dual", "mixture/euler/10", rung("synchronous", 0.999)),
        ("bound the dual", "mixture/kwon/0.1", rung("global", 0.5)),
        ("sums to at least", "mixture/stop/0.1", term(0.249)),
        ("sign term", "mixture/sde/64", optimal(Estimate(-1.0, -1.2, -0.8, 64, 0.95))),
        ("score-matching", "mixture/network/uniform", biased(0.5)),
        ("5 times the exact", "mixture/error/0.1", rung("pathwise", 5.5)),
        ("4 times the exact", "mixture/error/0.01", rung("propagator", 4.5)),
        ("10 times below", "mixture/network/uniform", rung("global", 24.0)),
        ("2 times below", "digits/ode", rung("global", 4.0)),
        ("representable", "digits/sde", lambda row: {"ladder": {**row["ladder"], "local": Estimate.bound(900.0)}}),
    ],
)
def test_a_claim_fails_when_a_row_breaks_it(words, case, change):
    records, _ = run()
    found = verdicts(changed(records, case, change))
    assert next(verdict for text, verdict in found.items() if words in text) == "failed"


def test_one_bad_row_among_many_is_enough_for_the_claims_about_every_row():
    records, arrays = run()
    for words, change in (("bound the dual", rung("synchronous", 0.999)), ("sums to at least", term(0.2))):
        found = verdicts(changed(records, "mixture/heun/20", change, seeds=1))
        assert next(verdict for text, verdict in found.items() if words in text) == "failed"


def test_round_off_is_no_failure_and_a_sampled_global_constant_promises_nothing():
    records, arrays = run()
    records = changed(records, "mixture/error/0.1", rung("synchronous", 1 - 5e-7))
    records = changed(records, "mixture/network/sigma2", rung("global", 30.0))
    assert "failed" not in {v for text, v in verdicts(records).items() if "at least 10" not in text}


def test_a_median_whose_interval_straddles_the_threshold_is_inconclusive():
    records, arrays = run()
    records = changed(records, "mixture/error/0.1", rung("pathwise", 6.0), seeds=2)
    found = verdicts(records)
    assert next(verdict for text, verdict in found.items() if "5 times the exact" in text) == "inconclusive"


def test_few_seeds_make_no_claims_about_medians_and_the_text_says_so():
    records, arrays = run(seeds=(0, 1, 2, 3))
    made = report(SMALL, records, arrays)
    assert not any("median" in claim.text for claim in made.claims)
    assert "Claims about medians need 5 seeds" in made.markdown


def test_the_answer_is_three_sentences_with_numbers_of_the_rows():
    records, arrays = run(seeds=(0,))
    opening = report(SMALL, records, arrays).markdown.split("\n\n")[0]
    assert opening.count(". ") == 2
    words = ("at 0.25 on the mixture with score error 0.1", "2.5 times ($10^{8.0}$)", "(at least $10^{8.0}$) on digits")
    assert all(word in opening for word in words)


def at_distance(value: float) -> Any:
    return lambda row: {"budget": {**row["budget"], "measured": exact(value)}}


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (("mixture/error/0.1",), ""),
        (("mixture/error/0.1", "digits/ode"), ", most of them at that floor, where finite clouds hardly tell"),
        (("mixture/error/0.1", "mixture/network/uniform", "digits/ode"), ", all at that floor"),
    ],
)
def test_the_opening_says_where_most_distances_are_at_the_sampling_floor(low, words):
    records, arrays = run(seeds=(0,))
    for case in low:
        records = changed(records, case, at_distance(0.2))
    opening = report(SMALL, records, arrays).markdown.split("\n\n")[0]
    assert words in opening
    assert ("at that floor" in opening) == bool(words)
    assert opening.count(". ") == 2


def test_a_distance_above_the_floor_by_its_interval_is_not_at_it():
    records, arrays = run(seeds=(0,))
    for case in ("mixture/error/0.1", "mixture/network/uniform", "digits/ode"):
        records = changed(records, case, at_distance(0.2))
        records = changed(records, case, lambda _: {"sampling_floor": Estimate(0.18, 0.17, 0.19, 5, 0.95)})
    assert "at that floor" not in report(SMALL, records, arrays).markdown.split("\n\n")[0]


def test_the_distance_of_two_samples_is_not_called_an_error_of_the_sampler():
    """W2B-16: Monte Carlo belongs to the clouds, and without data nothing is said of them."""

    def noisy(row):
        terms = row["budget"]["terms"] | {"monte_carlo": exact(50.0)}
        return {"budget": row["budget"] | {"terms": terms, "total": exact(50.0 + row["budget"]["total"].mean)}}

    records, arrays = run(seeds=(0,))
    for name in {r.case for r in records}:
        records = changed(records, name, noisy)
    opening = report(SMALL, records, arrays).markdown.split("\n\n")[0]
    assert "largest own error is *model*" in opening
    assert re.search(r"the finite clouds make 99\s%", opening)
    records, arrays = run(USERS["field"], seeds=(0,))
    made = report(USERS["field"], records, arrays).markdown
    assert "the finite clouds make" not in made
    assert "hardly tell the sampler from data" not in made


@pytest.mark.parametrize(
    "kept", ["tight/", "mixture/error", "mixture/kwon", "mixture/sde", "mixture/network", "digits/sde"]
)
def test_the_report_works_with_some_cases_alone(kept):
    records, arrays = run(seeds=(3,))
    made = report(SMALL, [r for r in records if r.case.startswith(kept)], arrays)
    assert_sound(made)


@pytest.mark.parametrize("kind", list(USERS))
def test_the_report_works_for_the_cases_of_a_user(kind):
    records, arrays = run(USERS[kind], seeds=(0, 1))
    made = report(USERS[kind], records, arrays)
    assert_sound(made)
    assert f"your {kind if kind != 'data' else 'cloud'}" in made.markdown.split("\n\n")[0]


def test_seeds_may_be_missing_and_arrays_too():
    records, arrays = run()
    made = report(SMALL, records[::3], {})
    assert_sound(made)
    assert {"where", "samples", "digits"}.isdisjoint(made.figures)


def test_a_model_equal_to_its_reference_has_no_ratios_but_a_report():
    same = {
        "w2": exact(0.0),
        "ladder": {n: Estimate.bound(-math.inf) for n in ("synchronous", "pathwise", "local", "global")},
    }
    records, arrays = run(USERS["field"], seeds=(0,))
    made = report(USERS["field"], changed(records, "field", lambda _: same), arrays)
    assert_sound(made)
    assert "coincides" in made.markdown
    zero = lambda row: same | {"budget": row["budget"] | {"terms": row["budget"]["terms"] | {"model": exact(0.0)}}}  # noqa: E731
    flat = {key: {k: 0 * v for k, v in stored.items()} for key, stored in arrays.items()}
    made = report(USERS["field"], changed(records, "field", zero), flat)
    assert_sound(made)
    assert "where" not in made.figures
    opening = made.markdown.split("\n\n")[0]
    assert "exactly as the reference does: the model term of the budget is 0" in opening
    assert opening.count(". ") == 2
    assert not re.search(r"\|\s*↓\s*\|", made.markdown)


@pytest.fixture(scope="module")
def drawn() -> dict[str, dict[str, bytes]]:
    records, arrays = run(seeds=(0, 1))
    return {name: dict(draw(name, make)) for name, make in report(SMALL, records, arrays).figures.items()}


def test_every_figure_draws_in_both_themes_and_stays_small(drawn):
    assert set(drawn) == {"ladder", "ladder_sweeps", "budget", "where", "samples", "digits", "network", "sign"}
    for by_mode in drawn.values():
        assert by_mode["light"] != by_mode["dark"]
        assert all(len(svg) < 300_000 and b"nan" not in svg.lower().split(b"base64")[0] for svg in by_mode.values())


def test_a_report_drawn_again_has_the_same_bytes(drawn):
    records, arrays = run(seeds=(0, 1))
    first, second = (report(SMALL, records, arrays) for _ in range(2))
    assert (first.markdown, first.claims) == (second.markdown, second.claims)
    for name in ("ladder", "budget"):
        assert dict(draw(name, second.figures[name])) == drawn[name]


def test_squares_are_pooled_and_medians_carry_the_coverage_of_their_interval():
    assert pooled_w2([exact(3.0), exact(5.0)]).mean == pytest.approx(math.sqrt(17))
    assert (median([5.0, 1.0, 3.0, 2.0, 4.0]).lo, median([5.0, 1.0, 3.0, 2.0, 4.0]).level) == (1.0, 0.9375)
    ten = median([float(k) for k in range(10)])
    assert (ten.lo, ten.mean, ten.hi) == (1.0, 4.5, 8.0)
    assert ten.level == pytest.approx(1 - 2 * 11 / 1024)
    assert math.isinf(median([1.0, 2.0]).hi)


def test_numbers_read_as_a_person_would_write_them():
    assert [factor(x) for x in (0.0, 2.5, 8.42, 421.9)] == ["1", "316", "$10^{8.4}$", "$10^{422}$"]
    assert [number(x) for x in (0.28312, 1234.5, -0.5, 0.0)] == ["0.283", "1234", "−0.5", "0"]
    assert [number(x) for x in (1.2e-9, -9e-4, 1e6)] == [r"$1.2\cdot10^{-9}$", r"$-9\cdot10^{-4}$", "$10^{6}$"]
    assert tied(percent(0.588)) == "58.8\u00a0%"
    assert interval(Estimate(0.5, -0.1, 1.1, 3, 0.95)) == "0.5 [0,\u00a01.1]"
    assert interval(exact(0.5)) == interval(Estimate(0.5, 0.4999, 0.5001, 3, 0.95)) == "0.5"
    assert (spread("1", "2"), spread("0.264", "0.264")) == ("1 to 2", "0.264")


@given(st.lists(floats(1e-3, 1e3), min_size=2, max_size=8))
def test_the_interval_of_a_positive_mean_stays_positive_and_is_the_student_one_to_first_order(values):
    plain, found = Estimate.pool(map(exact, values)), pooled_mean(list(map(exact, values)))
    assert found.mean == plain.mean
    assert found.lo > 0
    half = (plain.hi - plain.mean) / plain.mean
    # exp(h) - 1 - h <= h^2 exp(h) / 2, above and below.
    room = half**2 * math.exp(half) / 2 * plain.mean * (1 + 1e-9) + 1e-9 * plain.mean
    assert plain.hi - 1e-9 * plain.mean <= found.hi <= plain.hi + room
    assert plain.lo - 1e-9 * plain.mean <= found.lo <= plain.lo + room


def test_the_terms_of_a_budget_add_up_to_its_sum_also_where_seeds_differ_by_decades():
    def spread_out(row: Any) -> dict[str, Any]:
        terms = {**row["budget"]["terms"], "model": Estimate.bound(math.log(row["w2"].mean ** 20 * 1e18), bias="up")}
        total = Estimate.bound(math.log(sum(e.mean for e in terms.values())), bias="up")
        return {"budget": {**row["budget"], "terms": terms, "total": total}}

    records, _ = run()
    group = groups(SMALL, changed(records, "mixture/euler/10", spread_out))
    found = next(g for g in group if g.case.name == "mixture/euler/10")
    assert found.terms["model"].hi / found.terms["model"].lo > 3
    assert sum(e.mean for e in found.terms.values()) == pytest.approx(found.total.mean, rel=1e-12)


def test_a_case_that_two_sweeps_share_has_one_ladder_and_one_vote():
    crossed = dataclasses.replace(SMALL, eps=(0.05, 0.1), steps=(20, 40))
    records, arrays = run(crossed)
    found = groups(crossed, records)
    twins = {"mixture/error/0.05", "mixture/heun/40"}
    assert twins - {g.case.name for g in distinct(found)} == {"mixture/heun/40"}
    assert len(distinct(found)) == len(found) - 1
    made = report(crossed, records, arrays).markdown
    assert "share a ladder, shown once: 4 cases with *mixture, score error 0.05*." in made
    assert f"of {len(found) - len(of_kind(found, 'tight')) - 1} cases; sum over measured" in made
    assert "\n| mixture, Heun, 20 steps | ODE, Heun, 20 |" in made  # in the budget, and in no ladder
    assert "\n| mixture, Heun, 20 steps | ODE |" not in made


def test_tables_hold_the_bounds_themselves_the_terms_and_the_slack_with_intervals():
    records, arrays = run()
    made = report(SMALL, records, arrays).markdown
    g = next(g for g in groups(SMALL, records) if g.case.name == "mixture/error/0.1")
    lines = [line for line in made.splitlines() if line.startswith(f"| {g.label} | ODE")]
    ratios, values, slack, terms = lines
    assert ratios.endswith("| 2.5 | 30 | $10^{8.0}$ |")
    assert interval(g.rung("pathwise")) in values
    assert "0.282 [0.259,\u00a00.308]" in values
    assert interval(g.terms["model"]) in terms
    assert "[" in interval(g.terms["model"])
    assert "| 0.1 |" in slack  # the same for every seed: no interval to show


def test_slack_that_differs_between_seeds_carries_the_interval_of_its_median():
    records, arrays = run()
    records = changed(
        records, "mixture/error/0.1", lambda row: {"slack": {**row["slack"], "alignment": exact(row["w2"].mean ** 2)}}
    )
    line = next(li for li in report(SMALL, records, arrays).markdown.splitlines() if "0.11 [0.1,\u00a00.12]" in li)
    assert line.startswith("| mixture, score error 0.1 | ODE")


def test_what_pathwise_reaches_on_images_stands_beside_the_bound_that_reaches_more():
    records, arrays = run()
    records = changed(records, "digits/ode", rung("pathwise", 30 / 1.48))
    records = changed(records, "digits/ode", rung("global", 30.0))
    records = changed(records, "digits/ode", lambda row: {"variation": Estimate(*[row["w2"].mean * 15.0] * 3)})
    made = report(SMALL, records, arrays).markdown
    assert "On *digits, ODE* `pathwise` is only 1.48 times below the published form" in made
    assert "(W2B-12), which is no rung, is 2 times below it." in made
    unresolved = changed(records, "digits/ode", lambda row: {"variation": Estimate(1.0, 1.0, 1.6)})
    assert "1.48 times below the published form.\n" in report(SMALL, unresolved, arrays).markdown
    assert "`synchronous`/W2 1.1, `pathwise`/`synchronous` 2.27 and published form/W2 $10^{42" in made


def test_the_sign_term_is_weighed_against_the_local_rung_that_drops_it():
    records, arrays = run()
    assert "Keeping it multiplies `local`, which drops it, by 0.8 with 32 steps" in " ".join(
        report(SMALL, records, arrays).markdown.split()
    )


def test_captions_tell_what_one_seed_and_few_cases_can_show():
    lone = dataclasses.replace(SMALL, steps=(20,), sde_steps=(32,))
    records, arrays = run(lone, seeds=(0,))
    clouds = ("reference", "sampled")
    few = {key: {n: c[:8] if n in clouds else c for n, c in columns.items()} for key, columns in arrays.items()}
    made = " ".join(report(lone, records, few).markdown.split())
    assert "slope" not in made
    assert "8 images a row" in made
    assert "bands and bars" not in made
    assert "ends nearest to the reference (W2B-8)" in made  # the three networks are equal here
    assert "it is 40 under the synchronous and 40 [10, 70] under the optimal coupling" in made


def assert_sound(made: Any) -> None:
    """No NaN, raw power, index or id in the text, every figure that is placed exists and draws."""
    text = "\n".join([made.markdown, *(f"{claim.text} {claim.detail}" for claim in made.claims)])
    assert not re.search(r"\b(nan|NaN|None|inf)\b", text)
    words = re.sub(r"\$[^$\n]+\$", "", text)
    assert not re.search(r"\^|p_|\de[−-]?\d|sigma2|/(ode|sde)\b|\d %", words)
    place_figures(made.markdown, made.figures, lambda name, caption: f"{name}: {caption}")
    for make in made.figures.values():
        with theme("dark"):
            make().draw_without_rendering()
