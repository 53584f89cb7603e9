"""Configs and rows as JSON: what is written is read back, and nothing else is accepted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.estimate import Estimate
from gflow.study.config import differences, digest, from_json, to_json
from gflow.study.store import Store, StoreError, decode, dump_line, encode


class Colour(Enum):
    """A choice."""

    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Inner:
    """A nested config."""

    rtol: float = 1e-6
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """One field of each kind."""

    n: int = 1
    x: float = 0.5
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    pair: tuple[int, float] = (1, 2.0)
    steps: tuple[int, ...] = (1, 2)
    data: Path | None = None
    colour: Colour = Colour.RED
    table: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


configs = st.builds(
    Config,
    n=st.integers(),
    x=st.floats(allow_nan=False),
    flag=st.booleans(),
    kind=st.sampled_from(["a", "b"]),
    pair=st.tuples(st.integers(), st.floats(allow_nan=False)),
    steps=st.lists(st.integers(), max_size=4).map(tuple),
    data=st.none() | st.just(Path("a/b")),
    colour=st.sampled_from(Colour),
    table=st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=3),
    inner=st.builds(Inner, rtol=st.floats(allow_nan=False), names=st.lists(st.text(), max_size=2).map(tuple)),
)


@given(configs)
def test_a_config_survives_json(config: Config) -> None:
    text = json.dumps(to_json(config), allow_nan=False)
    assert from_json(Config, json.loads(text)) == config


@given(configs, configs)
def test_equal_hashes_are_equal_configs(one: Config, other: Config) -> None:
    assert (digest(one) == digest(other)) == (to_json(one) == to_json(other))
    assert (not list(differences(to_json(one), to_json(other)))) == (to_json(one) == to_json(other))


def test_differences_name_the_field() -> None:
    new = replace(Config(), n=2, inner=Inner(rtol=1.0))
    assert list(differences(to_json(Config()), to_json(new))) == ["n: 1 -> 2", "inner.rtol: 1e-06 -> 1.0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 1.5}, "config.n: expected int, got 1.5"),
        ({"n": True}, "config.n: expected int, got true"),
        ({"x": "1"}, "config.x: expected float"),
        ({"kind": "c"}, "config.kind: expected one of a, b"),
        ({"pair": [1]}, "config.pair: expected 2 values"),
        ({"steps": 3}, "config.steps: expected a list"),
        ({"steps": [1, "x"]}, "config.steps.1: expected int"),
        ({"colour": "GREEN"}, "config.colour: expected Colour"),
        ({"typo": 1}, r"unknown fields \['typo'\]"),
        ({"inner": {"rtol": 1.0}}, r"config.inner: unknown fields \[\], missing fields \['names'\]"),
    ],
)
def test_reading_is_strict(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(Config, to_json(Config()) | change)


def test_a_field_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        to_json({"z": 1j})


numbers = st.floats(-1e300, 1e300)
estimates = st.builds(
    lambda mean, below, above, n, bias, log10: Estimate(mean, mean - below, mean + above, n, 0.95, bias, log10),
    numbers,
    st.floats(0, 1e300) | st.just(math.inf),
    st.floats(0, 1e300) | st.just(math.inf),
    st.integers(1, 99),
    st.sampled_from(["none", "up", "down", "unknown"]),
    st.none() | numbers,
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | estimates,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_rows_survive_strict_json(value: object) -> None:
    text = json.dumps(encode(value), allow_nan=False)
    assert decode(json.loads(text)) == value


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=4))
def test_equal_rows_give_equal_text_in_any_order(row: dict[str, int]) -> None:
    turned = dict(reversed(row.items()))
    line = {"provenance": {}, "seed": 0, "case": "c"}
    assert dump_line({**line, "row": row}) == dump_line({**line, "row": turned})


def test_scalars_and_dataclasses_are_plain_in_rows() -> None:
    row = encode({"t": torch.tensor(2.0), "i": torch.tensor(3), "inner": Inner(), "e": (Estimate.exact(1.0),)})
    assert row["t"] == 2.0
    assert row["i"] == 3
    assert row["inner"] == {"rtol": 1e-6, "names": []}
    assert decode(row)["e"] == [Estimate.exact(1.0)]


@pytest.mark.parametrize(("value", "where"), [(math.inf, "row.a.1"), (torch.zeros(2), "row.a.1"), (1j, "row.a.1")])
def test_what_a_row_cannot_hold_is_named(value: object, where: str) -> None:
    with pytest.raises(ValueError, match=where):
        encode({"a": [0, value]})


def test_a_store_without_config_says_what_it_expected(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected the folder of a run"):
        Store(tmp_path).load_config()


def test_a_broken_array_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays/a.npz").write_bytes(b"PK not a zip")
    arrays = Store(tmp_path).arrays()
    assert list(arrays) == ["a"]
    with pytest.raises(StoreError, match=r"a\.npz"):
        arrays["a"]
    with pytest.raises(KeyError):
        arrays["b"]
