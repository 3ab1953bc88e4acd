"""The architecture: which sub-package may import which, the layout of folders, and that wheel and sdist hold every file."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import mathpipe

ROOT = Path(__file__).parent.parent
STAGES = ("pipeline", "generate", "train", "evaluate", "datasets")
MOST_MODULES = 14
LARGE_FOLDERS = {"generate/tasks/matrices", "pipeline/commands"}  # one file a task, one file a command
REPEATED_NAMES: set[str] = set()
FOR_ALL_STAGES = {"generate.outcomes", "generate.worker_processes"}  # modules that evaluate may import besides tasks

# Sub-package (or module) -> what it may import besides itself. The longest name that fits a module decides, on both sides.
# "generate" stands for the modules directly in it (spec, layout, splits, outcomes, provenance), and so for the others.
TASKS = {"generate.tasks"} | {
    f"generate.tasks.{part}"
    for part in ("external", "matrices", "calculus", "sequences", "integers", "graphs", "polynomials", "symbols")
}
DATASETS = {
    "datasets", "datasets.containers", "datasets.expressions", "datasets.format", "datasets.io", "datasets.rendering",
    "datasets.tokenizers", "datasets.problem_types", "datasets.resources",
}  # fmt: skip
PREPARE = {"generate", "generate.problem_specs", "generate.sampling", "generate.linalg", "generate.chunks"}
SYMBOLIC = {f"generate.symbolic.{part}" for part in ("expr", "numeric", "integrate", "ode", "check")}
EVALUATE = {"evaluate"} | {
    f"evaluate.{part}" for part in ("decode", "score", "analyze", "failures", "adapters", "report", "compare")
}
ERRORS = {"datasets.errors"}
ALLOCATOR = {"datasets.allocator"}
MAY_IMPORT: dict[str, set[str]] = {
    "datasets.errors": set(),
    "datasets.allocator": set(),
    "datasets.resources": set(),
    "datasets.containers": ERRORS,
    "datasets.expressions": {*ERRORS, "datasets.containers"},
    "datasets.tokenizers": {*ERRORS, "datasets.containers", "datasets.expressions"},
    "datasets.rendering": {*ERRORS, "datasets.containers", "datasets.expressions"},
    "datasets.io": {*ERRORS, "datasets.containers", "datasets.expressions"},
    "datasets.format": {*ERRORS, "datasets.containers", "datasets.expressions", "datasets.tokenizers", "datasets.io"},
    "datasets.problem_types": {*ERRORS, "datasets.containers", "datasets.format", "datasets.rendering", "datasets.tokenizers"},
    "datasets": {*DATASETS, *ERRORS},
    "generate": {*DATASETS, *ERRORS},
    "generate.problem_specs": {*DATASETS, *ERRORS, "generate"},
    "generate.sampling": {*DATASETS, *ERRORS, "generate", "generate.problem_specs"},
    "generate.chunks": {*DATASETS, *ERRORS, "generate", "generate.sampling"},
    "generate.linalg": {*DATASETS, *ERRORS},
    "generate.symbolic.expr": {*DATASETS, *ERRORS, "generate", "generate.problem_specs"},
    "generate.symbolic.numeric": {*DATASETS, *ERRORS},
    "generate.symbolic.check": {*DATASETS, *ERRORS, "generate", "generate.problem_specs", "generate.symbolic.numeric"},
    "generate.symbolic.integrate": {*DATASETS, *ERRORS, "generate", "generate.problem_specs", *SYMBOLIC}
    - {"generate.symbolic.ode"},
    "generate.symbolic.ode": {*DATASETS, *ERRORS, "generate", "generate.problem_specs", "generate.symbolic.expr"},
    "generate.tasks": {*DATASETS, *ERRORS, *PREPARE, *TASKS},
    "generate.tasks.matrices": {*DATASETS, *ERRORS, *PREPARE, "generate.tasks"},
    "generate.tasks.calculus": {*DATASETS, *ERRORS, *PREPARE, *SYMBOLIC, "generate.tasks"},
    "generate.tasks.external": {*DATASETS, *ERRORS, *PREPARE, "generate.tasks"},
    "generate.tasks.sequences": {*DATASETS, *ERRORS, *PREPARE, "generate.tasks"},
    "generate.tasks.integers": {*DATASETS, *ERRORS, *PREPARE, "generate.tasks"},
    "generate.tasks.graphs": {*DATASETS, *ERRORS, *PREPARE, "generate.tasks"},
    "generate.tasks.polynomials": {*DATASETS, *ERRORS, *PREPARE, "generate.tasks"},
    "generate.tasks.symbols": {*DATASETS, *ERRORS, *PREPARE, "generate.tasks"},
    "generate.execution": {*ERRORS, *ALLOCATOR, "generate", "datasets.resources"},
    "generate.cards": {*DATASETS, *ERRORS, "generate.tasks"},
    "generate.build": {
        *DATASETS, *ERRORS, *PREPARE, "generate.tasks", "generate.tasks.external", "generate.execution", "generate.cards",
    },
    "generate.curate": {*DATASETS, *ERRORS, *PREPARE, "generate.tasks", "generate.execution", "generate.build", "generate.cards"},
    "generate.answers": {*DATASETS, *ERRORS, *PREPARE, "generate.tasks", "generate.execution", "generate.curate"},
    "train.config": {*ERRORS, "datasets.io"},
    "train.runtime": {*DATASETS, *ERRORS},
    "train.model.interface": {*DATASETS, *ERRORS, "train.runtime"},
    "train.model": {*DATASETS, *ERRORS, "train.config", "train.model.interface", "train.runtime"},
    "train.optim": {*DATASETS, *ERRORS, "train.config", "train.model.interface", "train.model", "train.runtime"},
    "train.backbones": {*DATASETS, *ERRORS, "train.config", "train.model.interface", "train.model", "train.runtime"},
    "train.tracking": {*DATASETS, *ERRORS, "train.config"},
    "train.run": {*DATASETS, *ERRORS, "train.tracking", "train.config", "train.model.interface", "train.model", "train.backbones"},
    "train.published": {*DATASETS, *ERRORS, "train.config", "train.model.interface", "train.model", "train.run"},
    "train": {
        *DATASETS, *ERRORS, *ALLOCATOR, "train.config", "train.model.interface", "train.model", "train.optim", "train.run",
        "train.runtime", "train.tracking",
    },
    "evaluate.decode": {*DATASETS, *ERRORS, *ALLOCATOR, "train.model", "train.model.interface", "train.runtime"},
    "evaluate.score": {*DATASETS, *ERRORS, "evaluate.decode", "generate", *TASKS},
    "evaluate.analyze": {*DATASETS, *ERRORS, "evaluate.score", "generate", *TASKS},
    "evaluate.failures": {*DATASETS, *ERRORS},
    "evaluate.adapters": {
        *DATASETS, *ERRORS, "generate", *TASKS, "evaluate.decode", "evaluate.score", "evaluate.analyze", "evaluate.failures",
    },
    "evaluate.report": {*DATASETS, *ERRORS, "generate", *TASKS, "evaluate.analyze", "evaluate.failures", "evaluate.adapters"},
    "evaluate.live": {*EVALUATE, *DATASETS, *ERRORS, "generate", *TASKS, "train.run"},
    "evaluate.compare": EVALUATE | DATASETS | ERRORS,
    "evaluate": {
        *DATASETS, *ERRORS, "generate", *TASKS, *EVALUATE, "train.model.interface", "train.run",
    } - {"evaluate.compare"},
    "pipeline.config": set(),  # what it may import besides: see ANYTHING
    "pipeline.published": {"pipeline", "pipeline.config"},
    "pipeline.inputs": {"pipeline"},
    "pipeline.models": {"pipeline", "pipeline.config"},
    "pipeline.commands": {"pipeline", "pipeline.config", "pipeline.inputs", "pipeline.models", "pipeline.published"},
    "pipeline": set(),
}  # fmt: skip
ANYTHING = ("datasets", "generate", "train", "evaluate")  # the pipeline brings the others together
# Third-party package -> the only places that may import it.
ALONE = {
    "yaml": ("pipeline/", "generate/cards/"),
    "dask": ("generate/execution/",),
    "distributed": ("generate/execution/",),
    "huggingface_hub": ("pipeline/hub.py",),
    **dict.fromkeys(("dvclive", "wandb", "mlflow", "trackio"), ("train/tracking/",)),
    "transformers": ("train/backbones/",),
    "safetensors": ("train/published/",),
}


def sources() -> list[Path]:
    return sorted(file for stage in STAGES for file in (ROOT / stage).rglob("*.py"))


def module_of(file: Path) -> str:
    """Dotted name below ``mathpipe``."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    return {module_of(file): file for file in sources()}


@cache
def imports_of(file: Path) -> frozenset[str]:
    """Dotted names that a file imports, wherever the statement stands: in functions and for type checkers too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full.removeprefix("mathpipe.") in modules() else str(node.module))
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(names)


def ours(file: Path) -> set[str]:
    """Modules of ours that a file imports, below ``mathpipe``; the root itself is the empty name."""
    names = {name for name in imports_of(file) if name == "mathpipe" or name.startswith("mathpipe.")}
    return {name.removeprefix("mathpipe").removeprefix(".") for name in names}


def home(module: str) -> str:
    """The longest name of the table that a module lies in."""
    fitting = [name for name in MAY_IMPORT if module == name or module.startswith(f"{name}.")]
    return max(fitting, key=len)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_one_way(package: str) -> None:
    allowed = {package, *MAY_IMPORT[package]}
    for module, file in modules().items():
        if home(module) != package:
            continue
        for name in ours(file):
            assert name, f"{module} imports the public root, which imports everything"
            free = package.startswith("pipeline") and name.startswith(ANYTHING)
            assert free or home(name) in allowed, f"{module} imports {name}"


def test_commands_import_no_other_command() -> None:
    for module, file in modules().items():
        if module.startswith("pipeline.commands."):
            assert not [name for name in ours(file) if name.startswith("pipeline.commands")], module


def test_stages_keep_to_themselves() -> None:
    """The rules of whole folders, said once more without the table."""
    for module, file in modules().items():
        stages = {name.split(".")[0] for name in ours(file)}
        if module.startswith("datasets"):
            assert stages <= {"datasets"}, module
        elif module.startswith("train"):
            assert stages <= {"train", "datasets"}, module
        elif module.startswith("generate"):
            assert stages <= {"generate", "datasets"}, module
        elif module.startswith("evaluate"):
            tasks = [name for name in ours(file) if name.startswith("generate")]
            assert all(name.startswith("generate.tasks") or name in FOR_ALL_STAGES for name in tasks), module
            assert "pipeline" not in stages, module


MOST_TYPE_TESTS = 10
TYPE_NAMES = {"matrices", "expressions", "sequences", "integers", "imported"}


def of_one_type(name: str) -> bool:
    """Whether a class belongs to one problem type: its specs, tasks, examples, formats, tokenizers, adapters."""
    roots = ("Matri", "Expression", "Sequence", "Integer", "Pair", "Bit", "Prefix", "Token", "Imported")
    ends = ("Spec", "Task", "Examples", "Format", "Tokenizer", "Adapter", "Type", "Matrices", "Sequences", "Pairs")
    return name.startswith(roots) and name.endswith(ends)


def type_tests(file: Path) -> list[int]:
    """Lines that ask which problem type something has: ``isinstance`` with a class of one type, a comparison with its name."""
    lines = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            names = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
            names |= {n.attr for n in ast.walk(node.args[1]) if isinstance(n, ast.Attribute)}
            asks = any(of_one_type(name) for name in names)
        elif isinstance(node, ast.Compare):
            asks = any(isinstance(n, ast.Constant) and n.value in TYPE_NAMES for n in ast.walk(node))
        else:
            continue
        if asks:
            lines.append(node.lineno)
    return lines


def test_problem_types_are_asked_of_their_adapters() -> None:
    """Only registries tell problem types apart."""
    registries = ("task_registry", "type_registry", "adapter_registry")
    sites = [
        f"{module}:{line}"
        for module, file in modules().items()
        if module.split(".")[-1] not in registries
        for line in type_tests(file)
    ]
    assert len(sites) <= MOST_TYPE_TESTS, sites
    assert type_tests(ROOT / "generate" / "tasks" / "task_registry.py"), "the search finds the tests of the registry"


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                components.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return components


def test_cycles_are_seen() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_import_cycles() -> None:
    assert cycles({module: ours(file) & (modules().keys() - {module}) for module, file in modules().items()}) == []


def test_some_packages_are_imported_in_one_place_only() -> None:
    for file in sources():
        path = file.relative_to(ROOT).as_posix()
        for name in imports_of(file):
            allowed_paths = ALONE.get(name.split(".")[0])
            assert allowed_paths is None or path.startswith(allowed_paths), f"{path} imports {name}"


def test_folders_are_small_and_names_are_unique() -> None:
    names: dict[str, list[str]] = defaultdict(list)
    folders: dict[str, int] = defaultdict(int)
    for file in sources():
        if file.stem != "__init__":
            path = file.relative_to(ROOT)
            names[file.stem].append(path.as_posix())
            folders[path.parent.as_posix()] += 1
    assert {f: n for f, n in folders.items() if n > MOST_MODULES and f not in LARGE_FOLDERS} == {}
    assert {name: files for name, files in names.items() if len(files) > 1 and name not in REPEATED_NAMES} == {}


def test_the_five_folders_and_tests_are_no_packages_and_sub_packages_are() -> None:
    assert [p for p in (*STAGES, "tests") if (ROOT / p / "__init__.py").exists()] == []
    assert not list((ROOT / "tests").rglob("__init__.py"))
    folders = {file.parent for file in sources()} - {ROOT / stage for stage in STAGES}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), "test files need unique names"


def test_the_root_links_to_the_five_folders() -> None:
    root = ROOT / "mathpipe"
    assert {p.name for p in root.iterdir()} - {"__pycache__", "_version.py"} == {"__init__.py", "py.typed", *STAGES}
    assert {stage: (root / stage).readlink() for stage in STAGES} == {stage: Path("..") / stage for stage in STAGES}


def test_public_names_are_loaded_on_demand() -> None:
    for name in mathpipe.__all__:
        assert getattr(mathpipe, name) is not None and name in dir(mathpipe)
    assert not set(mathpipe.__all__) & set(STAGES)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mathpipe.nothing
    light = "import sys, mathpipe; assert not {'torch', 'pyarrow', 'sympy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", light], check=True)


def test_type_checkers_see_the_public_names_where_they_are_defined() -> None:
    """The block for type checkers and the table that is used at run time name the same."""
    tree = ast.parse((ROOT / "mathpipe" / "__init__.py").read_text())
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == mathpipe._EXPORTS and {*typed, "__version__"} == set(mathpipe.__all__)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clean checkout holds of what is built."""
    folder = tmp_path_factory.mktemp("build") / "source"
    for stage in STAGES:
        shutil.copytree(ROOT / stage, folder / stage, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "mathpipe",
        folder / "mathpipe",
        symlinks=True,
        ignore=shutil.ignore_patterns("__pycache__", "_version.py"),
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def expected() -> set[str]:
    """Every module and data file, by its name in a wheel."""
    kinds = ("*.py", "*.yaml", "*.css", "*.js")
    files = [file for stage in STAGES for kind in kinds for file in (ROOT / stage).rglob(kind)]
    inside = {f"mathpipe/{file.relative_to(ROOT).as_posix()}" for file in files}
    return inside | {"mathpipe/__init__.py", "mathpipe/_version.py", "mathpipe/py.typed"}


def wheel_of(project: Path, folder: Path) -> set[str]:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(project)]
    subprocess.run(command, check=True)
    names = zipfile.ZipFile(next(folder.glob("*.whl"))).namelist()
    return {name for name in names if not name.split("/")[0].endswith(".dist-info")}


@pytest.mark.slow
def test_a_wheel_holds_every_file(source: Path, tmp_path: Path) -> None:
    """The list of packages is computed: a forgotten sub-package would be missing here, and only here."""
    assert wheel_of(source, tmp_path) == expected()


@pytest.mark.slow
def test_an_sdist_holds_every_file_and_builds_the_same_wheel(source: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    requires = tomllib.loads((source / "pyproject.toml").read_text())["build-system"]["requires"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tools), *requires], check=True)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import setuptools.build_meta as b; b.build_sdist(sys.argv[2])"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tools), str(tmp_path)], check=True, cwd=source, capture_output=True
    )
    archive = next(tmp_path.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        members = {member.name.split("/", 1)[1] for member in tar.getmembers() if member.isfile()}
        assert expected() <= members
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert wheel_of(next((tmp_path / "unpacked").iterdir()), tmp_path / "wheel") == expected()
