"""`mathpipe doctor` names what is missing and what is wrong; `mathpipe --version` names the commit."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

from mathpipe.pipeline import code_version
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.commands import doctor
from mathpipe.pipeline.machine import missing, requirements

ROOT = Path(__file__).parents[3]


def ask(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(line)
    return int(stop.value.code or 0), capsys.readouterr().out


def test_a_sound_installation(capsys: pytest.CaptureFixture[str]) -> None:
    code, output = ask(capsys, "doctor", "--json")
    result = json.loads(output)
    checks = {check["name"]: check for check in result["checks"]}
    assert code == (0 if result["healthy"] else 1)
    assert checks["libraries"]["status"] == "ok" and "torch 2" in checks["libraries"]["value"]
    assert "bfloat16" in checks["arithmetic"]["value"] and int(checks["threads"]["value"].split(",")[0]) >= 1
    extras = {
        name for name in metadata("mathpipe").get_all("Provides-Extra") or () if name not in ("test", "dev", "all")
    }
    assert {f"[{name}]" for name in extras - {"docs"}} <= checks.keys()
    assert ask(capsys, "doctor")[1].splitlines()[0].startswith("mathpipe      ")


def test_problems_decide_the_exit_code(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_disk", lambda path: 10**8)
    code, output = ask(capsys, "doctor")
    assert code == 1 and "PROBLEM; less than 1 GB" in output and "problems: disk" in output


def test_missing_tools_and_extras_are_optional(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "find_tools", dict.fromkeys)
    monkeypatch.setattr(doctor, "missing", lambda needed: ["boto"] if any(n.name == "s3fs" for n in needed) else [])
    checks = {check["name"]: check for check in json.loads(ask(capsys, "doctor", "--json")[1])["checks"]}
    assert checks["java"]["status"] == checks["[s3]"]["status"] == "missing"
    assert "apt-get install git" in checks["git"]["hint"] and checks["[s3]"]["hint"] == "`pip install 'mathpipe[s3]'`"


def test_what_is_missing_or_too_old_is_named() -> None:
    versions = {"a": "2.0", "b": "0.9"}

    def installed(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    listed = ["a>=1", "b>=1", "c", 'd; extra == "x"', "never; python_version < '3'", 'mathpipe[y]; extra == "x"']
    assert list(missing(requirements(None, listed), installed)) == ["b>=1 (0.9 is installed)", "c"]
    assert [requirement.name for requirement in requirements("x", listed)] == ["d"]


def test_version_names_the_commit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = ask(capsys, "--version")
    assert code == 0 and output.startswith("mathpipe ")
    if (ROOT / ".git").exists():
        head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        assert f"(commit {head.stdout[:10]}" in output
    monkeypatch.setattr(code_version, "__file__", "/nowhere/mathpipe/pipeline/code_version.py")
    monkeypatch.setattr(code_version, "version", lambda name: "0.2.1.dev3+g9d67aa3b5")
    assert code_version.version_text() == "0.2.1.dev3 (commit 9d67aa3b5)"
