"""docs/robustness.md is made from the recorded figures, and nothing was lost."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_robustness", DOCS / "make_robustness.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == (DOCS / "robustness.md").read_text(encoding="utf-8"), "run python docs/make_robustness.py"


def test_nothing_is_lost() -> None:
    lines = [json.loads(line) for line in (DOCS / "robustness.jsonl").read_text(encoding="utf-8").splitlines()]
    latest = {(line["part"], line["case"]): line for line in lines}
    assert latest and all(line["lost"] == 0 and line["survived"] == line["tried"] > 0 for line in latest.values())
