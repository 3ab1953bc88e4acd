"""The page in a real browser: its links lead somewhere, its tables sort and filter, nothing is asked of any network."""

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
from mathpipe.datasets.tokenizers.matrix_tokenizer import END, MatrixTokenizer
from mathpipe.evaluate.build_report import build_report
from mathpipe.evaluate.compare.comparison_page import comparison_page
from mathpipe.evaluate.compare.evaluations import find_evaluations, load_evaluations
from mathpipe.evaluate.compare.transfer_matrix import transfer_matrix
from mathpipe.evaluate.decode.decoding import Hypotheses
from mathpipe.evaluate.predictions import PredictionsWriter, predictions_table
from mathpipe.evaluate.report.html import table
from mathpipe.evaluate.score.matrix_scoring import OUTCOMES, append_end, score
from mathpipe.generate.spec import MatrixSpec
from mathpipe.generate.tasks.registry import matrix_task
from mathpipe.pipeline.cli import main

P1000 = MatrixTokenizer.named("P1000")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CUT_OFF = """[...document.querySelectorAll("svg text")].filter(t => {
    const box = t.getBBox(), whole = t.ownerSVGElement.viewBox.baseVal
    return box.x < 0 || box.x + box.width > whole.width
}).map(t => t.textContent)"""
EVIL = "<script>document.title='taken'</script>"


def evaluation(folder: Path, noise: float, trained: str = "laplace", tested: str = "laplace") -> Path:
    """A small evaluation of eigenvectors with made errors."""
    rng = np.random.default_rng(0)
    task = matrix_task("eigenvectors")
    a = task.sample(rng, 120, MatrixSpec(min_dim=3, max_dim=3))
    x = task.solve(a).solutions
    said = append_end(*P1000.encode(Matrices.from_dense(x.dense() * (1 + noise * rng.normal(size=x.dense().shape)))))
    said[3, 5] = END
    decoded = Hypotheses(said, -rng.exponential(size=120))
    scored = score(task, P1000, MatrixExamples(np.arange(120), a, x), decoded)
    metadata = {
        "run": f"runs/{trained}{EVIL}",
        "data": "data/x",
        "task": task.name,
        "split": tested,
        "rows": 120,
        "outcomes": list(OUTCOMES),
        "decoding": "greedy",
        "decoding_settings": {"beam": 1, "temperature": 0.0, "constrained": False},
        "spec": {"problems": {"spectrum": [tested]}},
        "trained_spec": {"problems": {"spectrum": [trained]}},
    }
    folder.mkdir(parents=True)
    with (folder / "predictions.parquet").open("wb") as file:
        writer = PredictionsWriter(file, metadata)
        writer.append(predictions_table(scored, tested, P1000, P1000, task))
        writer.close()
    build_report(Storage(str(folder)))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluation(tmp_path_factory.mktemp("run") / "evaluation" / "laplace", 0.04)


class Links(HTMLParser):
    """Everything a page would load, its anchors, and its tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.ids: set[str] = set()
        self.anchors: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids |= {named["id"] or ""} if "id" in named else set()
        for name in ("src", "href", "action", "data"):
            value = named.get(name)
            if value is not None and tag != "svg":
                (self.anchors if value.startswith("#") else self.outside).append(value)


def test_a_page_holds_everything_and_every_link_leads_somewhere(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert links.outside == ["data:,"]
    assert links.anchors and {a[1:] for a in links.anchors} <= links.ids
    assert EVIL not in page and "&lt;script&gt;document" in page
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert page.count("<svg") >= 5 and "NaN" not in page
    for words in (
        "mathpipe eval --run",
        "Typical failures",
        "Worst failures",
        "then the largest error_l1",
        "largest cosine",
        "95 %:",
    ):
        assert words in page
    assert len(page) < 400_000


def test_numbers_sort_by_value_and_shares_are_percents() -> None:
    drawn = table(["name", "share", "count"], [["a", 0.123456, 1200], ["b<", None, float("inf")]], ["share"])
    assert "12.35 %" in drawn and 'data-v="0.123456"' in drawn and "1,200" in drawn
    assert "b&lt;" in drawn and 'data-v="Infinity"' in drawn and 'data-v=""' in drawn


def test_runs_are_compared_with_the_matrix_of_training_and_testing(tmp_path: Path) -> None:
    noise = {("laplace", "laplace"): 0.01, ("laplace", "uniform"): 0.02, ("uniform", "uniform"): 0.3}
    for (trained, tested), much in noise.items():
        evaluation(tmp_path / trained / "evaluation" / tested, much, trained, tested)
    runs = [str(tmp_path / name) for name in ("laplace", "uniform")]
    all_told = load_evaluations([d for run in runs for d in find_evaluations(run)])
    found = transfer_matrix(all_told)
    assert found is not None
    assert (found.rows, found.cols) == (["laplace", "uniform"], ["laplace", "uniform"])
    accuracy = {(t.run, t.metadata["split"]): t.metrics["accuracy"] for t in all_told}
    cells = found.accuracy
    assert cells == [[accuracy.get((r, c)) for c in found.cols] for r in found.rows]
    assert cells[0][0] > cells[1][1] and cells[1][0] is None  # type: ignore[operator]
    page = comparison_page(all_told)
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
    told = capsys.readouterr()
    assert stop.value.code == 0, told.err
    return told.out


def test_failures_are_filtered_sorted_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(folder.parents[1])
    everything = [json.loads(line) for line in ask(capsys, "failures", run, "-k", "500", "--json").splitlines()]
    assert len(everything) == round(120 * (1 - json.loads((folder / "metrics.json").read_text())["accuracy"]))
    worst = [
        json.loads(x) for x in ask(capsys, "failures", run, "--sort", "error_l1", "--largest", "--json").splitlines()
    ]
    errors = sorted((f["errors"]["error_l1"] for f in everything if f["errors"]["error_l1"] is not None), reverse=True)
    assert [f["errors"]["error_l1"] for f in worst] == errors[:5]
    some = ask(capsys, "failures", run, "--where", "condition_number>5", "--where", "norm<20", "-k", "500", "--json")
    wanted = [f for f in everything if f["covariates"]["condition_number"] > 5 and f["covariates"]["norm"] < 20]
    assert [json.loads(line)["row"] for line in some.splitlines()] == [f["row"] for f in wanted]
    assert "malformed" in ask(capsys, "failures", run, "--outcome", "malformed")
    assert "problem" in ask(capsys, "failures", str(folder / "predictions.parquet"), "-k", "1")
    assert "eigenvectors: 120 problems" in ask(capsys, "report", run)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["failures", "{run}", "--where", "norm>>3"], "cannot be read"),
        (["failures", "{run}", "--where", "nrom>3"], "have no 'nrom'"),
        (["failures", "{run}", "--where", "outcome>3"], "outcome is a text"),
        (["failures", "{run}", "--sort", "nrom"], "have no 'nrom'"),
        (["failures", "missing.jsonl.zst"], "there is no missing.jsonl.zst"),
        (["report", "missing"], "no finished evaluation"),
    ],
)
def test_mistakes_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str], line: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([part.format(run=folder.parents[1]) for part in line])
    told = capsys.readouterr()
    assert stop.value.code == 2 and words in told.err and "Traceback" not in told.err and not told.out


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


def test_in_a_browser(folder: Path, browser: Any) -> None:
    for width, scheme in ((1200, "light"), (390, "dark")):
        page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(f"file://{folder / 'report.html'}")
        assert page.title().startswith("eigenvectors")
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
        assert page.evaluate(CUT_OFF) == []
        for link in page.locator("nav a").all():
            link.click()
            anchor = link.get_attribute("href")
            assert page.locator(anchor).is_visible()
        _sorts_and_filters(page)
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (light == "rgb(246, 245, 241)") == (scheme == "light")
        assert said == []
        assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
        assert len([url for url in asked if url.startswith("file://")]) == 1


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
