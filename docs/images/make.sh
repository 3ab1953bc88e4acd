#!/usr/bin/env bash
# Make report.png, where.png and failure.png: train a small model on 2x2 eigenvalues with the commands of the README,
# evaluate it, and take screenshots of its report. About four minutes on one core of an AMD EPYC.
# Needs mathpipe and playwright on the PATH's Python, and chromium.
#
#   docs/images/make.sh [WORK_DIRECTORY]      # a directory that exists is reused: a finished run is not trained again
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
work="${1:-$(mktemp -d)}"
mkdir -p "$work"
cd "$work"

mathpipe generate --task eigenvalues --dim 2 --n 200k --quiet
mathpipe train --data data/eigenvalues -S steps=1500 --quiet
mathpipe eval --verbose --quiet

python - "$work/runs/eigenvalues/evaluation/test/report.html" "$here" <<'PYTHON'
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

report, images = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.goto(report.as_uri())

    def save(name: str, first: str, after: str) -> None:
        """Everything from the first element to the one after it."""
        top, bottom = (page.locator(selector).first.bounding_box()["y"] for selector in (first, after))
        top = max(top - 10, 0)
        clip = {"x": 0, "y": top, "width": 1000, "height": bottom - top - 20}
        page.screenshot(path=images / f"{name}.png", full_page=True, clip=clip)

    # whole cards only: two of "How accurate it is", two of "Where it fails", the two worst failures
    hidden = (
        *("#calibration", "#failures .card:not(#failure_discriminability, #by_norm)"),
        *("#worst .failure:nth-of-type(n + 3)", "#worst form", "#worst .more"),
    )
    page.add_style_tag(content=f"{', '.join(hidden)} {{ display: none }}")
    save("report", "header", "#failures")
    save("where", "#failures", "#worst")
    save("failure", "#worst", "#reproduce")
    browser.close()
PYTHON
ls -l "$here"/*.png
