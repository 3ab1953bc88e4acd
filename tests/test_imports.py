"""Commands start quickly: they import only what they use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mathpipe.pipeline.cli import COMMANDS, main

HEAVY = {
    "torch",
    "pandas",
    "sympy",
    "symengine",
    "flint",
    "mpmath",
    "dask",
    "distributed",
    "scipy",
    "s3fs",
    "transformers",
}
PROGRAM = """
import sys
from mathpipe.pipeline.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
finally:
    print("modules", *sys.modules)
"""


def imported(program: str, *arguments: str) -> set[str]:
    """Names of the packages that a program, run in its own process, has imported at its end."""
    result = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    line = result.stdout.splitlines()[-1]
    assert line.startswith("modules ")
    return {name.split(".")[0] for name in line.split()[1:]}


@pytest.fixture(scope="module")
def inverses(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("imports") / "inverse"
    with pytest.raises(SystemExit) as end:
        main(f"generate --task inverse --n 200 --valid 50 --test 50 --workers 0 --out {folder}".split())
    assert end.value.code == 0
    return str(folder)


def test_help_imports_click_alone() -> None:
    assert not imported(PROGRAM, "--help") & (HEAVY | {"numpy", "pyarrow", "pydantic", "fsspec", "yaml", "tqdm"})


@pytest.mark.parametrize(
    "line",
    [
        *("tasks", "tasks --json", "presets"),
        *(f"{command} --help" for command in COMMANDS),
    ],
)
def test_listing_imports_nothing_heavy(line: str) -> None:
    assert not imported(PROGRAM, *line.split()) & HEAVY


@pytest.mark.parametrize(
    "line", ["show {} -k 1", "show {} -k 1 --encoding P10 --json", "verify {} --workers 0", "verify {}"]
)
def test_reading_a_dataset_imports_nothing_heavy(line: str, inverses: str) -> None:
    assert not imported(PROGRAM, *line.format(inverses).split()) & HEAVY


@pytest.mark.parametrize(
    "line", ["train --data {}x", "eval --run {}x", "solve --run {}x 1", "export-model {}x", "import-model {}x.pth"]
)
def test_a_misspelt_directory_is_an_error_before_torch_is_imported(line: str, inverses: str) -> None:
    program = PROGRAM.replace("assert not end.code", "assert end.code == 2")
    assert "torch" not in imported(program, *line.format(inverses).split())


def test_reading_an_evaluation_imports_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = "-S steps=2 -S warmup=1 -S valid_examples=0 -S model.encoder_width=16 -S model.encoder_heads=2"
    for line in ("generate --task add --dim 2 --n 100 --valid 0 --test 20", f"train --preset none {small}", "eval"):
        with pytest.raises(SystemExit) as end:
            main([*line.split(), "--quiet"])
        assert end.value.code in (0, None)
    for line in ("failures runs/add -k 1", "report runs/add/evaluation/test --out report.html"):
        assert "torch" not in imported(PROGRAM, *line.split())
    assert Path("report.html").stat().st_size


@pytest.mark.parametrize("workers", ["", "--workers 0"])
@pytest.mark.parametrize(
    "task",
    ["inverse", "cotraining", "eigenvalues --spectrum laplace,semicircle", "add --noise 0.1", "xor --bits 5 --n 20"],
)
def test_generating_without_expressions_imports_nothing_heavy(task: str, workers: str, tmp_path: Path) -> None:
    line = f"generate --n 100 --valid 5 --test 5 --task {task} {workers} --out {tmp_path}/d"
    assert not imported(PROGRAM, *line.split()) & HEAVY


def test_expressions_import_symengine_and_no_torch(tmp_path: Path) -> None:
    line = f"generate --task integration-bwd --n 20 --valid 0 --test 0 --out {tmp_path}/d"
    packages = imported(PROGRAM, *line.split())
    assert "symengine" in packages
    assert not packages & (HEAVY - {"symengine", "flint", "mpmath"})


def test_torch_is_imported_with_the_first_batch(inverses: str) -> None:
    program = (
        "import sys\n"
        "from mathpipe import open_dataset\n"
        "data = open_dataset(sys.argv[1], input_encoding='P10')\n"
        "(rows,) = data.chunks()\n"
        "data.encode(rows)\n"
        "stream = data.batches(size=8)\n"
        "{}"
        "print('modules', *sys.modules)\n"
    )
    assert not imported(program.format(""), inverses) & HEAVY
    assert "torch" in imported(program.format("assert len(next(stream).rows) == 8; stream.close()\n"), inverses)
