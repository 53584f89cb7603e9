"""The study of Wasserstein flows: estimated flows and MonoFlow's table, from command line to claims that can fail."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from gflow.estimate import Estimate
from gflow.study import UsageError
from gflow.study.store import Store
from studies.wasserstein_flow import STUDY
from studies.wasserstein_flow.config import ESTIMATORS, Config, cases, validate
from studies.wasserstein_flow.report import report
from studies.wasserstein_flow.report.race import NAMES
from studies.wasserstein_flow.report.rows import groups

CASES = (
    "race/gaussian/kde",
    "race/gaussian/critic",
    "race/gaussian/svgd",
    "race/gaussian/sinkhorn, two batches",
    "race/gaussian/langevin",
    "race/gaussian/tracked critic",
    "race/modes/jko critic",
    "race/digits/sliced",
    "table/held/Rkl",
    "table/critic/Rkl",
)
SMALL = ("--n", "40", "--probes", "12", "--critic-steps", "20", "--width", "8", "--table-share", "0.2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Rows of a few cheap cases, and the exit code of their run."""
    folder = tmp_path_factory.mktemp("wasserstein_flow") / "run"
    chosen = [flag for case in CASES for flag in ("--case", case)]
    code = STUDY.main(["--preset", "smoke", *SMALL, *chosen, "--out", str(folder), "--workers", "1"])
    return code, folder


@pytest.fixture(scope="module")
def records(run):
    return Store(run[1]).records(lambda record: record.case)


@pytest.fixture(scope="module")
def arrays(run):
    return Store(run[1]).arrays()


def row(records, case):
    return next(record.row for record in records if record.case == case)


def verdicts(records):
    return {claim.text: claim.verdict for claim in report(STUDY.presets["smoke"], records, {}).claims}


def test_the_run_ends_with_its_report(run, records):
    code, folder = run
    assert code in (0, 3)  # critics' rows are judged from 20 runs on
    assert {record.case for record in records} == set(CASES)
    assert all(record.failed is None for record in records)
    text = (folder / "report.md").read_text()
    assert re.search(r"After \d+ evaluations of a velocity from samples", text)
    assert "NaN" not in text
    for line in (folder / "rows.jsonl").read_text().splitlines():
        json.loads(line)


def test_all_estimators_of_a_target_start_from_one_cloud_and_see_one_floor(records):
    chosen = [record.row for record in records if record.case.startswith("race/gaussian")]
    assert len({found["floor"] for found in chosen}) == 1
    assert len({found["w2"][0].mean for found in chosen}) == 1


@pytest.mark.parametrize("name", ["kde", "svgd", "langevin"])
def test_estimated_flows_approach_the_data(records, name):
    w2 = [w.mean for w in row(records, f"race/gaussian/{name}")["w2"]]
    assert w2[-1] < 0.7 * w2[0]


def test_w2b_21_the_budget_bounds_what_was_measured_and_knows_the_velocitys_error(records):
    for name in ("kde", "critic"):
        budget = row(records, f"race/gaussian/{name}")["budget"]
        assert sum(term.mean for term in budget["terms"].values()) >= budget["measured"].mean
    assert row(records, "race/gaussian/svgd")["budget"] is None  # its velocity is not meant to be that of KL
    relative = row(records, "race/gaussian/kde")["error"]["relative"]
    assert 0.0 < relative[0] < 1.0  # better than no velocity at all


def test_the_halves_of_two_batches_drift_apart(records):
    w2 = [w.mean for w in row(records, "race/gaussian/sinkhorn, two batches")["w2"]]
    assert w2[-1] > 1.5 * min(w2)


def changed(records, case, change):
    """The records with one row changed by ``change`` on a copy."""
    made = []
    for record in records:
        found = dict(record.row)
        if record.case == case:
            change(found)
        made.append(replace(record, row=found))
    return made


def test_a_budget_below_the_distance_fails_its_claim(records):
    def lower(found):
        found["budget"] = {**found["budget"], "measured": Estimate.exact(1e9)}

    assert set(verdicts(records).values()) <= {"ok", "inconclusive"}
    after = verdicts(changed(records, "race/gaussian/kde", lower))
    assert [v for text, v in after.items() if "W2B-21" in text and "add up" in text] == ["failed"]


def test_a_row_of_the_table_that_does_the_opposite_fails_its_claim(records):
    def flip(found):
        found["w2"] = [3.0]

    after = verdicts(changed(records, "table/held/Rkl", flip))
    assert [v for text, v in after.items() if "Every row of MonoFlow's table" in text] == ["failed"]


def test_published_numbers_that_are_not_reproduced_fail_their_claim(records):
    def other(found):
        found["published"] = {"mean": [0, 0], "covariance": [1, 0.8, 0.9], "w2": 0.01, "equal": False}

    after = verdicts(changed(records, "table/held/Rkl", other))
    assert [v for text, v in after.items() if "published draws" in text] == ["failed"]


@pytest.mark.parametrize(("w2", "verdict"), [(0.02, "ok"), (0.04, "failed")])
def test_a_critics_row_is_judged_from_twenty_runs_on(records, w2, verdict):
    def twenty(found):
        found["w2"] = [w2] * 20

    after = verdicts(changed(records, "table/critic/Rkl", twenty))
    assert [v for text, v in after.items() if "With a critic" in text] == [verdict]
    assert [v for text, v in verdicts(records).items() if "With a critic" in text] == ["inconclusive"]


def test_the_report_is_drawn_from_any_subset_of_the_rows(records, arrays):
    for record in records:
        made = report(STUDY.presets["smoke"], [record], arrays)
        assert made.markdown
        for name, figure in made.figures.items():
            assert figure() is not None, name
    assert "No row" in report(STUDY.presets["smoke"], [], {}).markdown


def test_cases_have_unique_names_and_estimators_have_words():
    names = [case.name for case in cases(Config())]
    assert len(set(names)) == len(names)
    assert {name for each in ESTIMATORS.values() for name in each} == set(NAMES)
    assert groups(Config(), []) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 10}, "--n: expected at least 20"),
        ({"n": 21}, "--n: expected a multiple of 2"),
        ({"steps": 12}, "--steps: expected a multiple of 8"),
        ({"table_share": 0.0}, "--table-seeds, --table-share: expected"),
        ({"errors": ()}, "--errors: expected increasing numbers above 0"),
        ({"stiffness": (100.0, 10.0)}, "--stiffness: expected increasing numbers above 1"),
        ({"stiff_steps": (10, 20)}, "--stiff-steps: expected at least 4 numbers for an order, got 10 20"),
        ({"shift": math.nan}, "--shift: expected a number"),
    ],
)
def test_bad_settings_are_refused_by_their_flag(changes, message):
    with pytest.raises(UsageError, match=message):
        validate(replace(Config(), **changes), "float64")
    with pytest.raises(UsageError, match="--dtype"):
        validate(Config(), "float32")
