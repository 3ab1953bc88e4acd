"""docs/development/robustness.md is made from the recorded figures."""

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
    assert module.page() == (DOCS / "development" / "robustness.md").read_text(encoding="utf-8"), (
        "run python docs/make_robustness.py"
    )


def test_nothing_is_lost_in_the_last_run_of_each_trial() -> None:
    text = (DOCS / "development" / "robustness.jsonl").read_text(encoding="utf-8")
    latest = {(line["part"], line["case"]): line for line in map(json.loads, text.splitlines())}
    assert latest and all(line["survived"] + line["lost"] == line["tried"] > 0 for line in latest.values())
    assert [case for case, line in latest.items() if line["lost"]] == []
