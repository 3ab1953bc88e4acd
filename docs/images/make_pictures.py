"""Make the pictures of the README and the site: ``make pictures``, or ``python docs/images/make_pictures.py [WORK_DIRECTORY]``.

    terminal.svg         the commands of "Your first dataset" and what they print
    report.png           the top of the report of that model, and failure.png its two worst failures
    default-report.png   the top of the report of the default experiment

Two models are trained, which takes about ten minutes on one free core. In a work directory that exists, commands
that have finished are not run again. Needs the extra ``docs``, playwright, and chromium.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).parent
ROOT = IMAGES.parents[1]
WIDTH = 1000  # of a screenshot, in CSS pixels
GENERATE = "generate --task eigenvalues --dim 2 --n 200k"
SHOW = "show data/eigenvalues -k 1"
TRAIN = "train --data data/eigenvalues --preset none -S steps=1500"
EVALUATE = "eval --verbose --run runs/eigenvalues"
DEFAULT = (
    f"generate --params {ROOT}/params.yaml --out data/default",
    f"train --params {ROOT}/params.yaml --data data/default --run runs/default",
    f"eval --params {ROOT}/params.yaml --verbose --run runs/default --data data/default",
)


def run(command: str, folder: Path) -> str:
    """What ``mathpipe COMMAND`` prints, without progress. A command that has finished before is not run again."""
    printed = folder / "printed" / f"{re.sub(r'[^a-z0-9]+', '-', command.replace(str(ROOT), ''))}.txt"
    if not printed.exists():
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        process = subprocess.run(
            ["mathpipe", *command.split()],
            cwd=folder,
            env={**os.environ, "PATH": path},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        printed.parent.mkdir(exist_ok=True)
        printed.write_text(process.stdout, encoding="utf-8")
    return printed.read_text(encoding="utf-8")


def excerpt(lines: list[str]) -> list[str]:
    """The whole output if it is short; of an evaluation the first failure and the headline figures."""
    summary = next((k for k, line in enumerate(lines) if line.startswith("eigenvalues: ")), None)
    return lines if summary is None else [*lines[:4], "...", *lines[summary : summary + 8], "..."]


def write_terminal(outputs: dict[str, str]) -> None:
    """The commands, each with the first lines of its output, as a picture of a terminal."""
    console = Console(record=True, width=104, file=io.StringIO())
    for command, output in outputs.items():
        console.print(Text(f"$ mathpipe {command}", style="bold green"))
        console.print(Text("\n".join(excerpt(output.rstrip().splitlines()))))
        console.print()
    svg = console.export_svg(title="mathpipe", unique_id="terminal")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # nothing is fetched from the network
    (IMAGES / "terminal.svg").write_text(svg, encoding="utf-8")


def save(page: Page, name: str, first: str, after: str) -> None:
    """A screenshot from the first element to the one after it."""
    boxes = [page.locator(selector).first.bounding_box() for selector in (first, after)]
    assert boxes[0] is not None and boxes[1] is not None, f"{first} or {after} is not in the report"
    top = max(boxes[0]["y"] - 10, 0)
    clip = {"x": 0, "y": top, "width": WIDTH, "height": boxes[1]["y"] - top - 20}
    page.screenshot(path=IMAGES / f"{name}.png", full_page=True, clip=clip)


def write_screenshots(first: Path, default: Path) -> None:
    """Pictures of two reports, whole cards only."""
    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    hidden = (
        "#calibration",
        "#worst .card:nth-of-type(n + 3)",
        "#worst .failure:nth-of-type(n + 3)",
        "#worst form",
        "#worst .more",
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        for report, top, worst in ((first, "report", "failure"), (default, "default-report", None)):
            page.goto(report.as_uri())
            page.add_style_tag(content=f"{', '.join(hidden)} {{ display: none }}")
            save(page, top, "header", "#failures")
            if worst is not None:
                save(page, worst, "#worst", "#reproduce")
        browser.close()


def report_of(folder: Path, run_name: str) -> Path:
    return folder / "runs" / run_name / "evaluation" / "test" / "report.html"


if __name__ == "__main__":
    work = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()).resolve()
    work.mkdir(parents=True, exist_ok=True)
    printed = {command: run(command, work) for command in (GENERATE, SHOW)}
    run(TRAIN, work)
    printed |= {command: run(command, work) for command in (EVALUATE,)}
    write_terminal(printed)
    for stage in DEFAULT:
        run(stage, work)
    write_screenshots(report_of(work, "eigenvalues"), report_of(work, "default"))
