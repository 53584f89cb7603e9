"""The command line: seeds, cases, presets, and tyro's boxes as one line."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gflow.study.options import one_line, parse, seed_values, select
from gflow.study.study import Study, UsageError
from tests.study.dummy import STUDY, Size, cases, report, run


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 9)), min_size=1, max_size=6))
def test_seeds_are_the_union_of_their_ranges_sorted(ranges: list[tuple[int, int]]) -> None:
    text = ",".join(str(a) if length == 0 else f"{a}-{a + length}" for a, length in ranges)
    every = [a + i for a, length in ranges for i in range(length + 1)]
    repeated = {seed for seed in every if every.count(seed) > 1}
    if not repeated:
        assert seed_values(text) == tuple(sorted(every))
        return
    with pytest.raises(UsageError, match=r"^--seeds: expected each seed once, got \d+ twice in ") as caught:
        seed_values(text)
    assert int(re.findall(r"got (\d+)", str(caught.value))[0]) in repeated


@pytest.mark.parametrize("text", ["", ",", "1,", "a", "-3", "3-1", "1-2-3", "1.5", "0-99999999", "²"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        seed_values(text)


def test_each_preset_has_its_own_seeds_and_config() -> None:
    assert parse(STUDY, []).options.seeds == "0-2"
    smoke = parse(STUDY, ["--preset", "smoke"])
    assert smoke.options.seeds == "0"
    assert smoke.config == STUDY.presets["smoke"]
    assert parse(STUDY, ["--seeds", "5", "--preset", "smoke"]).options.seeds == "5"


def test_a_nested_flag_leaves_its_neighbours_as_the_preset_has_them() -> None:
    config = parse(STUDY, ["--preset", "paper", "--inner.scale", "2"]).config
    assert config.inner.scale == 2.0
    assert config.sizes == STUDY.presets["paper"].sizes


def test_select_keeps_the_order_of_the_study() -> None:
    everything = [Size(4), Size(2), Size(3)]
    assert select(everything, ["mean/n=3", "mean/n=4"]) == [Size(4), Size(3)]
    assert select(everything, []) == everything
    with pytest.raises(UsageError, match="--case"):
        select(everything, ["mean/n=3", "mea"])


def test_cases_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        select([Size(4), Size(4)], [])


def test_a_config_field_may_not_hide_a_flag() -> None:
    @dataclass(frozen=True)
    class Clash:
        seeds: int = 0

    study: Study[Clash, Size] = Study(
        name="clash",
        question="?",
        version=1,
        presets={"default": Clash()},
        cases=cases,  # type: ignore[arg-type]
        run=run,  # type: ignore[arg-type]
        report=report,  # type: ignore[arg-type]
    )
    with pytest.raises(TypeError, match="seeds"):
        parse(study, [])


def test_a_study_needs_a_default_preset() -> None:
    with pytest.raises(ValueError, match="default"):
        Study(name="x", question="?", version=1, presets={"smoke": 0}, cases=cases, run=run, report=report)  # type: ignore[arg-type]


@pytest.mark.parametrize(("left", "right", "line"), [("│", "│", "─"), ("|", "|", "-")])
def test_boxes_of_both_kinds_become_one_line(left: str, right: str, line: str) -> None:
    box = "\n".join(
        [
            ("╭" if line == "─" else "+") + line * 20,
            f"{left} Error parsing --n: invalid literal for int() with base 10: 'x' {right}",
            f"{left} {line * 18} {right}",
            f"{left} Argument helptext: {right}",
            f"{left}     --n INT {right}",
            f"{left} For full helptext, see prog --help {right}",
        ]
    )
    assert one_line(box) == "--n: expected an integer, got x"


@settings(max_examples=20)
@given(
    flag=st.sampled_from(["--sizes", "--inner.scale", "--workers"]),
    good=st.lists(st.integers(1, 99).map(str), max_size=3),
    bad=st.sampled_from(["x", "2.5.1", "nan?", "1e", "it's", "a-b"]),
)
def test_a_value_that_is_no_number_is_named_with_what_was_expected(flag: str, good: list[str], bad: str) -> None:
    kind = {"--sizes": "integers", "--inner.scale": "a number", "--workers": "an integer"}[flag]
    given_values = [*good, bad] if flag == "--sizes" else [bad]
    with pytest.raises(UsageError) as caught:
        parse(STUDY, [flag, *given_values])
    assert str(caught.value) == f"{flag}: expected {kind}, got {' '.join(given_values)}"
