"""The parts of wasserstein_flow on rates, budgets, families and stiff steps: cheap cases, and claims that can fail."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.integrate import quad

from gflow.fields import FiniteVolumeFlow, FokkerPlanckFlow
from gflow.ratio import LOGIT
from gflow.study.store import Store
from studies.wasserstein_flow import STUDY
from studies.wasserstein_flow.budget import Perturbed
from studies.wasserstein_flow.config import LOSSES, cases, cost
from studies.wasserstein_flow.line import box, laws, normal
from studies.wasserstein_flow.rates import LOGIT_AND_SATURATING, _gap_rate, named
from studies.wasserstein_flow.report import budget, family, modes, rates, report, stiff
from studies.wasserstein_flow.report.rows import groups
from tests.strategies import F64

PARTS = (rates, modes, budget, family, stiff)
KINDS = ("decay", "modes", "budget", "family", "stiff")
CASES = (
    "decay/logit",
    "decay/LSGAN to 1",
    "decay/LSGAN to 1/2",
    "decay/logit + saturating",
    "modes/2",
    "modes/4",
    "budget/affine",
    "family/logit",
    "family/saturating",
    "stiff/100",
)
SETTINGS = STUDY.presets["smoke"]
# What torch itself does when it first sets up forward-mode derivatives.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The exit code and the folder of a run of a few cheap cases."""
    folder = tmp_path_factory.mktemp("wasserstein_flow") / "run"
    chosen = [flag for case in CASES for flag in ("--case", case)]
    fewer = ["--stiff-steps", "8", "16", "32", "64"]
    code = STUDY.main(["--preset", "smoke", *fewer, *chosen, "--out", str(folder), "--workers", "1"])
    return code, folder


@pytest.fixture(scope="module")
def records(run):
    return Store(run[1]).records(lambda record: record.case)


def verdicts(records):
    found = groups(SETTINGS, records)
    return {claim.text: claim.verdict for part in PARTS for claim in part.claims(found)}


def tampered(records, case, **changed):
    """The records with some values of one row replaced, each by a function of what was there."""
    return [
        replace(r, row={**r.row, **{k: change(r.row[k]) for k, change in changed.items()}}) if r.case == case else r
        for r in records
    ]


def test_the_run_ends_with_its_report_and_all_claims_hold(run, records):
    code, folder = run
    assert code == 0
    assert {record.case for record in records} == set(CASES)
    assert set(verdicts(records).values()) == {"ok"}
    text = (folder / "report.md").read_text()
    assert "KL fell at every time for 3 of 3 monotone losses" in text
    assert "nan" not in text.lower()


def test_a_report_of_few_rows_says_what_they_allow(records):
    for kept in ([r for r in records if r.case == case] for case in CASES):
        assert report(SETTINGS, kept, {}).markdown.strip()


def test_mono_4_the_numbers_of_the_ledger(records):
    row = next(r.row for r in records if r.case == "family/saturating")
    # Six digits are printed there; the cells add an error of order 4, 1e-5 at 120 cells.
    assert row["exact"] == pytest.approx([0.397973, 0.397973, 0.0897], abs=5e-5)
    assert row["cells"] == pytest.approx(row["exact"], abs=5e-5)


@pytest.mark.parametrize(
    ("case", "changed", "words"),
    [
        ("decay/logit", {"identity": lambda _: 1e-3}, "slope of KL"),
        ("decay/logit", {"falls": lambda _: False}, "fall at every time"),
        ("decay/LSGAN to 1", {"own_falls": lambda _: False}, "fall at every time"),
        ("decay/LSGAN to 1", {"bound_over_kl": lambda _: 0.99}, "never exceeds KL(0)"),
        ("decay/logit", {"w2_bound_over_w2": lambda _: 0.99}, "For h = id"),
        ("decay/LSGAN to 1/2", {"rise": lambda _: 0.0}, "raises KL"),
        ("decay/LSGAN to 1/2", {"reach": lambda r: [r[1], r[0]]}, "ill-posed"),
        ("modes/4", {"rate": lambda _: 1.0}, "Between modes"),
        ("budget/affine", {"bound": lambda b: [[0.1 * x for x in line] for line in b]}, "never exceeds the bound"),
        ("budget/affine", {"w2": lambda w: [w[0], [2.0 * x for x in w[1]], *w[2:]]}, "proportional"),
        ("budget/affine", {"w2": lambda w: [[*x[:-1], 2.0 * x[-1]] for x in w]}, "forgotten"),
        ("family/saturating", {"cells": lambda c: [c[0], c[1], -c[2]]}, "start at the rates"),
        ("family/saturating", {"skewness": lambda _: 0.0}, "leaves the Gaussian family"),
        ("family/logit", {"skewness": lambda _: 0.2}, "leaves the Gaussian family"),
        ("stiff/100", {"kl_falls": lambda f: {**f, "jko": [True, False, True, True]}}, "lower KL"),
        ("stiff/100", {"jko_order": lambda e: replace(e, mean=1.5, hi=2.0)}, "have order 1"),
        ("stiff/100", {"stable": lambda s: {**s, "mean": 0.01}}, "largest stable step"),
    ],
)
def test_a_row_that_contradicts_a_claim_fails_it(records, case, changed, words):
    found = verdicts(tampered(records, case, **changed))
    assert [verdict for text, verdict in found.items() if words in text] == ["failed"]


def test_wgf_3_a_rate_off_the_formula_leaves_the_claim_open(records):
    found = verdicts(tampered(records, "modes/4", rate=lambda r: 1.5 * r))
    assert [verdict for text, verdict in found.items() if "Between modes" in text] == ["inconclusive"]


def test_mono_1_the_loss_of_the_study_has_a_slope_of_at_least_1():
    d = torch.linspace(-30.0, 30.0, 61, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(LOGIT_AND_SATURATING.h(d).sum(), d)
    torch.testing.assert_close(LOGIT_AND_SATURATING.h_prime(d), slope, rtol=1e-12, atol=0.0)
    assert float(slope.min()) >= 1.0
    assert {named(name).monotone for name in LOSSES if name != "LSGAN to 1/2"} == {True}


def test_wgf_1_laws_on_the_line_are_those_of_the_linear_flow():
    grid = box(-4.0, 4.0, 40)
    flow = FiniteVolumeFlow(grid, normal(0.0, 1.0).log_prob, LOGIT)
    start = grid.masses(normal(0.5, 0.4).log_prob)
    found = laws(flow, start, [0.0, 0.3, 1.0])
    linear = FokkerPlanckFlow(grid, normal(0.0, 1.0).log_prob)
    for masses, t in zip(found, (0.0, 0.3, 1.0), strict=True):
        # Ten times the tolerance of the log-masses.
        torch.testing.assert_close(masses, linear.propagate(start, t), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("a", [2.0, 4.0])
def test_wgf_3_the_formula_for_the_gap_is_one_over_the_passage_time(a):
    """The mean time from mode to mode, int 1/p (x) int p (y < x), a double integral, is 2 over the gap."""

    def p(x):
        return 0.5 * sum(math.exp(-0.5 * (x - m) ** 2) for m in (-a, a)) / math.sqrt(2 * math.pi)

    def below(x):
        return 0.25 * sum(math.erfc((m - x) / math.sqrt(2)) for m in (-a, a))

    passage = quad(lambda x: below(x) / p(x), -a, a)[0]
    # The mass below x is 1/2 on average over the barrier, by symmetry exactly.
    assert _gap_rate(a) == pytest.approx(2 * 2 / passage, rel=1e-9)


def test_w2b_21_moments_obey_their_equation():
    eye = torch.eye(2, dtype=F64)
    target = gaussian([0.3, -1.0], [[1.0, 0.3], [0.3, 0.7]])
    start = gaussian([1.0, 1.0], [[0.5, -0.1], [-0.1, 0.8]])
    B, b = torch.tensor([[0.2, -0.9], [0.4, 0.1]], dtype=F64), torch.tensor([0.6, 0.8], dtype=F64)
    field = Perturbed(target, start, 0.3, B, b)
    step = 1e-4
    t = torch.tensor([0.0, 0.7 - step, 0.7, 0.7 + step], dtype=F64)
    mean, covariance = field.moments(t)
    torch.testing.assert_close((mean[0], covariance[0]), (start.mu, start.C), rtol=1e-12, atol=1e-13)
    pull = 0.3 * B - torch.linalg.inv(target.C)
    rate = pull @ mean[2] + torch.linalg.solve(target.C, target.mu) + 0.3 * b
    spread = pull @ covariance[2] + covariance[2] @ pull.mT + 2 * eye
    # Central differences: step^2 and rounding over step.
    torch.testing.assert_close((mean[3] - mean[1]) / (2 * step), rate, rtol=0.0, atol=1e-7)
    torch.testing.assert_close((covariance[3] - covariance[1]) / (2 * step), spread, rtol=0.0, atol=1e-7)


def gaussian(mean, covariance):
    from gflow.problems import Gaussian

    return Gaussian(torch.tensor(mean, dtype=F64), torch.tensor(covariance, dtype=F64))


def test_every_case_of_these_kinds_has_a_cost():
    for case in cases(SETTINGS):
        if case.kind in KINDS:
            seconds, size = cost(SETTINGS, case)
            assert 0.0 < seconds < 60.0
            assert size > 0.0
