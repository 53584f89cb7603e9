"""The study of density ratios: small cases from the command line to the report, and claims that can fail."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.estimate import Estimate
from gflow.plot import theme
from gflow.study import UsageError
from gflow.study.store import Store
from studies.density_ratio import STUDY
from studies.density_ratio.config import Case, Config, cases, validate
from studies.density_ratio.measure import exact_rates
from studies.density_ratio.problems import pair
from studies.density_ratio.report import report
from studies.density_ratio.report.claims import claims
from studies.density_ratio.report.rows import groups
from studies.numbers import MANY

CASES = (
    "base",
    "size/critic-400",
    "size/kde-400",
    "size/kde-best-400",
    "dimension/critic-8",
    "dimension/kde-8",
    "overlap/critic-1",
    "overlap/critic-8",
    "divergence/least-squares",
    "penalty/r1-1",
    "penalty/wgan-gp",
    "penalty/spectral",
    "width/8",
    "digits/ulsif-0.4",
)
SMALL = STUDY.presets["smoke"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Rows of a few cheap cases, and the exit code of their run."""
    folder = tmp_path_factory.mktemp("density_ratio") / "run"
    chosen = [flag for case in CASES for flag in ("--case", case)]
    code = STUDY.main(["--preset", "smoke", *chosen, "--out", str(folder), "--workers", "1"])
    return code, folder


@pytest.fixture(scope="module")
def records(run):
    return Store(run[1]).records(lambda record: record.case)


def repeated(records, seeds=MANY):
    """The same rows under several seeds: a run without spread."""
    return [replace(record, seed=seed) for record in records for seed in range(seeds)]


def changed(records, case, **values):
    """The records with values of one case's rows replaced."""
    return [replace(r, row={**r.row, **values}) if r.case == case else r for r in records]


def verdict(records, words):
    """The verdict of the claim that holds the words."""
    (found,) = [claim.verdict for claim in claims(groups(SMALL, records)) if words in claim.text]
    return found


def row(records, case):
    return next(r.row for r in records if r.case == case)


def test_the_run_ends_with_its_report_and_no_claim_fails(run, records):
    code, folder = run
    assert code == 3  # comparisons are made from many seeds
    assert {r.case for r in records} >= {"base/critic", "base/kde", "base/ulsif", "digits/ulsif-0.4"}
    text = (folder / "report.md").read_text()
    assert re.search(r"a plain logistic critic knows ∇ log r up to an error of [\d.]+\s%", text)
    assert "A vanishing gradient is two things" in text
    assert "NaN" not in text
    assert all(claim.verdict != "failed" for claim in claims(groups(SMALL, records)))


def test_rows_of_one_problem_share_their_clouds_and_critics_without_log_ratio_have_none(records):
    planar = ("base/critic", "base/kde", "penalty/r1-1", "width/8", "penalty/wgan-gp")
    assert len({row(records, case)["size"] for case in planar}) == 1
    wasserstein = row(records, "penalty/wgan-gp")
    assert "gradient" not in wasserstein
    assert -1.0 <= wasserstein["cosine"] <= 1.0


def test_ratio_2_a_risk_that_is_not_its_excess_fails_its_claim(records):
    assert verdict(records, "(RATIO-2)") == "ok"
    off = Estimate(0.5, 0.49, 0.51, n=200, level=0.95, bias="none")
    assert verdict(changed(records, "base/kde", excess_measured=off), "(RATIO-2)") == "failed"


def test_ratio_6_equal_gradients_at_unequal_risks_fail_the_claim(records):
    for r in records:
        if "gradient" in r.row:
            records = changed(records, r.case, gradient=1.0)
    assert verdict(repeated(records), "(RATIO-6)") == "failed"
    apart = changed(records, "base/kde", gradient=9.0, excess=1e-3)
    assert verdict(repeated(apart), "(RATIO-6)") == "ok"
    assert verdict(repeated(apart, MANY - 1), "(RATIO-6)") == "inconclusive"


@pytest.mark.parametrize(("error", "expected"), [(0.1, "ok"), (5.0, "failed")])
def test_a_critic_worse_than_kernel_densities_fails_its_claim(records, error, expected):
    found = changed(records, "size/critic-400", gradient=error)
    assert verdict(repeated(found), "At the most points") == expected


@pytest.mark.parametrize(("kernels", "expected"), [(1.5, "ok"), (0.9, "failed")])
def test_kernel_densities_that_find_the_hidden_ratio_fail_the_claim(records, kernels, expected):
    found = changed(changed(records, "dimension/kde-8", relative=kernels), "dimension/critic-8", relative=0.5)
    assert verdict(repeated(found), "hidden in d dimensions") == expected


def test_ratio_7_a_gradient_that_vanishes_fails_its_claim(records):
    assert verdict(records, "(RATIO-7)") == "ok"
    assert verdict(changed(records, "overlap/critic-8", size=1.0), "(RATIO-7)") == "failed"
    kept = {"saturating": 0.5, "non_saturating": 0.5}
    assert verdict(changed(records, "overlap/critic-8", exact_rates=kept), "(RATIO-7)") == "failed"
    near = [r for r in records if r.case != "overlap/critic-8"]
    assert "(RATIO-7)" not in "".join(claim.text for claim in claims(groups(SMALL, near)))


def test_a_critic_that_keeps_the_gradient_far_away_fails_its_claim(records):
    lost = changed(records, "overlap/critic-8", relative=0.9, excess=1e-4)
    assert verdict(repeated(lost), "no longer meet") == "ok"
    assert verdict(repeated(changed(lost, "overlap/critic-8", relative=0.2)), "no longer meet") == "failed"


def test_ratio_5_a_wasserstein_critic_with_the_right_direction_fails_its_claim(records):
    base = changed(records, "base/critic", cosine=0.9)
    assert verdict(repeated(changed(base, "penalty/wgan-gp", cosine=0.2)), "(RATIO-5)") == "ok"
    assert verdict(repeated(changed(base, "penalty/wgan-gp", cosine=0.95)), "(RATIO-5)") == "failed"


def test_a_critic_steeper_than_its_bound_fails_its_claim(records):
    assert verdict(records, "steeper") == "ok"
    assert verdict(changed(records, "base/critic", lipschitz={"low": 3.0, "high": 2.0}), "steeper") == "failed"


@given(m=st.floats(0.0, 8.0))
@settings(max_examples=30)
def test_ratio_7_both_rates_add_up_to_1_and_the_saturating_one_falls(m):
    rates = exact_rates(m)
    assert sum(rates.values()) == pytest.approx(1.0, abs=1e-10)
    # E_q sigma(D) <= E_q e^{D/2}/2 = e^{-m^2/8}/2, since sigma(d) <= e^{d/2}/2.
    assert rates["saturating"] <= 0.5 * math.exp(-(m**2) / 8) + 1e-10


@given(dim=st.integers(2, 12), seed=st.integers(0, 2**31))
@settings(max_examples=10)
def test_the_hidden_ratio_depends_on_one_coordinate_in_every_dimension(dim, seed):
    exact = pair(Case("", "dimension", "critic", 10, 8, problem="hidden", dim=dim), torch.device("cpu"))
    x = exact.q.sample(20, torch.Generator().manual_seed(seed))
    gradient = exact.gradient(x)
    assert torch.linalg.matrix_rank(gradient, rtol=1e-9) == 1
    line = pair(Case("", "dimension", "critic", 10, 8, problem="hidden", dim=1), torch.device("cpu"))
    axis = torch.linalg.svd(gradient).Vh[0]
    # The axis has a sign: the ratio along it is that of d = 1, read from either side.
    values = [line(sign * (x @ axis)[:, None]) for sign in (1.0, -1.0)]
    assert min(float((exact(x) - each).abs().max()) for each in values) < 1e-9


def test_the_report_is_drawn_from_any_subset_of_the_rows(records, run):
    arrays = Store(run[1]).arrays()
    for record in records:
        made = report(SMALL, [record], arrays)
        assert made.markdown
        for name, figure in made.figures.items():
            with theme("light"):
                assert figure() is not None, name
    assert "No row" in report(SMALL, [], {}).markdown


def test_the_report_of_all_rows_has_every_figure(records, run):
    made = report(SMALL, records, Store(run[1]).arrays())
    assert set(made.figures) == {"fields", "sizes", "dimensions", "methods", "pairs", "overlap"}
    for name in made.figures:
        assert f"figure:{name}" in made.markdown


@pytest.mark.parametrize("preset", STUDY.presets)
def test_cases_have_unique_names_and_a_cost(preset):
    found = cases(STUDY.presets[preset])
    assert len({case.name for case in found}) == len(found)
    for case in found:
        seconds, size = STUDY.estimate(STUDY.presets[preset], case)
        assert seconds > 0 < size


def test_rows_are_json(run):
    for line in (run[1] / "rows.jsonl").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 99}, "--n: expected at least 100, got 99"),
        ({"n_digits": 10}, "--n-digits: expected at least 100, got 10"),
        ({"queries": 1}, "--queries: expected at least 100"),
        ({"steps": 0}, "--steps: expected at least 1"),
        ({"sizes": (50, 500)}, "--sizes: expected increasing numbers of at least 100, got 50 500"),
        ({"sizes": (250, 2000)}, "--sizes: 2000 is the value of the base case"),
        ({"dims": ()}, "--dims: expected increasing numbers of at least 1, got none"),
        ({"shifts": (2.0, 1.0)}, "--shifts: expected increasing numbers above 0, got 2 1"),
        ({"weights": (0.0, 1.0)}, "--weights: expected increasing numbers above 0, got 0 1"),
        ({"widths": (16, 64)}, "--widths: 64 is the value of the base case"),
        ({"noises": (float("nan"),)}, "--noises: expected increasing numbers above 0, got nan"),
    ],
)
def test_bad_settings_are_refused_by_their_flag(changes, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        validate(replace(Config(), **changes), "float32")
