"""Published pages: figures in both schemes, data, and a box where the results are not the study's."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gflow.study import UsageError
from gflow.study.catalogue import discover, main
from gflow.study.publish import main as publish_main
from gflow.study.publish import publish
from tests.study.dummy import STUDY

DUMMY = Path(__file__).with_name("dummy.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package of two studies and the results of one: ``alpha`` is the dummy that draws, ``beta`` was never run."""
    home = tmp_path_factory.mktemp("publish")
    folder = home / "pages_of_a_test"
    folder.mkdir()
    text = DUMMY.read_text().replace("draw: bool = False", "draw: bool = True")
    (folder / "__init__.py").write_text("")
    (folder / "alpha.py").write_text(text.replace('name="dummy"', 'name="alpha"'))
    (folder / "beta.py").write_text(text.replace('name="dummy"', 'name="beta"'))
    (folder / "again.py").write_text(f"from {folder.name}.alpha import STUDY\n")
    (folder / "_private.py").write_text("raise ImportError\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(home))
        alpha = discover(folder.name)["alpha"]
        assert alpha.main(["--out", str(home / "results/alpha"), "--seeds", "0"]) == 0
        yield home
    for name in [n for n in sys.modules if n.split(".")[0] == folder.name]:
        del sys.modules[name]


@pytest.fixture
def package(made: Path) -> str:
    """Name of the package."""
    assert made.is_dir()
    return "pages_of_a_test"


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """Results of ``alpha`` at its default preset, to be changed at will."""
    return shutil.copytree(made / "results", tmp_path / "results")


def test_discover_finds_each_study_where_it_is_defined(package: str) -> None:
    assert list(discover(package)) == ["alpha", "beta"]


def test_a_page_shows_figures_in_both_schemes_and_its_data(package: str, results: Path, tmp_path: Path) -> None:
    pages = publish(results, tmp_path / "docs", package)
    assert [p.name for p in pages] == ["index.md", "alpha.md", "beta.md"]
    page = (tmp_path / "docs/alpha.md").read_text()
    assert "not yet run" not in page.lower()
    for scheme in ("light", "dark"):
        assert f"(alpha/means_{scheme}.svg#only-{scheme})" in page
    for link in re.findall(r"\]\(([\w./-]+?)(?:#[\w-]+)?\)", page):
        assert (tmp_path / "docs" / link).is_file()
    assert (tmp_path / "docs/alpha/rows.jsonl").read_bytes() == (results / "alpha/rows.jsonl").read_bytes()
    assert page.startswith("---\nhide: [navigation, toc]\n---\n")
    assert "[Data](#data-of-the-page)" in page
    assert "### Data { #data-of-the-page }" in page
    for content in ("## Claims", "## How this was computed", "inner.scale", "$\\sigma/\\sqrt{n}$"):
        assert content in page
    index = (tmp_path / "docs/index.md").read_text()
    assert f"| [alpha](alpha.md) | {STUDY.question} | a second | published |" in index
    assert f"| [beta](beta.md) | {STUDY.question} | a second | **not yet run** |" in index


def test_the_arrays_that_figures_are_drawn_from_are_published_too(package: str, results: Path, tmp_path: Path) -> None:
    publish(results, tmp_path / "docs", package)
    stored = {p.name: p.read_bytes() for p in (results / "alpha/arrays").glob("*.npz")}
    with zipfile.ZipFile(tmp_path / "docs/alpha/arrays.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == stored
    assert len(stored) > 1
    assert "[arrays.zip](alpha/arrays.zip)" in (tmp_path / "docs/alpha.md").read_text()


def test_propositions_that_the_theory_has_are_linked_and_others_are_not(
    package: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theory = tmp_path / "docs/theory"
    theory.mkdir(parents=True)
    (theory / "bounds.md").write_text(
        "# Bounds\n\n### W2B-1 · One { #w2b-1 }\n\n### W2B-12 · Other { #w2b-12 }\n\n"
        "### LAW-1 · In a caption { #law-1 }\n"
    )
    alpha = sys.modules[f"{package}.alpha"]
    question = "Does W2B-1 hold, W2B-12, W2B-13 and `XW2B-1`?"
    monkeypatch.setattr(alpha, "STUDY", replace(alpha.STUDY, question=question))
    publish(results, tmp_path / "docs/reports", package)
    page = (tmp_path / "docs/reports/alpha.md").read_text()
    links = "[W2B-1](../theory/bounds.md#w2b-1) hold, [W2B-12](../theory/bounds.md#w2b-12), W2B-13 and `XW2B-1`"
    assert f"# Does {links}?" in page
    assert page.count("[LAW-1](../theory/bounds.md#law-1)") == 1  # in the caption
    assert page.count("LAW-1).](alpha/means") == 2  # and not in what stands for the figures


def test_publishing_again_gives_the_same_bytes_and_nothing_old(package: str, results: Path, tmp_path: Path) -> None:
    publish(results, tmp_path / "docs", package)
    before = {p: p.read_bytes() for p in (tmp_path / "docs").rglob("*") if p.is_file()}
    (tmp_path / "docs/old.md").write_text("old")
    publish(results, tmp_path / "docs", package)
    assert {p: p.read_bytes() for p in (tmp_path / "docs").rglob("*") if p.is_file()} == before


def test_results_of_another_version_carry_a_box(
    package: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha = sys.modules[f"{package}.alpha"]
    presets = {"default": alpha.Config(limit=3.0)}
    monkeypatch.setattr(alpha, "STUDY", replace(alpha.STUDY, version=2, presets=presets))
    publish(results, tmp_path / "docs", package)
    page = (tmp_path / "docs/alpha.md").read_text()
    assert '!!! warning "Not yet run"' in page
    assert "version: 1 -> 2" in page
    assert "config.limit: 10.0 -> 3.0" in page
    assert "config.sizes" not in page
    assert "## Claims" in page


def test_results_of_a_preset_that_is_gone_carry_a_box(package: str, results: Path, tmp_path: Path) -> None:
    stored = results / "alpha/config.json"
    stored.write_text(stored.read_text().replace('"preset": "default"', '"preset": "gone"'))
    publish(results, tmp_path / "docs", package)
    assert "there is no preset gone any more" in (tmp_path / "docs/alpha.md").read_text()


def test_results_that_the_study_cannot_read_any_more_give_a_page_all_the_same(
    package: str, results: Path, tmp_path: Path
) -> None:
    stored = results / "alpha/config.json"
    stored.write_text(stored.read_text().replace('"limit"', '"limits"'))
    publish(results, tmp_path / "docs", package)
    page = (tmp_path / "docs/alpha.md").read_text()
    assert '!!! warning "Not yet run"' in page
    assert "unknown fields ['limits']" in page


def test_results_of_no_study_are_an_error(
    package: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results / "alpha", results / "gamma")
    with pytest.raises(UsageError, match="gamma"):
        publish(results, tmp_path / "docs", package)
    assert publish_main(["--results", str(results), "--docs", str(tmp_path / "d"), "--studies", package]) == 2
    assert "got gamma" in capsys.readouterr().err


def test_the_catalogue_lists_and_runs_studies(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(package, []) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "alpha" in shown
    assert "a second" in shown
    assert main(package, ["alpha", "--dry-run"]) == 0
    assert main(package, ["nope"]) == 2
    assert capsys.readouterr().err == "error: study: expected one of alpha, beta, got nope\n"


def test_a_study_that_cannot_be_imported_is_named(package: str, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = made / package / "broken.py"
    broken.write_text("import nothing_of_this_name\n")
    assert main(package, []) == 2
    broken.unlink()
    assert f"expected {package}.broken to be importable" in capsys.readouterr().err
