"""Randomness by role: independent of order, shared where asked, and files for arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.study import Context

words = st.text(max_size=6)


def context(case: str = "c", seed: int = 0, study: str = "s", version: int = 1, folder: Path | None = None) -> Context:
    return Context(study=study, version=version, case=case, seed=seed, folder=folder)


@given(st.lists(st.tuples(words, st.integers(0, 9), words), min_size=2, max_size=8, unique=True))
def test_every_case_seed_and_role_has_its_own_stream(keys: list[tuple[str, int, str]]) -> None:
    seeds = [context(case, seed).seed_for(role) for case, seed, role in keys]
    assert len(set(seeds)) == len(keys)
    assert seeds == [context(case, seed).seed_for(role) for case, seed, role in keys]
    assert all(0 <= s < 2**63 for s in seeds)


def test_study_and_version_are_part_of_the_seed() -> None:
    seeds = {context(study=s, version=v).seed_for("a") for s in ("s", "t") for v in (1, 2)}
    assert len(seeds) == 4


@given(words, words, st.integers(0, 9))
def test_one_key_gives_two_cases_the_same_numbers(one: str, other: str, seed: int) -> None:
    a, b = (context(case, seed).generator_for("latent", key="k") for case in (one, other))
    assert torch.equal(torch.randn(4, generator=a), torch.randn(4, generator=b))
    assert context(one, seed).seed_for("latent", key="k") != context(one, seed + 1).seed_for("latent", key="k")


def test_a_key_is_not_the_case_of_that_name() -> None:
    assert context("k").seed_for("latent") != context("c").seed_for("latent", key="k")


def test_the_main_generator_goes_on_and_the_others_start_anew() -> None:
    here = context()
    first = torch.rand(2, generator=here.generator)
    assert not torch.equal(first, torch.rand(2, generator=here.generator))
    assert torch.equal(first, torch.rand(2, generator=here.generator_for("main")))


def test_arrays_are_saved_whole_under_names_that_differ(tmp_path: Path) -> None:
    names = {
        context(case, folder=tmp_path).save_arrays("x", a=torch.arange(3.0), b=np.eye(2))
        for case in ("a/b", "a b", "a:b")
    }
    assert len(names) == 3
    assert {p.stem for p in (tmp_path / "arrays").iterdir()} == names
    with np.load(tmp_path / "arrays" / f"{min(names)}.npz") as file:
        assert np.array_equal(file["a"], [0.0, 1.0, 2.0])
        assert np.array_equal(file["b"], np.eye(2))


def test_objects_are_no_arrays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Python objects in"):
        context(folder=tmp_path).save_arrays("x", a=[object()])
    with pytest.raises(ValueError, match="no folder"):
        context().save_arrays("x", a=[1.0])
