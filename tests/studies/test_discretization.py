"""The study of discretization: small cases from the command line to the report, and claims that can fail."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from gflow.estimate import Estimate
from gflow.study import UsageError
from gflow.study.store import Store
from studies.discretization import STUDY
from studies.discretization.config import Config, cases, validate
from studies.discretization.report import report
from studies.discretization.report.claims import claims
from studies.discretization.report.rows import groups

CASES = (
    "gaussian/heun",
    "critic/tracking-midpoint",
    "critic/frozen-midpoint",
    "critic/8-steps",
    "game/joint-heun",
    "game/frozen-heun",
    "rule/euler",
    "minibatch/same-draw",
    "minibatch/fresh-draws",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Rows of a few cheap cases, and the exit code of their run."""
    folder = tmp_path_factory.mktemp("discretization") / "run"
    chosen = [flag for case in CASES for flag in ("--case", case)]
    code = STUDY.main(["--preset", "smoke", "--n", "8", *chosen, "--out", str(folder), "--workers", "1"])
    return code, folder


@pytest.fixture(scope="module")
def records(run):
    return Store(run[1]).records(lambda record: record.case)


def verdicts(records):
    found = groups(STUDY.presets["smoke"], records)
    return {claim.text: claim.verdict for claim in claims(found)}


def test_the_run_ends_with_its_report_and_all_claims_hold(run, records):
    code, folder = run
    assert code == 0
    assert {record.case for record in records} == set(CASES)
    text = (folder / "report.md").read_text()
    assert re.match(r".*\d schemes of \d+ show the order of their name", text, re.DOTALL)
    assert "published schemes for games and critics do not" in text
    assert "NaN" not in text
    assert set(verdicts(records).values()) == {"ok"}


def test_int_3_code_1_frozen_schemes_have_order_1_and_joint_ones_2(records):
    orders = {r.case: r.row["order"].mean for r in records}
    assert orders["critic/tracking-midpoint"] == pytest.approx(2, abs=0.05)
    assert orders["critic/frozen-midpoint"] == pytest.approx(1, abs=0.05)
    assert orders["critic/8-steps"] == pytest.approx(1, abs=0.1)
    assert orders["game/joint-heun"] == pytest.approx(2, abs=0.05)
    assert orders["game/frozen-heun"] == pytest.approx(1, abs=0.05)


def test_int_5_fresh_draws_within_a_step_cost_the_error_estimate_an_order(records):
    orders = {r.case: r.row["order"].mean for r in records}
    assert orders["minibatch/same-draw"] == pytest.approx(2, abs=0.2)
    assert orders["minibatch/fresh-draws"] == pytest.approx(1, abs=0.2)


def tampered(records, case, change):
    """The records with one row changed by ``change`` on a copy."""
    made = []
    for record in records:
        row = dict(record.row)
        if record.case == case:
            change(row)
        made.append(replace(record, row=row))
    return made


def test_a_rigorous_bound_below_the_distance_fails_its_claim(records):
    def lower(row):
        certificate = dict(row["certificate"])
        certificate["rigorous"] = [Estimate.exact(0.5 * w.lo) for w in certificate["w2"]]
        row["certificate"] = certificate

    found = verdicts(tampered(records, "gaussian/heun", lower))
    assert [v for text, v in found.items() if "rigorous" in text] == ["failed"]


@pytest.mark.parametrize(("seeds", "verdict"), [(1, "inconclusive"), (2, "failed")])
def test_an_order_away_from_theory_fails_its_claim_unless_one_seed_alone_says_so(records, seeds, verdict):
    def wrong(row):
        row["order"] = Estimate(1.8, 1.79, 1.81, 1, 0.95)
        row["verdict"] = "REFUTED"

    changed = tampered(records, "game/joint-heun", wrong)
    found = verdicts([replace(record, seed=seed) for record in changed for seed in range(seeds)])
    assert [v for text, v in found.items() if "Observed orders" in text] == [verdict]


def test_a_misnamed_scheme_that_kept_its_order_fails_its_claim(records):
    def kept(row):
        row["order"] = Estimate(2.0, 1.99, 2.01, 1, 0.95)

    found = verdicts(tampered(records, "critic/frozen-midpoint", kept))
    assert [v for text, v in found.items() if "lose the order" in text] == ["failed"]


@pytest.mark.parametrize(("verdict", "claimed"), [("REFUTED", ["failed"]), ("PRE_ASYMPTOTIC", [])])
def test_w2b_20_the_order_of_a_form_counts_where_every_seed_decides_it(records, verdict, claimed):
    def off(row, verdict="REFUTED"):
        entry = {"order": Estimate(2.5, 2.4, 2.6, 1, 0.95), "verdict": verdict}
        row["certificate"] = {**row["certificate"], "orders": {"pathwise": entry}}

    first = [r for r in tampered(records, "gaussian/heun", off) if r.case == "gaussian/heun"]
    second = tampered(first, "gaussian/heun", lambda row: off(row, verdict))
    found = verdicts([*first, *(replace(r, seed=1) for r in second)])
    assert [v for text, v in found.items() if "certificate's forms" in text] == claimed


def test_the_report_is_drawn_from_any_subset_of_the_rows(records, run):
    arrays = Store(run[1]).arrays()
    for record in records:
        made = report(STUDY.presets["smoke"], [record], arrays)
        assert made.markdown
        for name, figure in made.figures.items():
            assert figure() is not None, name
    assert "No row" in report(STUDY.presets["smoke"], [], {}).markdown


def test_cases_have_unique_names_and_rows_are_json(run):
    names = [case.name for case in cases(Config())]
    assert len(set(names)) == len(names)
    for line in (run[1] / "rows.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 4}, "--n: expected at least 8"),
        ({"steps": (20, 40, 80)}, "--steps: expected at least 5 increasing"),
        ({"steps": (20, 40, 30, 80, 160)}, "--steps: expected at least 5 increasing"),
        ({"steps": (10, 20, 40, 80, 160)}, "--steps: expected multiples of 4"),
        ({"tolerances": (0.0,)}, "--tolerances: expected numbers in"),
        ({"train_steps": 0}, "--train-steps: expected at least 1"),
    ],
)
def test_bad_settings_are_refused_by_their_flag(changes, message):
    with pytest.raises(UsageError, match=message):
        validate(replace(Config(), **changes), "float64")
    with pytest.raises(UsageError, match="--dtype: orders are measured in float64"):
        validate(Config(), "float32")


def test_one_scheme_is_spoken_of_in_the_singular(records):
    heun = [record for record in records if record.case == "gaussian/heun"]
    text = report(STUDY.presets["smoke"], heun, {}).markdown
    assert "1 scheme of 1 shows the order of its name" in text
