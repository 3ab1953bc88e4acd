"""Files with one byte flipped, cut off or repeated, read by the commands that read them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torture_processes import run_command


def mutations(size: int, number: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """(way, position, value): every byte flipped once if ``number`` allows, else at random; every tenth file is cut off."""
    rng = np.random.default_rng(seed)
    positions = np.arange(size) if number >= size else np.sort(rng.choice(size, number, replace=False))
    for k, position in enumerate(positions.tolist()):
        way = "cut off" if k % 10 == 9 else "flipped"
        yield way, position, int(rng.integers(1, 256))


def mutate(content: bytes, way: str, position: int, value: int) -> bytes:
    """A byte XOR ``value``, or the bytes before ``position`` alone."""
    if way == "cut off":
        return content[:position]
    return content[:position] + bytes([content[position] ^ value]) + content[position + 1 :]


def read_mutated(
    folder: str, name: str, commands: list[list[str]], changes: list[tuple[str, int, int]]
) -> list[tuple[str, str]]:
    """What is wrong with the answers of the commands, which name the copy of ``folder`` as ``{}``, for each change of a file.

    A command succeeds, or ends with code 1 or 2 and a message of one line, which names the file, the directory or a parameter.
    """
    content, faults = (Path(folder) / name).read_bytes(), []
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy"
        shutil.copytree(folder, copy)
        for change in changes:
            (copy / name).write_bytes(mutate(content, *change))
            for line in commands:
                fault = _fault_of([part.replace("{}", str(copy)) for part in line], place)
                if fault is not None:
                    faults.append((f"{line[0]} of {name}, {change}", fault))
    return faults


def _fault_of(line: list[str], place: str) -> str | None:
    try:
        code, out, err = run_command(line)
    except Exception as error:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f" at {last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else ""
        return f"{type(error).__name__}: {str(error)[:150]}{where}"
    if code == 0 or (code == 1 and line[0] == "verify" and "copy" in out + err):
        return None
    message = [each for each in err.splitlines() if each.startswith("mathpipe: ")]
    if code != 2 or len(message) != 1 or "Traceback" in err:
        return f"exit code {code}: {err[-200:]}"
    return None if place in message[0] else f"names no file: {message[0][:200]}"
