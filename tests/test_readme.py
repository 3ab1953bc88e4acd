"""The README is right: its commands and Python blocks run as printed, its links exist, its commands parse."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest

from mathpipe.pipeline.cli import cli

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"

# Commands that this test does not run: they need make's own environment or the network.
SKIPPED = ("make ", "python -m venv ", "pip install ")

# Large blocks run small. Each pattern has to occur in the README, or the test fails.
SMALLER = {
    r"(?<=generate )(.*)--n (?:200k|1M|5M|50M)": r"\1--n 1k --valid 200 --test 200",
    r"-S steps=1500": "-S steps=4 -S warmup=1 -S valid_examples=50",
}


@dataclass
class Section:
    """One ``##`` section: its fenced blocks of commands and of Python, in the order of the page."""

    title: str
    blocks: list[tuple[str, str]] = field(default_factory=list)

    def commands(self) -> list[str]:
        lines = [line for language, text in self.blocks if language == "sh" for line in text.splitlines()]
        return [command for line in lines if (command := re.sub(r"\s+# .*", "", line).strip())]


def read_sections(text: str) -> list[Section]:
    """The sections that hold a block of ``sh`` or ``python``. A block in no language, or in another, is an error."""
    sections = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL)
        assert {language for language, _ in blocks} <= {"sh", "python"}, title
        if blocks:
            sections.append(Section(title, blocks))
    return sections


SECTIONS = read_sections(README.read_text(encoding="utf-8"))
COMMANDS = [command for section in SECTIONS for command in section.commands()]


def is_skipped(command: str) -> bool:
    return any(part in f"{command} " for part in SKIPPED)


def reduced(command: str) -> str:
    for pattern, replacement in SMALLER.items():
        command = re.sub(pattern, replacement, command)
    return command


def run_in(directory: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        arguments,
        cwd=directory,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_block_runs_as_printed(tmp_path: Path) -> None:
    for section in SECTIONS:
        for language, text in section.blocks:
            runs = (
                [[sys.executable, "-c", text]]
                if language == "python"
                else [
                    shlex.split(reduced(command))
                    for command in Section("", [(language, text)]).commands()
                    if not is_skipped(command)
                ]
            )
            for arguments in runs:
                process = run_in(tmp_path, arguments)
                assert process.returncode == 0, (
                    f"{section.title}: {shlex.join(arguments)}\n{process.stdout}{process.stderr}"
                )


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("mathpipe ")])
def test_command_parses(command: str) -> None:
    """Every subcommand and option exists, also in the commands that are not run."""
    _, name, *arguments = shlex.split(command)
    with click.Context(cli) as context:
        subcommand = cli.get_command(context, name)
        assert subcommand is not None
        subcommand.make_context(name, arguments, parent=context)


def test_python_blocks_compile() -> None:
    blocks = [text for section in SECTIONS for language, text in section.blocks if language == "python"]
    assert blocks
    for text in blocks:
        compile(text, str(README), "exec")


def test_lists_of_exceptions_are_used() -> None:
    for part in SKIPPED:
        assert any(part in f"{command} " for command in COMMANDS), part
    for pattern in SMALLER:
        assert any(re.search(pattern, command) for command in COMMANDS), pattern
    assert "steps=20k" not in README.read_text(encoding="utf-8")


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_anchors_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, target


def test_contributing_names_paths_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text)
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path
