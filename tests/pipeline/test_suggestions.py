"""A name that is not in its fixed set is answered with the nearest one, wherever it is given."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from mathpipe.datasets.errors import did_you_mean
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.commands.presets import presets
from mathpipe.pipeline.config.preset_catalogue import file_preset_names
from mathpipe.pipeline.config.published_tables import experiments

ROOT = Path(__file__).parents[2]
Ask = Callable[[str], str]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """The error message of a command, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(line.split())
        assert stop.value.code == 2
        (message,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("mathpipe: ")]
        return message

    return run


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("generat", "generate"),
        ("presets lawt/invers", "lawt/inverse"),
        ("train --preset lawt/ad", "lawt/add"),
        ("train --preset lawt-tasks/invers:cpu", "lawt-tasks/inverse:cpu"),
        ("replicate lawt-task", "lawt-tasks"),
        ("replicate lawt-tasks --row transpos", "transpose"),
        ("replicate lawt-tasks --size ful", "full"),
        ("generate --task invers", "inverse"),
        ("generate --task add --dims 3", "--dim"),
        ("generate --task add --on-mismatch resart", "restart"),
        ("generate --task eigenvalues --spectrum laplas", "laplace"),
        ("generate --task eigenvalues --spectrum uniform,laplas", "laplace"),
        ("generate --task eigenvalues --extra-test far:spectrum=laplas", "laplace"),
        ("generate --task add --entries gausian", "gaussian"),
        ("generate --task integration-bwd --family trigonometic", "trigonometric"),
        ("generate --task integration-bwd --operators sinn:0", "sin"),
        ("train -S input_encoding=P100", "P1000"),
        ("train -S optimiser=adm", "adam"),
        ("train -S model.norm=prre", "pre"),
        ("train -S backbone.trainable=al", "all"),
        ("train -S optimizer=adam", "train.optimiser"),
        ("import --task integration-bwd --test f --out d --format jsnl", "jsonl"),
        ("import --task integration-bwd --test f --out d --notation latx", "latex"),
        ("import --task integration-bwd --test f --out d --format jsonl --columns problm=a", "problem=a"),
        ("export d --out x.tx", ".txt"),
    ],
)
def test_command_suggests_the_nearest_name(ask: Ask, line: str, suggestion: str) -> None:
    assert f"did you mean {suggestion}?" in ask(line)


def test_names_in_a_dataset(ask: Ask) -> None:
    generate = "generate --task add --dim 2 --n 300 --valid 20 --test 20 --quiet"
    for name in ("add", "more"):
        with pytest.raises(SystemExit) as stop:
            main([*generate.split(), "--out", f"data/{name}"])
        assert not stop.value.code
    assert "did you mean test?" in ask("show data/add --split tset")
    assert "did you mean P1000?" in ask("show data/add --encoding P100")
    assert "did you mean accuracy?" in ask("train --data data/add -S best_metric=acuracy")
    assert "did you mean data/add? It also holds data/more." in ask("verify data")
    assert "did you mean data/add? It also holds data/more." in ask("train --data data/")
    (Path("data") / "more" / "manifest.json").unlink()
    assert ask("verify data").endswith("Next: did you mean data/add?")


def test_dimension_is_named_as_it_was_given(ask: Ask) -> None:
    assert "generate.spec.dim is invalid. Expected: less than or equal to 100. Got: 200000." in ask(
        "generate --task inverse --dim 200000"
    )
    assert "generate.spec.max_dim is invalid" in ask("generate --task inverse --min-dim 1 --max-dim 200")


def test_presets_have_complete_titles(capsys: pytest.CaptureFixture[str]) -> None:
    presets.main([], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    names = [*file_preset_names(), *(f"{e.table}/{e.row}:" for e in experiments())]
    assert all(any(line.strip().startswith(name) for line in lines) for name in names)
    assert not [line for line in lines if line.endswith((":", ";"))]


def test_nothing_is_suggested_for_a_name_unlike_all() -> None:
    assert did_you_mean("xyz", ["inverse", "add"]) is None
    assert did_you_mean("tarin", ["train"], prefix="section ") == "did you mean section train?"


def test_commands_use_the_choice_that_suggests() -> None:
    for file in (ROOT / "pipeline" / "commands").glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        attributes = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        assert "click.Choice" not in attributes, file.name
