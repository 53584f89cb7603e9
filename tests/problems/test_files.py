"""Reading clouds: the three formats agree, and each bad file gets one clear error."""

from __future__ import annotations

import builtins
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gflow.problems import digits, read_cloud
from tests.strategies import points, untyped

CLOUD = points(6, 3, 0)


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_all_formats_give_the_same_cloud(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CLOUD.numpy())
    np.savez(tmp_path / "b.npz", CLOUD.numpy())
    np.savez(tmp_path / "c.npz", x=CLOUD.numpy(), y=np.zeros(3))
    lines = [",".join(repr(v) for v in row) for row in CLOUD.tolist()]
    write(tmp_path, "d.csv", "\n".join(lines) + "\n")
    write(tmp_path, "e.csv", "u, v, w\r\n" + "\r\n".join(lines))
    for name in ("a.npy", "b.npz", "c.npz:x", "d.csv", "e.csv"):
        assert torch.equal(read_cloud(f"{tmp_path}/{name}"), CLOUD), name
    assert torch.equal(read_cloud(tmp_path / "a.npy"), CLOUD)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.float64])
def test_other_numbers_become_doubles(tmp_path: Path, dtype: type) -> None:
    values = np.arange(6).reshape(3, 2).astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(values))
    cloud = read_cloud(tmp_path / "a.npy")
    assert cloud.dtype == torch.float64
    assert cloud.tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_blank_lines_and_one_column_are_read(tmp_path: Path) -> None:
    assert read_cloud(write(tmp_path, "a.csv", "\nx\n1\n\n 2e0 \n")).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,four\n", r"line 2, column 2: expected a number, got 'four'"),
        ("a,b\n1,2\n3,\n", r"line 3, column 2: expected a number, got ''"),
        ("a,1\n2,3\n4,5\n", r"line 1, column 1: expected a number, got 'a'"),
        ("a,b\nc,d\n1,2\n", r"line 2, column 1: expected a number, got 'c'"),
        ("1,2\n3,4,5\n", r"line 2: expected 2 columns, got 3"),
        ("", "is empty"),
        ("a,b\n", "is empty"),
        ("1,2\n", "needs at least 2 points, got 1"),
        ("1,2\nnan,2\n", "one entry is NaN or infinite, in line 2"),
        ("a,b\n\n1,2\nnan,2\n3,inf\n", "2 entries are NaN or infinite, first in line 4"),
    ],
)
def test_bad_tables_say_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"data file .*a.csv: {message}"):
        read_cloud(write(tmp_path, "a.csv", text))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(4), r"expected points of shape \(n, d\), got \(4,\)"),
        (np.zeros((2, 2, 2)), r"expected points of shape \(n, d\)"),
        (np.zeros((0, 3)), "is empty"),
        (np.zeros((1, 3)), "needs at least 2 points, got 1"),
        (np.zeros((3, 2), dtype=complex), "expected real numbers, got dtype complex128"),
        (np.array([["a", "b"], ["c", "d"]]), "expected real numbers"),
        (np.array([[1.0, 2.0], [np.inf, np.nan]]), "2 entries are NaN or infinite, first in row 1"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=f"data file .*a.npy: {message}"):
        read_cloud(tmp_path / "a.npy")


def test_archives_need_the_right_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=CLOUD.numpy(), y=CLOUD.numpy())
    with pytest.raises(ValueError, match="holds 2 arrays .*; name one as a.npz:KEY"):
        read_cloud(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="has no array 'z', only"):
        read_cloud(f"{tmp_path}/a.npz:z")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[print], [print]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", np.array([{}, None], dtype=object))
    for name in ("a.npy", "b.npz"):
        with pytest.raises(ValueError, match=rf"{name}: expected a numeric array \(n, d\), got one of Python objects$"):
            read_cloud(tmp_path / name)


def test_missing_broken_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="data file .*none.csv: does not exist"):
        read_cloud(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="expected a file of kind .npy, .npz, .csv"):
        read_cloud(write(tmp_path, "a.txt", "1,2\n3,4\n"))
    with pytest.raises(ValueError, match="expected a file of kind"):
        read_cloud(tmp_path)
    np.savez(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"none.npz: expected an array \(n, d\), got an archive without any"):
        read_cloud(tmp_path / "none.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"no array", "a file that starts with b'no array'"),
        (pickle.dumps({"a": 1}), "a pickle"),
    ],
)
def test_what_is_no_array_is_said_to_be_what_it_is(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: expected a numeric array .* as NumPy saves it, got {what}$"):
        read_cloud(tmp_path / name)


def test_arrays_that_are_cut_off_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CLOUD.numpy())
    whole = (tmp_path / "a.npy").read_bytes()
    for size in (9, len(whole) - 1):
        (tmp_path / "a.npy").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"^data file .*a.npy: "):
            read_cloud(tmp_path / "a.npy")


@given(lines=st.integers(0, 5), mark=st.sampled_from([b"", b"\xef\xbb\xbf"]), end=st.sampled_from([b"\n", b"\r\n"]))
def test_text_that_is_not_utf8_is_named_by_its_line(lines: int, mark: bytes, end: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.csv")
        file.write_bytes(mark + end.join([b"1,2"] * lines + [b"caf\xe9,3", b"4,5"]))
        with pytest.raises(ValueError, match=rf"a.csv: line {lines + 1}: expected text in UTF-8, got the byte 0xe9$"):
            read_cloud(file)


def test_a_cell_without_end_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data file .*a.csv: cannot be read: field larger than field limit"):
        read_cloud(write(tmp_path, "a.csv", "1,2\n3," + "4" * 200_000))


def test_digits_are_the_1797_images_in_the_unit_interval() -> None:
    x = digits()
    assert x.shape == (1797, 64)
    assert x.dtype == torch.float64
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    assert bool((x * 16.0 == (x * 16.0).round()).all())


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: object, **keywords: object) -> object:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with untyped(), pytest.raises(ImportError, match=r"install gflow\[data\]"):
        digits()
