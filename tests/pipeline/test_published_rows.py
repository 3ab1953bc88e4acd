"""The page of results has a row with figures for every problem of the first paper and for the bit tasks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
NINE_TASKS = (
    "transpose",
    "add",
    "matvec",
    "matmul",
    "eigenvalues",
    "eigenvectors",
    "inverse",
    "singular-values",
    "svd",
)
_OURS = re.compile(r"(?:seed (?P<seed>\d+): )?[\d.]+ % \([\d.]+ to [\d.]+\) of [\d,]+")


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """Row -> its figures with intervals, one a seed, in the section that begins with this heading (a regular expression)."""
    sections = re.split(r"^(?=##+ )", page, flags=re.MULTILINE)
    (section,) = (text for text in sections if re.match(rf"### (?:{heading}): ", text))
    rows: dict[str, list[str]] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        if line.startswith("| ") and len(cells) > 3:
            rows.setdefault(cells[0].removeprefix("| "), []).extend(m.group() for m in _OURS.finditer(cells[3]))
    return rows


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("task", NINE_TASKS)
def test_page_has_the_nine_problems_of_the_first_paper(task: str, page: str) -> None:
    assert rows_of(page, "lawt-tasks").get(task), f"run it: mathpipe replicate lawt-tasks --row {task}"


@pytest.mark.parametrize(("table", "prefix"), [("report-bits", "xor"), ("lu-bits", "memory")])
def test_page_has_the_bit_tasks(table: str, prefix: str, page: str) -> None:
    rows = rows_of(page, table)
    assert any(figures for name, figures in rows.items() if name.startswith(prefix)), f"no row {prefix} of {table}"


def test_eigenvalues_have_five_seeds(page: str) -> None:
    figures = rows_of(page, "lawt-tasks")["eigenvalues"]
    assert [figure.partition(":")[0] for figure in figures] == [f"seed {k}" for k in range(5)]


def test_rows_that_were_not_run_do_not_count(page: str) -> None:
    without = re.sub(r"^\| svd \|.*\n", "", page, flags=re.MULTILINE)
    assert "svd" not in rows_of(without, "lawt-tasks") and "svd" in rows_of(page, "lawt-tasks")
