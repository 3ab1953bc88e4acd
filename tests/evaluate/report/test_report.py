"""The report page: links, sortable and filterable tables in a browser, no network requests; the commands that show it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mathpipe.datasets.containers.ragged_matrices import Matrices
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.matrix_columns import MatrixExamples
from mathpipe.datasets.io.storage import Storage
from mathpipe.datasets.tokenizers.matrix_tokenizer import MatrixTokenizer
from mathpipe.datasets.tokenizers.tokenizer import END
from mathpipe.evaluate.adapters.matrix_adapter import MatrixAdapter
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.compare.comparison_page import comparison_page
from mathpipe.evaluate.compare.evaluations import find_evaluations, load_evaluations
from mathpipe.evaluate.compare.transfer_matrix import transfer_matrix
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.evaluate.predictions import PredictionsWriter
from mathpipe.evaluate.report.html import table
from mathpipe.evaluate.score.scoring import append_end
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.generate.tasks.matrix_task import MATRIX_OUTCOMES
from mathpipe.generate.tasks.task_registry import matrix_task
from mathpipe.pipeline.cli import main

P1000 = MatrixTokenizer.named("P1000")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CLIPPED_TEXT = """[...document.querySelectorAll("svg text")].filter(t => {
    const box = t.getBBox(), whole = t.ownerSVGElement.viewBox.baseVal
    return box.x < 0 || box.x + box.width > whole.width
}).map(t => t.textContent)"""
EVIL = "<script>document.title='taken'</script>"


def evaluation(folder: Path, noise: float, trained: str = "laplace", tested: str = "laplace") -> Path:
    """A small evaluation of eigenvectors with multiplicative noise."""
    rng = np.random.default_rng(0)
    task = matrix_task("eigenvectors")
    a = task.sample(rng, 120, MatrixSpec(min_dim=3, max_dim=3))
    x = task.solve(a).solutions
    tokens = append_end(*P1000.encode(Matrices.from_dense(x.dense() * (1 + noise * rng.normal(size=x.dense().shape)))))
    tokens[3, 5] = END
    decoded = Hypotheses(tokens, -rng.exponential(size=120))
    scored = MatrixAdapter(task).score(P1000, MatrixExamples(np.arange(120), a, x), decoded)
    metadata = {
        "run": f"runs/{trained}{EVIL}",
        "data": "data/x",
        "task": task.name,
        "split": tested,
        "rows": 120,
        "outcomes": list(MATRIX_OUTCOMES),
        "decoding": "greedy",
        "decoding_settings": {"beam": 1, "temperature": 0.0, "constrained": False},
        "spec": {"task": task.name, "problems": {"spectrum": [tested]}},
        "trained_spec": {"task": task.name, "problems": {"spectrum": [trained]}},
    }
    folder.mkdir(parents=True)
    with (folder / "predictions.parquet").open("wb") as file:
        writer = PredictionsWriter(file, metadata)
        writer.append(MatrixAdapter(task).table(scored, tested, P1000, P1000))
        writer.close()
    build_report(Storage(str(folder)))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluation(tmp_path_factory.mktemp("run") / "evaluation" / "laplace", 0.04)


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
        "Typical failures",
        "Worst failures",
        "then the largest error_l1",
        "largest cosine",
        "95\N{NO-BREAK SPACE}%:",
    ):
        assert text in page
    assert len(page) < 400_000


def test_table_has_sort_values_and_percentages() -> None:
    html = table(["name", "share", "count"], [["a", 0.123456, 1200], ["b<", None, float("inf")]], ["share"])
    assert "12.35 %" in html and 'data-v="0.123456"' in html and "1,200" in html
    assert "b&lt;" in html and 'data-v="Infinity"' in html and 'data-v=""' in html


def test_comparison_page_with_transfer_matrix(tmp_path: Path) -> None:
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


@pytest.fixture
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    quiet = ("no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-sync")
    with api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=[f"--{name}" for name in quiet])
        yield opened
        opened.close()


def test_page_in_a_browser(folder: Path, browser: Any) -> None:
    for width, scheme in ((1200, "light"), (390, "dark")):
        page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        messages: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message, messages=messages: messages.append(message.text))
        page.on("pageerror", lambda error, messages=messages: messages.append(str(error)))
        page.on("request", lambda request, requests=requests: requests.append(request.url))
        page.goto(f"file://{folder / 'report.html'}")
        assert page.title().startswith("eigenvectors")
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # no horizontal scrolling
        assert page.evaluate(CLIPPED_TEXT) == []
        for link in page.locator("nav a").all():
            link.click()
            anchor = link.get_attribute("href")
            assert page.locator(anchor).is_visible()
        _sorts_and_filters(page)
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (light == "rgb(246, 245, 241)") == (scheme == "light")
        assert messages == []
        assert [url for url in requests if not url.startswith(("file://", "data:"))] == []
        assert len([url for url in requests if url.startswith("file://")]) == 1


def _sorts_and_filters(page: Any) -> None:
    card = page.locator("#correct_and_incorrect")
    column = card.locator("tbody tr td:nth-child(2)")

    def numbers() -> list[float]:
        return [float(cell.get_attribute("data-v")) for cell in column.all()]

    before = numbers()
    card.locator("thead button").nth(1).click()
    assert numbers() == sorted(before, reverse=True)
    card.locator("thead button").nth(1).click()
    assert numbers() == sorted(before)
    card.locator("thead button").nth(0).click()
    names = [cell.inner_text() for cell in card.locator("tbody tr td:first-child").all()]
    assert names == sorted(names, reverse=True)
    card.locator("input.filter").fill("cosine, incorrect")
    assert [row.is_visible() for row in card.locator("tbody tr").all()].count(True) == 1
    card.locator("input.filter").fill("")
    assert all(row.is_visible() for row in card.locator("tbody tr").all())
