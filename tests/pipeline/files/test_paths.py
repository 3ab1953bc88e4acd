"""Paths of every command: ``~``, URLs, and places recorded relative to a run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.locations import (
    expand,
    is_url,
    local_path,
    relative_location,
    resolve_location,
    split_location,
)
from mathpipe.datasets.io.storage import Storage
from mathpipe.pipeline.cli import COMMANDS, cli
from mathpipe.pipeline.config.path_types import LocalPath, Location, ModelSource
from mathpipe.train.config import BackboneConfig

Run = Callable[..., str]
PATH_NAMES = {
    *(
        "out",
        "run",
        "run_dir",
        "runs",
        "data",
        "directory",
        "source",
        "dump",
        "params",
        "results",
        "metrics",
        "dataset",
    ),
    *("vocabulary", "file"),
}
NO_PATHS = {("import", "valid"), ("generate", "valid")}


def path_parameters() -> Iterator[tuple[str, click.Parameter]]:
    """(command, parameter) of every parameter whose name or placeholder says that it is a path."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            placeholder = str(parameter.metavar or "")
            if parameter.name in PATH_NAMES or placeholder.startswith(("FILE", "DIR")):
                yield name, parameter


@pytest.mark.parametrize(
    ("command", "parameter"), [pytest.param(c, p, id=f"{c}-{p.name}") for c, p in path_parameters()]
)
def test_every_path_has_a_path_type(command: str, parameter: click.Parameter) -> None:
    assert isinstance(parameter.type, LocalPath | Location | ModelSource), (command, parameter.name)


def test_no_command_takes_paths_without_these_types() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert not [
            p.name for p in command.params if isinstance(p.type, click.Path) and not isinstance(p.type, LocalPath)
        ]


def test_home_is_expanded_in_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for _, parameter in path_parameters():
        if not getattr(parameter.type, "exists", False):
            converted = parameter.type.convert("~/x", parameter, None)
            assert str(converted) == str(tmp_path / "x"), parameter.name
    assert local_path("~/x", "--run") == tmp_path / "x"
    assert BackboneConfig(weights="~/gpt2").weights == str(tmp_path / "gpt2")


@pytest.mark.parametrize("url", ["s3://b/x", "gs://b/x", "hf://datasets/x", "https://h/x", "simplecache::s3://b/x"])
def test_urls_are_refused_where_paths_are_local(url: str) -> None:
    assert is_url(url) and expand(url) == url
    refused = 0
    for _, parameter in path_parameters():
        if isinstance(parameter.type, LocalPath | ModelSource):
            with pytest.raises(UserError, match=r"is a URL, and must be a path of this machine.*Got: .*Next: "):
                parameter.type.convert(url, parameter, None)
            refused += 1
        else:
            assert parameter.type.convert(url, parameter, None) == url
    assert refused > 10
    with pytest.raises(ValueError, match="not a URL"):
        BackboneConfig(weights=url)


@pytest.mark.parametrize(
    "line",
    [
        *(("train", "--data", "d", "--run"), ("eval", "--run"), ("solve", "1", "--run"), ("report",), ("failures",)),
        *(
            ("export-model",),
            ("export-model", "r", "--out"),
            ("import-model",),
            ("bench", "--out"),
            ("train", "--params"),
        ),
    ],
)
def test_commands_make_no_directory_named_as_a_url(
    run: Run, line: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "is a URL" in run(*line, "s3://bucket/x", code=2)
    assert not list(tmp_path.iterdir())


def test_empty_paths_are_refused(run: Run) -> None:
    assert "--run is empty" in run("train", "--run", "", code=2)
    assert "--out is empty" in run("generate", "--task", "add", "--out", "", code=2)


def test_run_in_the_home_directory(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.chdir(project / "data")
    run("eval", "--run", "~/runs/add", "--out", "~/evaluation", "--limit", 5)
    run("eval", "--run", "~/runs/add", "--limit", 6)
    run("report", "~/runs/add", "~/evaluation", "--out", "~/page.html")
    run("export", "~/data/add", "--out", "~/t.txt", "--quiet")
    run("export-model", "~/runs/add", "--out", "~/models/add")
    assert {"evaluation", "page.html", "page.json", "t.txt", "models"} <= {p.name for p in project.iterdir()}
    assert [p.name for p in (project / "data").iterdir()] == ["add"] or not (project / "data" / "~").exists()


def test_report_and_export_write_to_object_stores(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    run("eval", "--limit", 5)
    run("report", "runs/add", "--out", "memory://paths/page.html")
    run("eval", "--limit", 6)
    run("report", "runs/add", "--out", "memory://paths/comparison.html")
    run("export", "data/add", "--out", "memory://paths/t.txt", "--quiet")
    assert Storage("memory://paths").list() == ["comparison.html", "comparison.json", "page.html", "t.txt"]
    assert sorted(p.name for p in project.iterdir()) == ["data", "runs"]


def test_export_to_the_root_is_not_taken_for_the_working_directory() -> None:
    assert split_location("/t.txt") == (os.sep, "t.txt")
    assert split_location("t.txt") == (".", "t.txt") and split_location("a/t.txt") == ("a", "t.txt")
    assert split_location("s3://b/t.txt") == ("s3://b", "t.txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("C:/x", False), ("C:\\x", False), ("data/x", False), ("a:b", False), ("file:///x", True), ("memory://x", True)],
)
def test_urls_and_paths(text: str, expected: bool) -> None:
    assert is_url(text) == expected
    assert expand("file:///tmp/a%20b") == "/tmp/a b" and expand("file:///C:/x") == "C:/x"


def test_run_records_its_dataset_relative_to_itself(project: Path) -> None:
    assert json.loads((project / "runs/add/run.json").read_text())["data"] == "../../data/add"


@pytest.mark.parametrize("folder", ["elsewhere", "runs", "runs/add"])
def test_run_is_evaluated_from_any_folder(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (project / folder).mkdir(exist_ok=True)
    monkeypatch.chdir(project / folder)
    run("eval", "--run", os.path.relpath(project / "runs/add"), "--limit", 5)
    run("eval", "--run", project / "runs/add", "--limit", 6)
    assert (project / "runs/add/evaluation/test.first-6/metrics.json").exists()


def test_run_and_dataset_are_moved_together(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = project.rename(project.with_name("moved"))
    monkeypatch.chdir(moved.parent)
    run("eval", "--run", "moved/runs/add", "--limit", 5)
    monkeypatch.chdir(moved)
    run(
        "train", "--run", "runs/add", "--data", "data/add", *("-S", "steps=2", "-S", "batch=8"), code=2
    )  # another model
    run("harvest", "runs/add", "--out", "data/harvest", code=2)  # no right answer: it did find the dataset


def test_run_is_moved_alone(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "runs/old").mkdir()
    shutil.move(project / "runs/add", project / "runs/old/add")
    monkeypatch.chdir(project.parent)
    run("eval", "--run", "project/runs/old/add", "--limit", 5)


def test_missing_dataset_is_named_by_its_place(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(project / "data")
    monkeypatch.chdir(project)
    error = run("eval", "--run", "runs/add", code=2)
    assert "mathpipe: data/add holds no complete dataset" in error and "--data DIR" in error


def test_recorded_locations(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    assert relative_location(str(tmp_path / "data" / "b"), run) == "../../data/b"
    assert relative_location("s3://bucket/b", run) == "s3://bucket/b" and relative_location("", run) == ""
    assert relative_location("/elsewhere/b", Path("/runs/a")) == str(Path("/elsewhere/b").absolute())
    everything, nothing = (lambda place: True), (lambda place: False)
    assert resolve_location("../../data/b", run, nothing) == str(tmp_path / "data" / "b")
    assert resolve_location("../../data/b", Path("runs/a"), everything) == str(Path("data/b"))
    assert resolve_location("s3://bucket/b", run, nothing) == "s3://bucket/b"
    assert resolve_location("", run, everything) == ""
