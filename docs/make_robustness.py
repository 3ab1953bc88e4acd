"""Write development/robustness.md from the figures beside it: ``python docs/make_robustness.py``. A test compares the two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "development" / "robustness.jsonl"
PAGE = Path(__file__).parent / "development" / "robustness.md"
_COLUMNS = {"part", "case", "tried", "survived", "lost", "seconds", "processor"}
_INTRODUCTION = """# Robustness

Commands are killed, disks and stores fail, and files and answers are hostile, on purpose. After each of these trials nothing may be
lost: the same command again gives the same bytes, weights and predictions, or the error names the file.

```sh
make torture                      # the whole programme
make torture MATHPIPE_TORTURE=0.1 # a tenth of it
```

A small part runs with every `make test`. The figures are of the last run of each test; a run on a busy machine does fewer trials.
A trial that lost something found a defect, which is repaired before its figures are recorded again.
`python docs/make_robustness.py` writes this page from them. Seconds are those of a clock, on a machine that other programs shared.

- **Kills**: `kill -9` at random moments, then the same command again. The result is compared with that of an undisturbed run: bytes
  of datasets and exports, weights and optimiser of training, predictions and failures of evaluation.
- **Disks**: a store, or the operating system, refuses byte k, for every k of a tiny dataset; a disk has room for a part of what a
  command writes, or is read-only; an S3 server answers errors, cuts off what it sends, or lists what it held earlier. Whatever is
  there must be whole files, without a manifest; the same command must complete the work with an equal result.
- **Hostile input**: texts of absurd depth, length and size; random and mutated token sequences; files with one byte flipped or cut
  off; checkpoints that hold code. Limits: 1 GB and 10 seconds of CPU time.
- **Load**: the resident memory of a command and its workers in each quarter of its time. It must not grow with the rows, but
  for the analyses at the end of `eval` and in `report`, which hold about 0.6 KB a prediction; `dedupe` stays below 4 GB."""


def page() -> str:
    """The whole page, in Markdown."""
    lines = [json.loads(line) for line in FIGURES.read_text(encoding="utf-8").splitlines()]
    latest = {(line["part"], line["case"]): line for line in lines}
    parts = list(dict.fromkeys(line["part"] for line in latest.values()))
    header = "| trial | tried | survived | lost | seconds | largest |\n|---|---:|---:|---:|---:|---|"
    tables = [
        f"## {part.capitalize()}\n\n" + "\n".join([header, *_rows([v for v in latest.values() if v["part"] == part])])
        for part in parts
    ]
    processors = sorted({line["processor"] for line in latest.values()})
    return "\n\n".join([_INTRODUCTION, f"Measured on {', '.join(processors)}.", *tables]) + "\n"


def _rows(lines: list[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        details = ", ".join(f"{name} {value:,}" for name, value in line.items() if name not in _COLUMNS)
        yield (
            f"| {line['case']} | {line['tried']:,} | {line['survived']:,} | {line['lost']:,} | {line['seconds']:,.0f} "
            f"| {details} |"
        )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
