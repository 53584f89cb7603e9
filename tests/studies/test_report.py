"""The report of w2_bound: what it claims, what it says with cases missing, and that it draws."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from gflow.estimate import Estimate
from gflow.plot import theme
from gflow.study import Record
from gflow.study.figure import draw
from gflow.study.markdown import place_figures
from studies.w2_bound.report import report
from studies.w2_bound.report.claims import claims
from studies.w2_bound.report.numbers import factor, interval, median, number, pooled_w2
from studies.w2_bound.report.rows import groups
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
    assert all(word in opening for word in ("0.25 from fresh data", "2.5", "10^8.0", "score error 0.1", "digits"))
    assert "*monte carlo*" not in opening


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
    assert [factor(x) for x in (0.0, 2.5, 8.42, 421.9)] == ["1", "316", "10^8.4", "10^422"]
    assert [number(x) for x in (0.28312, 1234.5, 1.2e-9, -0.5, 0.0)] == ["0.283", "1234", "1.2e−9", "−0.5", "0"]
    assert interval(Estimate(0.5, -0.1, 1.1, 3, 0.95)) == "0.5\u00a0[0,\u00a01.1]"
    assert interval(exact(0.5)) == "0.5"


def assert_sound(made: Any) -> None:
    """No NaN in the text, every figure that is placed exists and draws, every section has words."""
    assert not re.search(r"\b(nan|NaN|None|inf)\b", made.markdown)
    place_figures(made.markdown, made.figures, lambda name, caption: f"{name}: {caption}")
    for make in made.figures.values():
        with theme("dark"):
            make().draw_without_rendering()
