"""Layouts: a state is one flat tensor and back, and says what does not fit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.state import Layout

names = st.text("abcxyz_", min_size=1, max_size=3)
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
dtypes = st.sampled_from([torch.float32, torch.float64])
trees = st.recursive(shapes, lambda kids: st.dictionaries(names, kids, max_size=3), max_leaves=6)


def build(tree, dtype):
    if isinstance(tree, dict):
        return {name: build(sub, dtype) for name, sub in tree.items()}
    return torch.rand(tree, generator=torch.Generator().manual_seed(len(tree)), dtype=dtype)


def pairs(a, b):
    """Leaves of two states of one structure."""
    if isinstance(a, torch.Tensor):
        return [(a, b)]
    assert list(a) == list(b)
    return [pair for name in a for pair in pairs(a[name], b[name])]


def without_empty(tree):
    """Mappings that hold no tensor have nothing to give back."""
    if not isinstance(tree, dict):
        return tree
    kept = {name: without_empty(sub) for name, sub in tree.items()}
    return {name: sub for name, sub in kept.items() if sub != {}}


@given(tree=trees, dtype=dtypes, frames=st.integers(1, 3))
def test_flatten_and_unflatten_are_inverse_with_leading_axes_kept(tree, dtype, frames):
    y = build(without_empty(tree), dtype)
    if not any(x.numel() for x, _ in pairs(y, y)):
        with pytest.raises(ValueError, match="needs at least one number"):
            Layout.of(y)
        return
    layout = Layout.of(y)
    flat = layout.flatten(y)
    assert flat.shape == (layout.size,)
    assert flat.dtype == layout.dtype == dtype
    for original, back in pairs(y, layout.unflatten(flat)):
        assert torch.equal(original, back)
    stacked = layout.unflatten(torch.stack([flat + k for k in range(frames)]))
    for original, back in pairs(y, stacked):
        assert torch.equal(back, torch.stack([original + k for k in range(frames)]))


def test_unflatten_makes_views():
    layout = Layout.of({"a": torch.ones(2), "b": {"c": torch.ones(2, 2)}})
    flat = torch.zeros(6)
    tree = layout.unflatten(flat)
    flat[5] = 1.0
    assert tree["b"]["c"][1, 1] == 1.0


def test_the_order_of_keys_does_not_matter_on_the_way_in():
    layout = Layout.of({"a": torch.ones(1), "b": torch.zeros(2)})
    assert torch.equal(layout.flatten({"b": torch.zeros(2), "a": torch.ones(1)}), torch.tensor([1.0, 0.0, 0.0]))


def test_what_is_not_finite_is_named_by_leaf_and_row():
    layout = Layout.of({"w": torch.ones(4, 2), "s": torch.tensor(1.0), "none": torch.ones(0, 2)})
    flat = torch.arange(9.0)
    assert layout.where_not_finite(flat) == ""
    flat[[2, 3, 7]] = float("nan")
    flat[8] = -float("inf")
    assert layout.where_not_finite(flat) == "w: 2 of 4 rows, first row 1; s: 1 of 1 rows, first row 0"


LAYOUT = Layout.of({"a": torch.ones(3, 2), "b": {"c": torch.ones(4)}})


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ({"a": torch.ones(3, 2)}, r"expected the structure \['a', 'b.c'\], got \['a'\]"),
        (torch.ones(10), r"expected the structure .* got \['a tensor'\]"),
        ({"a": torch.ones(2, 3), "b": {"c": torch.ones(4)}}, r"expected a of shape \(3, 2\), got \(2, 3\)"),
        (
            {"a": torch.ones(3, 2), "b": {"c": torch.ones(4, dtype=torch.float64)}},
            "expected b.c in torch.float32 on cpu, got torch.float64 on cpu",
        ),
        (
            {"a": torch.ones(3, 2), "b": {"c": torch.ones(4, device="meta")}},
            "expected b.c in torch.float32 on cpu, got torch.float32 on meta",
        ),
    ],
)
def test_states_that_do_not_fit_are_named(y, message):
    with pytest.raises(ValueError, match=f"^the velocity: {message}"):
        LAYOUT.flatten(y, what="the velocity")


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (torch.ones(2, dtype=torch.int64), ValueError, "y0: state needs a floating-point dtype, got torch.int64"),
        ({"w": {"b": torch.ones(2) > 0}}, ValueError, "y0: w.b needs a floating-point dtype, got torch.bool"),
        (
            {"a": torch.ones(1), "b": torch.ones(1).half()},
            ValueError,
            "got b in torch.float16 on cpu beside torch.float32",
        ),
        ({}, ValueError, "y0: needs at least one number"),
    ],
)
def test_bad_states_are_refused(y, error, message):
    with pytest.raises(error, match=message):
        Layout.of(y, what="y0")


def test_things_that_are_no_states_are_refused_by_name():
    # The type checks of the test suite would speak first at the door, so ask the walk behind it.
    from gflow.state import _walk

    walk = getattr(_walk, "__wrapped__", _walk)
    for y, message in (
        (None, "y0: the state must be a tensor or a mapping of states, got NoneType"),
        ({1: torch.ones(1)}, "y0: names of states must be str, got 1"),
    ):
        with pytest.raises(TypeError, match=message):
            walk(y, (), "y0")
