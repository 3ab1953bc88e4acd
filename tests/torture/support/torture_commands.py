"""Hostile texts, and hostile JSON values, as files and arguments of commands; each command is run in this process and measured."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from torture_processes import run_command

JSON_VALUES: dict[str, str] = {
    "nested lists": "[" * 100_000 + "1" + "]" * 100_000,
    "open lists": "[" * 100_000,
    "nested objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "digits": "9" * 1_000_000,
    "digits in a list": "[[" + "9" * 1_000_000 + "]]",
    "large exponent": "[[1e999999999]]",
    "exponent of many digits": "1e" + "9" * 1_000_000,
    "long list": "[" + ",".join(["1"] * 1_000_000) + "]",
    "many rows": "[" + ",".join(["[1]"] * 300_000) + "]",
    "rows of different lengths": "[[1, 2], [3]]",
    "not finite": "[[NaN, Infinity]]",
    "no value": "null",
    "true": "true",
    "an object": '{"__class__": "x"}',
    "mixed lists": '[[1, "2"], [null, {}]]',
    "surrogate": '"\\ud800"',
    "NUL": '"x\\u0000x"',
}


@dataclass(frozen=True)
class CommandResult:
    """How a command ended on one input; seconds of the CPU, MB by which the peak of the memory grew."""

    name: str
    code: int
    out: str
    message: str
    seconds: float
    megabytes: float

    def fault(self, place: str | None) -> str | None:
        """What is wrong: neither a result nor one line of error, which names ``place`` where there is one."""
        if self.code == 0:
            return None
        lines = [line for line in self.message.splitlines() if line.startswith("mathpipe: ")]
        if self.code != 2 or len(lines) != 1 or "Traceback" in self.message:
            return f"exit code {self.code}: {self.message[-300:]}"
        if len(lines[0]) > 2_000:
            return f"an error of {len(lines[0]):,} characters: {lines[0][:100]}"
        return None if place is None or place in lines[0] else f"names no file: {lines[0][:300]}"


def record(problem: str, solution: str, field: str) -> str:
    """One JSON line from JSON texts of its two values."""
    return f'{{"problem": {problem}, "{field}": {solution}}}\n'


def write_lines(path: Path, values: list[tuple[str, str]], format_: str, field: str) -> None:
    """Pairs of texts as JSON Lines, as problem<TAB>solution or as CSV."""
    if format_ == "jsonl":
        text = "".join(record(json.dumps(problem), json.dumps(solution), field) for problem, solution in values)
    elif format_ == "csv":
        rows = [("problem", field), *values]
        text = "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows)
    else:
        text = "".join(f"{problem}\t{solution}\n" for problem, solution in values)
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))


def run_lines(lines: list[tuple[str, list[str]]]) -> list[CommandResult]:
    """Run each command line of (name, line)."""
    results = []
    for name, line in lines:
        started, memory = time.process_time(), _peak_megabytes()
        try:
            code, out, err = run_command(line)
        except Exception as error:
            code, out, err = -1, "", f"Traceback: {type(error).__name__}: {str(error)[:300]}"
        seconds = time.process_time() - started
        results.append(CommandResult(name, code, out[-2_000:], err[-5_000:], seconds, _peak_megabytes() - memory))
    return results


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
