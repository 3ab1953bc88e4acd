"""The house stands as designed: which room may open whose door, and that a wheel holds what the tree holds."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("pipeline", "generate", "train", "evaluate", "datasets")
MAY_IMPORT = {
    "pipeline": {"generate", "train", "evaluate", "datasets"},
    "generate": {"datasets"},
    "train": {"datasets"},
    "evaluate": {"datasets", "train", "generate.tasks"},
    "datasets": set(),
}


def imports_of(file: Path) -> set[str]:
    """Modules of ours that a file imports, as dotted names below ``mathpipe``; relative imports count as the empty name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} if not node.level else {""}
            if node.module == "mathpipe" and not node.level:
                found |= {f"mathpipe.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("mathpipe.") for name in found if name == "" or name.startswith("mathpipe.")}


@pytest.mark.parametrize("room", ROOMS)
def test_doors(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        for name in imports_of(file):
            allowed = {room, *MAY_IMPORT[room]}
            assert any(name == a or name.startswith(f"{a}.") for a in allowed), (
                f"{file.relative_to(ROOT)} imports {name!r}"
            )


def test_only_the_pipeline_reads_parameters_and_only_the_cluster_knows_dask() -> None:
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            text = file.read_text()
            assert ("import yaml" not in text) or room == "pipeline", file
            assert not any(f"import {name}" in text or f"from {name}" in text for name in ("dask", "distributed")) or (
                file.relative_to(ROOT).as_posix() in ("generate/cluster.py", "generate/shuffle.py")
            ), file


def test_rooms_and_tests_are_no_packages_of_their_own() -> None:
    assert [p for p in (*ROOMS, "tests") if (ROOT / p / "__init__.py").exists()] == []
    assert not list((ROOT / "tests").rglob("__init__.py"))
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), "test files need unique names"


def test_links_for_type_checkers() -> None:
    links = {p.name: p.resolve() for p in (ROOT / ".typing" / "mathpipe").iterdir()}
    assert links == {room: ROOT / room for room in ROOMS}


@pytest.mark.slow
def test_a_wheel_holds_every_module(tmp_path: Path) -> None:
    """The list of packages is computed: a forgotten sub-package would be missing here, and only here."""
    source = tmp_path / "source"
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True)
    wheel = next(tmp_path.glob("*.whl"))
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".py", ".yaml"))}
    files = [p for room in ROOMS for kind in ("*.py", "*.yaml") for p in (ROOT / room).rglob(kind)]
    assert inside == {f"mathpipe/{p.relative_to(ROOT).as_posix()}" for p in files}
