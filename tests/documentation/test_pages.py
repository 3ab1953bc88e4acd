"""The documentation is right: the blocks of its pages run as printed, its commands parse, its links exist.

All blocks of a page run in order, in a folder of its own. A block of ``sh`` runs in bash, one of ``python`` in the namespace of the
page, and one below "Save this as `FILE`:" is written to that file. Two comments in a page speak to this test:

    <!-- not run: REASON -->        the next block is not run; its commands are parsed all the same
    <!-- setup: WHAT ... -->        commands that make what the page supposes its reader to have

Commands run at small sizes: ``SMALLER`` says what is appended to each, and ``REPLACED`` what is replaced.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.tasks.task_registry import TASKS
from mathpipe.pipeline.cli import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
FOLDERS = ("start", "guides", "reference", "explanation")
RUN_PAGES = [README, *sorted(page for folder in FOLDERS for page in (DOCS / folder).glob("*.md"))]

# Appended to a command: the last of two equal options counts.
SMALLER = {
    "generate": "--n 1k --valid 70 --test 70 --workers 0",
    "train": (
        "-S steps=4 -S warmup=1 -S batch=8 -S valid_examples=20 -S model.encoder_layers=1 -S model.decoder_layers=1 "
        "-S model.encoder_width=16 -S model.decoder_width=16 -S model.encoder_heads=2 -S model.decoder_heads=2"
    ),
    "eval": "--limit 20",
    "bench": "--seconds 0.1",
}
# Replaced in a command. Each pattern has to occur.
REPLACED = {r"(--extra-test \S*,n=)\d+k": r"\g<1>50", r"--workers 2": "--workers 1"}


@dataclass(frozen=True)
class Block:
    """A fenced block, or a setup. ``reason``: why it is not run; ``file``: the file that it is saved as."""

    language: str
    text: str
    reason: str | None = None
    file: str | None = None


_BLOCK = re.compile(
    r"(?:^<!-- setup: [^\n]*\n(?P<setup>.*?)^-->\n)"
    r"|(?:^Save this as `(?P<saved>[\w.]+)`:\n\n|[^\n]*Save this as `(?P<ending>[\w.]+)`:\n\n)?"
    r"(?:^<!-- not run: (?P<reason>[^\n]*) -->\n)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks_of(page: Path) -> list[Block]:
    blocks = []
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match["setup"] is not None:
            blocks.append(Block("sh", match["setup"]))
        else:
            blocks.append(Block(match["language"], match["text"], match["reason"], match["saved"] or match["ending"]))
    return blocks


def runnable(page: Path) -> list[Block]:
    """The blocks of a page that run."""
    return [block for block in blocks_of(page) if block.reason is None and block.language in ("sh", "python")]


def lines_of(text: str) -> list[str]:
    """The commands of a block of ``sh``, one a line."""
    return text.replace("\\\n", " ").splitlines()


def mathpipe_commands(page: Path) -> Iterator[str]:
    """Every command line of mathpipe in the blocks of a page, those within other commands included."""
    for block in blocks_of(page):
        if block.language == "sh":
            for line in lines_of(
                block.text.replace('"$(which mathpipe)"', "mathpipe").replace("$(which mathpipe)", "mathpipe")
            ):
                for match in re.finditer(r"(?:^|&& |-- |\$\()(mathpipe [^|&<>]*?)(?=$|\s+# |\s*[|&]| [<>] )", line):
                    yield match[1]


def smaller(line: str) -> str:
    """A command line at a small size."""
    for pattern, replacement in REPLACED.items():
        line = re.sub(pattern, replacement, line)
    match = re.match(r"mathpipe (\w+)( .*)?$", line)
    if match is None or match[1] not in SMALLER or re.search(r"--help|[<>|]", line.split(" # ")[0]):
        return line
    command = line.split(" # ")[0].rstrip()
    return f"{command} {SMALLER[match[1]]}"


def is_plain(line: str) -> bool:
    """A command of mathpipe without redirection, or nothing."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    tokens = list(lexer)
    return not tokens or (
        tokens[0] == "mathpipe" and not any(set(token) & set("<>|&();") == set(token) for token in tokens)
    )


class PageRunner:
    """Runs blocks in one folder; ``output`` is everything that they printed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output = folder, ""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("block_runner.py"))],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, block: Block) -> None:
        if block.file is not None:
            (self.folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self._check(block.text, **self._ask({"python": block.text}))
            check_printed(block.text, self.output)
        elif block.language == "sh":
            lines = [smaller(line) for line in lines_of(block.text)]
            if all(is_plain(line) for line in lines):
                for line in lines:
                    if arguments := shlex.split(line, comments=True)[1:]:
                        self._check(line, **self._ask({"command": arguments}))
            else:
                self._run_bash("\n".join(lines))

    def _run_bash(self, text: str) -> None:
        command = ["bash", "-e", "-c", text]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        self._check(text, done.returncode, done.stdout + done.stderr)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def _check(self, text: str, code: int, output: str) -> None:
        self.output += output
        assert code == 0, f"{text}\n{output}"

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def check_printed(text: str, output: str) -> None:
    """A comment behind ``print(...)`` is what it printed."""
    for expected in re.findall(r"^print\(.*\)\s+# (.*)$", text, flags=re.MULTILINE):
        assert expected in output.splitlines(), f"{text}\nprinted {output}"


def own_data(runner: PageRunner, page: str) -> None:
    """The wrong answer is named as the page says, and the datasets have the rows of the examples."""
    (named,) = re.findall(r"named: `(.*?)`", page)
    assert named in runner.output and runner.output.count("wrong_value") == 2
    manifests = {path.name: read_manifest(str(path)) for path in (runner.folder / "data").iterdir() if path.is_dir()}
    rows = {name: sum(split.rows for split in manifest.splits.values()) for name, manifest in manifests.items()}
    again = manifests["own-inverses"].splits["train"].rows
    assert rows == {"own-inverses": 2, "own-integrals": 2, "dyck": 3, "own-gcds": 2, "again": again}


def own_tasks(runner: PageRunner, page: str) -> None:
    """Every file of the page has become a dataset, of a task that mathpipe does not have."""
    specs = {path.name for path in (runner.folder / "data").iterdir() if path.is_dir()}
    assert specs == {"divisor", "rotate", "majority", "fast-gcd"} and not specs & TASKS.keys()


def first_task(runner: PageRunner, page: str) -> None:
    """The options of the file are those of the command, and classes of answers reach the metrics."""
    spec = read_manifest(str(runner.folder / "data" / "euclid")).spec
    assert spec["problems"]["max_int"] == 1_000_000 and "euclid" not in TASKS
    metrics = next((runner.folder / "runs" / "euclid" / "evaluation").glob("*/analyses/analyses.json")).read_text()
    assert "classes_predicted" in metrics


CHECKS = {"own-data.md": own_data, "own-tasks.md": own_tasks, "first-task.md": first_task}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", [page for page in RUN_PAGES if runnable(page)], ids=name_of)
def test_blocks_run_as_printed(page: Path, tmp_path: Path) -> None:
    runner = PageRunner(tmp_path)
    try:
        for block in runnable(page):
            runner.run(block)
    finally:
        runner.close()
    if page.name in CHECKS:
        CHECKS[page.name](runner, page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in PAGES if any(mathpipe_commands(page))], ids=name_of)
def test_commands_parse(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every subcommand and option exists, also in the blocks that are not run."""
    monkeypatch.chdir(tmp_path)
    for block in blocks_of(page):
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
    for command in mathpipe_commands(page):
        _, *arguments = shlex.split(command, comments=True)
        with click.Context(cli) as context:
            if arguments[0].startswith("-"):
                cli.make_context("mathpipe", arguments, resilient_parsing=True)
                continue
            subcommand = cli.get_command(context, arguments[0])
            assert subcommand is not None, command
            subcommand.make_context(arguments[0], arguments[1:], parent=context)


@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_blocks_have_a_language_and_python_compiles(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language, f"a block without a language: {block.text}"
        assert block.reason is None or len(block.reason) > 5
        if block.language == "python":
            compile(block.text, str(page), "exec")


def test_every_fence_is_a_block() -> None:
    """The expression that finds blocks misses none."""
    for page in RUN_PAGES:
        fences = len(re.findall(r"^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
        blocks = [block for block in re.finditer(_BLOCK, page.read_text(encoding="utf-8")) if block["setup"] is None]
        assert fences == 2 * len(blocks), page


def test_most_blocks_of_start_and_guides_run() -> None:
    blocks = [block for page in RUN_PAGES for block in blocks_of(page) if block.language in ("sh", "python")]
    assert sum(block.reason is None for block in blocks) > len(blocks) / 2


def test_replacements_are_used() -> None:
    commands = [command for page in RUN_PAGES for command in mathpipe_commands(page)]
    for pattern in REPLACED:
        assert any(re.search(pattern, command) for command in commands), pattern
    for name in SMALLER:
        assert any(command.startswith(f"mathpipe {name}") for command in commands), name


def test_the_first_task_has_fifteen_lines() -> None:
    (text,) = [block.text for block in blocks_of(DOCS / "start" / "first-task.md") if block.file == "euclid.py"]
    assert len([line for line in text.splitlines() if line]) <= 15


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_anchors_exist(page: Path) -> None:
    """Also those outside the site, such as the README's; ``make docs`` checks the others once more."""
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


def test_every_task_is_on_the_page_of_verification() -> None:
    text = (DOCS / "explanation" / "verified.md").read_text(encoding="utf-8")
    assert TASKS.keys() - set(re.findall(r"`([\w-]+)`", text)) == set()
