"""The report page: links, escaped text, the spec in words; the commands that show it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.evaluate.compare.comparison_page import comparison_page
from mathpipe.evaluate.compare.evaluations import find_evaluations, load_evaluations
from mathpipe.evaluate.compare.transfer_matrix import transfer_matrix
from mathpipe.evaluate.report.html import table
from mathpipe.pipeline.cli import main

EVIL = "<script>document.title='taken'</script>"
MakeEvaluation = Callable[..., Path]


class Links(HTMLParser):
    """Collects what a page would load, its ids and its internal links."""

    def __init__(self) -> None:
        super().__init__()
        self.external: list[str] = []
        self.ids: set[str] = set()
        self.anchors: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.ids |= {attributes["id"] or ""} if "id" in attributes else set()
        for name in ("src", "href", "action", "data"):
            value = attributes.get(name)
            if value is not None and tag != "svg":
                (self.anchors if value.startswith("#") else self.external).append(value)


def test_page_is_self_contained_and_links_resolve(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert links.external == ["data:,"]
    assert links.anchors and {a[1:] for a in links.anchors} <= links.ids
    assert EVIL not in page and "&lt;script&gt;document" in page
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert page.count("<svg") >= 5 and "NaN" not in page
    for text in (
        "mathpipe eval --run",
        "10 worst",
        "4 typical",
        "then the largest error_l1",
        "largest cosine",
        "95\N{NO-BREAK SPACE}%:",
    ):
        assert text in page
    assert len(page) < 400_000


def test_page_has_the_spec_in_words(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "entries uniform in -10 to 10, symmetric with eigenvalues of the distribution laplace" in page
    assert "{&quot;" not in page and "&quot;spectrum" not in page


def test_comparison_of_one_evaluation_is_its_report(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", str(folder), "--out", str(tmp_path / "page.html")])
    assert stop.value.code == 0
    assert (tmp_path / "page.html").read_text() == (folder / "report.html").read_text()
    assert not (tmp_path / "page.json").exists()


def test_table_has_sort_values_and_percentages() -> None:
    html = table(["name", "share", "count"], [["a", 0.123456, 1200], ["b<", None, float("inf")]], ["share"])
    assert "12.35 %" in html and 'data-v="0.123456"' in html and "1,200" in html
    assert "b&lt;" in html and 'data-v="Infinity"' in html and 'data-v=""' in html


def test_comparison_page_with_transfer_matrix(evaluation: MakeEvaluation, tmp_path: Path) -> None:
    noise = {("laplace", "laplace"): 0.01, ("laplace", "uniform"): 0.02, ("uniform", "uniform"): 0.3}
    for (trained, tested), level in noise.items():
        evaluation(tmp_path / trained / "evaluation" / tested, level, trained, tested)
    runs = [str(tmp_path / name) for name in ("laplace", "uniform")]
    evaluations = load_evaluations([d for run in runs for d in find_evaluations(run)])
    matrix = transfer_matrix(evaluations)
    assert matrix is not None
    assert (matrix.rows, matrix.cols) == (["laplace", "uniform"], ["laplace", "uniform"])
    accuracy = {(t.run, t.metadata["split"]): t.metrics["accuracy"] for t in evaluations}
    cells = matrix.accuracy
    assert cells == [[accuracy.get((r, c)) for c in matrix.cols] for r in matrix.rows]
    assert cells[0][0] > cells[1][1] and cells[1][0] is None  # type: ignore[operator]
    page = comparison_page(evaluations)
    assert "Transfer matrix" in page and EVIL not in page
    with pytest.raises(SystemExit) as stop:
        main(["report", *runs, "--out", str(tmp_path / "page.html")])
    assert stop.value.code == 0
    plain = json.loads((tmp_path / "page.json").read_text())
    assert plain["train_by_test"]["laplace"]["uniform"] == accuracy["laplace", "uniform"]
    assert len(plain["evaluations"]) == 3
    with pytest.raises(UserError, match="no finished evaluation"):
        find_evaluations(tmp_path / "nothing")


def ask(capsys: pytest.CaptureFixture[str], *line: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(line)
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    return captured.out


def test_failures_are_filtered_and_sorted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(folder.parents[1])
    all_failures = [json.loads(line) for line in ask(capsys, "failures", run, "-k", "500", "--json").splitlines()]
    assert len(all_failures) == round(120 * (1 - json.loads((folder / "metrics.json").read_text())["accuracy"]))
    worst = [
        json.loads(x) for x in ask(capsys, "failures", run, "--sort", "error_l1", "--largest", "--json").splitlines()
    ]
    errors = sorted(
        (f["errors"]["error_l1"] for f in all_failures if f["errors"]["error_l1"] is not None), reverse=True
    )
    assert [f["errors"]["error_l1"] for f in worst] == errors[:5]
    filtered = ask(
        capsys, "failures", run, "--where", "condition_number>5", "--where", "norm<20", "-k", "500", "--json"
    )
    expected = [f for f in all_failures if f["covariates"]["condition_number"] > 5 and f["covariates"]["norm"] < 20]
    assert [json.loads(line)["row"] for line in filtered.splitlines()] == [f["row"] for f in expected]
    assert "malformed" in ask(capsys, "failures", run, "--outcome", "malformed")
    assert "problem" in ask(capsys, "failures", str(folder / "predictions.parquet"), "-k", "1")
    assert "eigenvectors: 120 problems" in ask(capsys, "report", run)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["failures", "{run}", "--where", "norm>>3"], "cannot be read"),
        (["failures", "{run}", "--where", "nrom>3"], "have no 'nrom'"),
        (["failures", "{run}", "--where", "outcome>3"], "outcome is a text"),
        (["failures", "{run}", "--sort", "nrom"], "have no 'nrom'"),
        (["failures", "missing.jsonl.zst"], "there is no missing.jsonl.zst"),
        (["report", "missing"], "no finished evaluation"),
    ],
)
def test_user_errors_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], line: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([part.format(run=folder.parents[1]) for part in line])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and message in captured.err and "Traceback" not in captured.err and not captured.out
