"""The source of a task outside the package: a file or an importable module, and the digest of its code.

digest = sha256 of the text of a file (line ends as ``\\n``). For a module of a package: of the names and texts of that module and
of every module of the same top-level package that it imports, directly or not. Comments count, the path does not.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.abc
import importlib.util
import os
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.locations import local_path

_FILE = re.compile(r"(?P<place>.+\.py)(?::(?P<attribute>[A-Za-z_]\w*))?")
_MODULE = re.compile(r"(?P<place>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<attribute>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class TaskReference:
    """How a user names a task outside the package: ``./gcd.py``, ``./tasks.py:Gcd`` or ``my.module:Gcd``."""

    kind: Literal["file", "module"]
    place: str
    attribute: str | None

    def __str__(self) -> str:
        return self.place if self.attribute is None else f"{self.place}:{self.attribute}"


def is_reference(text: str) -> bool:
    """Whether the text names a place of code, unlike ``inverse``, the name of a task."""
    return text.endswith(".py") or any(mark in text for mark in (":", "/", os.sep))


def parse_reference(text: str) -> TaskReference:
    """UserError if the text is neither FILE.py, FILE.py:NAME nor MODULE:NAME."""
    for kind, pattern in (("file", _FILE), ("module", _MODULE)):
        match = pattern.fullmatch(text)
        if match is not None:
            return TaskReference("file" if kind == "file" else "module", match["place"], match["attribute"])
    raise UserError(
        f"--task {text} names no task",
        expected="the name of a task, a file (./gcd.py or ./gcd.py:Gcd) or a module (my.module:Gcd)",
        got=repr(text),
        next_step=f"write --task {text.replace('::', ':')}" if "::" in text else "`mathpipe tasks` lists the names",
    )


@dataclass(frozen=True)
class TaskSource:
    """Where a task comes from. ``text``: the source of a file, so that another process can load it; None for a module.

    ``path``: for messages; on another machine there may be no such file.
    """

    reference: TaskReference
    path: str
    text: str | None
    digest: str

    @property
    def module_name(self) -> str:
        """The name in ``sys.modules``: equal in every process that loads this source, so that its classes can be pickled."""
        if self.reference.kind == "module":
            return self.reference.place
        stem = re.sub(r"\W", "_", Path(self.path).stem)
        return f"mathpipe_task_{stem}_{self.digest[:16]}"


def read_source(reference: TaskReference) -> TaskSource:
    """The source as it is now; a module is imported for this. UserError if there is none."""
    if reference.kind == "module":
        module = import_module(reference.place)
        return TaskSource(reference, str(module.__file__), None, module_digest(module))
    path = local_path(reference.place, "--task")
    try:
        text = _normalised(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--task {reference}: {path} cannot be read",
            expected="a Python file",
            got=getattr(error, "strerror", None) or str(error),
            next_step="name an existing file, such as ./gcd.py",
        ) from error
    return TaskSource(reference, str(path.absolute()), text, _digest({"": text}))


def load_module(source: TaskSource) -> ModuleType:
    """The module of a source, executed once in each process. UserError names the line that fails, or a digest that differs."""
    if source.text is None:
        module = import_module(source.reference.place)
        check_digest(source, module_digest(module))
        return module
    check_digest(source, _digest({"": source.text}))
    if source.module_name not in sys.modules:
        _execute(source, source.text)
    return sys.modules[source.module_name]


def check_digest(source: TaskSource, digest: str) -> None:
    """UserError if the code here is not the code of ``source``."""
    if digest != source.digest:
        raise UserError(
            f"task {source.reference}: this process finds other source code",
            expected=f"source of digest {source.digest[:12]}",
            got=f"{digest[:12]}",
            cause="another version of the module is installed here, or it was changed during the run",
            next_step="install the same version where the workers run, and restart them; a file, --task ./FILE.py, is sent along",
        )


class _TextLoader(importlib.abc.SourceLoader):
    """Loads a module from text. Tracebacks show its lines even where there is no such file."""

    def __init__(self, path: str, text: str) -> None:
        self._path, self._text = path, text

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: str) -> bytes:
        if path != self._path:  # compiled code is not cached
            raise OSError(path)
        return self._text.encode()


def _execute(source: TaskSource, text: str) -> None:
    """Run the source as a module."""
    loader = _TextLoader(source.path, text)
    spec = importlib.util.spec_from_loader(source.module_name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[source.module_name] = module
    try:
        loader.exec_module(module)
    except BaseException as error:
        del sys.modules[source.module_name]
        if isinstance(error, Exception):
            raise _import_error(source.reference, source.path, error) from error
        raise


def import_module(name: str) -> ModuleType:
    """Import a module, which may be in the working directory. UserError if this fails, or if it has no source file."""
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    try:
        module = importlib.import_module(name)
    except Exception as error:
        file = getattr(error, "filename", None) or _last_file(error) or name
        raise _import_error(TaskReference("module", name, None), file, error) from error
    if not (module.__file__ or "").endswith(".py"):
        raise UserError(
            f"--task {name}: the module has no source file", expected="a module written in Python", got=module.__file__
        )
    return module


def _import_error(reference: TaskReference, path: str, error: Exception) -> UserError:
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    beside = missing is not None and (Path(path).parent / f"{missing.partition('.')[0]}.py").exists()
    return UserError(
        f"--task {reference} cannot be loaded: {describe_location(error, path)}",
        expected="Python code that can be imported",
        got=f"{type(error).__name__}: {error}",
        cause=f"a task file is one file: workers and the digest do not see {missing}.py beside it" if beside else None,
        next_step="put all into one file, or make a package of them and name it my.package:Gcd"
        if beside
        else "correct the line; `pip install` what is missing",
    )


def _last_file(error: BaseException) -> str | None:
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else None


def describe_location(error: BaseException, path: str) -> str:
    """``gcd.py, line 12``: the last line of this file that the error passed, or where its syntax is wrong."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{Path(path).name}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{Path(path).name}, line {lines[-1]}" if lines else Path(path).name


def module_digest(module: ModuleType) -> str:
    """The digest of a module and of what it imports from its own top-level package."""
    texts: dict[str, str] = {}
    names = [module.__name__]
    while names:
        name = names.pop()
        if name in texts:
            continue
        file = _source_file(name)
        if file is not None:
            texts[name] = _normalised(file.read_text(encoding="utf-8-sig"))
            names += _package_imports(name, texts[name], is_package=file.name == "__init__.py")
    return _digest(texts)


def _source_file(name: str) -> Path | None:
    """The file of a module; None for a namespace package, or if there is no such module."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _package_imports(name: str, text: str, *, is_package: bool) -> list[str]:
    """Names of modules of the same top-level package that the text imports, its parent packages included."""
    package = name if is_package else name.rpartition(".")[0]
    imported = [name]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package or None)
            imported += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    top = name.partition(".")[0]
    of_package = [module for module in imported if module.partition(".")[0] == top]
    return [module[:end] for module in of_package for end in _ends(module)]


def _ends(module: str) -> list[int]:
    """Where the names of a module's parent packages and its own end."""
    return [k for k, character in enumerate(module) if character == "."] + [len(module)]


def _normalised(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _digest(texts: dict[str, str]) -> str:
    """sha256, 64 hexadecimal digits; of the text alone if there is one."""
    source = "".join(f"{name}\n{text}\n" if len(texts) > 1 else text for name, text in sorted(texts.items()))
    return hashlib.sha256(source.encode()).hexdigest()
