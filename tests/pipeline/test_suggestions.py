"""A misspelt name is answered by the name that was meant, and by a long list only where nothing is similar."""

from pathlib import Path

import pytest

from mathpipe.pipeline.cli import main


def call(*arguments: str) -> int:
    """The exit code of ``mathpipe ARGUMENTS``."""
    with pytest.raises(SystemExit) as exit_request:
        main(list(arguments))
    return int(exit_request.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        ("generate --task eigenvalue", "did you mean eigenvalues?"),
        ("generate --task integration", "did you mean integration-bwd, integration-fwd or integration-ibp?"),
        ("generate --task euclid", "did you mean ./euclid.py?"),
        ("show data/addd", "did you mean data/add?"),
        ("show add", "did you mean data/add?"),
        ("show data/add --k 2", "did you mean -k?"),
        ("train --data data/add --preset nome", "did you mean none?"),
        ("train --data data/add -S step=10", "did you mean train.steps?"),
        ("train --data data/add --params pram.yaml", "did you mean params.yaml?"),
        ("eval --run runs/ad", "did you mean runs/add?"),
        ("eval --run add", "did you mean runs/add?"),
        ("export-model runs/ad --out model", "did you mean runs/add?"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion_without_a_list(
    arguments: str,
    suggestion: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        call(*["generate", "--task", "add", "--dim", "2", "--n", "100", "--valid", "10", "--test", "10", "--quiet"])
        == 0
    )
    Path("euclid.py").write_text("def example(rng, spec):\n    return 1, 1\n")
    Path("params.yaml").write_text("train:\n  steps: 10\n")
    Path("runs/add").mkdir(parents=True)
    Path("runs/add/run.json").write_text("{}")
    capsys.readouterr()
    assert call(*arguments.split()) == 2
    error = capsys.readouterr().err
    assert suggestion in error and len(error) < 300


def test_a_name_that_resembles_none_gets_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("generate", "--task", "zzzz") == 2
    error = capsys.readouterr().err
    assert "one of transpose, add" in error and "./NAME.py" in error


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 2
    assert capsys.readouterr().err.startswith("Usage: mathpipe")
