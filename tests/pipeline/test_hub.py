"""``mathpipe push`` and ``mathpipe pull`` against a stand-in for the hub: whole, interrupted, refused, and read by load_dataset."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.generate.build.dataset_builder import make_dataset
from mathpipe.generate.curate.dataset_verification import verify_dataset
from mathpipe.generate.dataset_spec import DatasetSpec
from mathpipe.generate.layout import Layout
from mathpipe.generate.problem_specs.matrix_spec import MatrixSpec
from mathpipe.pipeline import hub as hub_module
from mathpipe.pipeline.cli import main
from mathpipe.pipeline.hub import pull_dataset, push_dataset

_spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
assert _spec is not None and _spec.loader is not None
hub_server: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hub_server)

REPO = "ada/addition"
SPEC = DatasetSpec(task="add", problems=MatrixSpec(min_dim=2, max_dim=2), chunk_rows=100)
NOISY = SPEC.with_problems(MatrixSpec(min_dim=2, max_dim=2, noise=0.1), 100)


def build(folder: Path, train: int = 450, spec: DatasetSpec = SPEC) -> None:
    layout = Layout({"train": train, "valid": 60, "test": 60, "test-noisy": 30}, 100)
    make_dataset(spec, layout, str(folder), split_specs={"test-noisy": NOISY}, workers=0)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in; the client sends everything there, without a wait before it tries again."""
    from huggingface_hub import constants

    with hub_server.serve() as server:
        for module in [m for name, m in sys.modules.items() if name.startswith("huggingface_hub")]:
            for name, value in (("ENDPOINT", server.url), ("HF_HUB_DISABLE_XET", True)):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, value)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    build(tmp_path / "d")
    return tmp_path / "d"


def test_round_trip(hub: Any, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["push", str(dataset), REPO], ["pull", REPO, str(tmp_path / "e")]):
        with pytest.raises(SystemExit) as end:
            main(command)
        assert end.value.code == 0
    output = capsys.readouterr().out
    assert f"{REPO}: add, 600 examples, 8 shards uploaded" in output and "8 shards downloaded" in output
    assert contents(tmp_path / "e") == contents(dataset)
    assert verify_dataset(str(tmp_path / "e")).damage == ()
    assert {name for name in hub.files(REPO) if name != ".gitattributes"} == set(contents(dataset))


def test_repeated_push_and_pull_transfer_nothing(hub: Any, dataset: Path, tmp_path: Path) -> None:
    push_dataset(str(dataset), REPO)
    pull_dataset(REPO, str(tmp_path / "e"))
    hub.requests.clear()
    assert push_dataset(str(dataset), REPO).transferred == pull_dataset(REPO, str(tmp_path / "e")).transferred == 0
    assert hub.count("PUT", "") == hub.count("POST", "/commit/") == hub.count("GET", r"\.parquet$") == 0


def test_broken_upload_is_resumed(
    hub: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub_module, "GROUP_FILES", 3)
    push = hub_server.Handler.put
    broken = threading.Event()

    def break_after_four(handler: Any, body: bytes, oid: str) -> None:
        push(handler, body, oid)
        # Files of a group arrive in parallel, so that a count of exactly four may never be seen.
        if len(hub.blobs) >= 4 and not broken.is_set():
            broken.set()
            hub.broken_puts = 1_000

    monkeypatch.setattr(hub_server, "ROUTES", [(p, break_after_four if a is push else a) for p, a in hub_server.ROUTES])
    with pytest.raises(SystemExit) as end:
        main(["push", str(dataset), REPO])
    message = capsys.readouterr().err
    assert end.value.code == 2 and message.splitlines()[-1].startswith("mathpipe: mathpipe push ada/addition failed")
    assert "run the same command again: it resumes" in message
    assert (
        "manifest.json" not in hub.files(REPO) and 3 <= sum(name.endswith(".parquet") for name in hub.files(REPO)) < 8
    )
    with pytest.raises(UserError, match="no complete dataset"):
        pull_dataset(REPO, str(tmp_path / "e"))
    uploaded, hub.broken_puts = set(hub.blobs), 0
    hub.requests.clear()
    result = push_dataset(str(dataset), REPO)
    assert result.present >= 3 and hub.count("PUT", "") == len(hub.blobs) - len(uploaded) == 8 - len(uploaded)
    pull_dataset(REPO, str(tmp_path / "e"))
    assert contents(tmp_path / "e") == contents(dataset)


def test_broken_download_is_resumed(hub: Any, dataset: Path, tmp_path: Path) -> None:
    push_dataset(str(dataset), REPO)
    resolve = hub_server.Handler.resolve
    hub.broken_gets = 1_000
    with pytest.raises(UserError, match=r"mathpipe pull ada/addition failed.*it resumes"):
        pull_dataset(REPO, str(tmp_path / "e"))
    assert not (tmp_path / "e" / "manifest.json").exists() and resolve is hub_server.Handler.resolve
    hub.broken_gets = 0
    hub.requests.clear()
    assert pull_dataset(REPO, str(tmp_path / "e")).transferred == 8
    assert contents(tmp_path / "e") == contents(dataset)


def test_interrupted_download_asks_for_the_rest(hub: Any, dataset: Path, tmp_path: Path) -> None:
    """One break within a file: the client asks for the second half, and whole shards of an earlier pull are not asked for."""
    push_dataset(str(dataset), REPO)
    hub.broken_gets = 2
    pull_dataset(REPO, str(tmp_path / "e"))
    assert contents(tmp_path / "e") == contents(dataset)
    (tmp_path / "e" / "manifest.json").unlink()
    (tmp_path / "e" / "train" / "00001.parquet").unlink()
    hub.requests.clear()
    assert pull_dataset(REPO, str(tmp_path / "e")).transferred == 1
    assert hub.count("GET", r"\.parquet$") == 1 and contents(tmp_path / "e") == contents(dataset)


def test_grown_dataset_replaces_the_earlier_one(hub: Any, dataset: Path, tmp_path: Path) -> None:
    push_dataset(str(dataset), REPO)
    build(dataset, train=550)
    result = push_dataset(str(dataset), REPO)
    assert (result.transferred, result.present) == (2, 7)
    pull_dataset(REPO, str(tmp_path / "e"))
    assert contents(tmp_path / "e") == contents(dataset)
    build(tmp_path / "f", spec=SPEC.model_copy(update={"seed": 1}))
    with pytest.raises(UserError, match="holds another dataset"):
        push_dataset(str(tmp_path / "f"), REPO)


def test_pull_refuses_a_directory_with_other_files(hub: Any, dataset: Path, tmp_path: Path) -> None:
    push_dataset(str(dataset), REPO)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds something else.*thesis"):
        pull_dataset(REPO, str(tmp_path / "e"))
    build(tmp_path / "f", train=100)
    with pytest.raises(UserError, match="holds something else"):
        pull_dataset(REPO, str(tmp_path / "f"))


def test_changed_shard_on_the_hub_is_refused(hub: Any, dataset: Path, tmp_path: Path) -> None:
    push_dataset(str(dataset), REPO)
    files = hub.files(REPO)
    files["train/00001.parquet"] = files["train/00000.parquet"]
    with pytest.raises(UserError, match=r"train/00001\.parquet of ada/addition is not the file"):
        pull_dataset(REPO, str(tmp_path / "e"))
    assert not (tmp_path / "e" / "manifest.json").exists()


def test_records_that_the_hub_lost_are_restored(hub: Any, dataset: Path, tmp_path: Path) -> None:
    push_dataset(str(dataset), REPO)
    del hub.files(REPO)["__records/train/00000.json"]
    pull_dataset(REPO, str(tmp_path / "e"))
    assert contents(tmp_path / "e") == contents(dataset)


@pytest.mark.parametrize(
    ("status", "push_message", "pull_message"),
    [
        (401, "hf auth login", "hf auth login"),
        (403, "permission to write", "check the name"),
        (503, "it resumes", "it resumes"),
    ],
)
def test_refusals(hub: Any, dataset: Path, tmp_path: Path, status: int, push_message: str, pull_message: str) -> None:
    hub.refuse = status
    with pytest.raises(UserError, match=push_message):
        push_dataset(str(dataset), REPO)
    with pytest.raises(UserError, match=pull_message):
        pull_dataset(REPO, str(tmp_path / "e"))


def test_wrong_names_and_unfinished_datasets(hub: Any, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists and that you may read"):
        pull_dataset("ada/absent", str(tmp_path / "e"))
    with pytest.raises(UserError, match="names no repository"):
        pull_dataset("a/b/c", str(tmp_path / "e"))
    with pytest.raises(UserError, match="not on this machine"):
        pull_dataset(REPO, "memory://e")
    (dataset / "train" / "00002.parquet").unlink()
    with pytest.raises(UserError, match=r"train/00002\.parquet is missing"):
        push_dataset(str(dataset), REPO)
    (dataset / "manifest.json").unlink()
    with pytest.raises(UserError, match="holds no complete dataset"):
        push_dataset(str(dataset), REPO)
    assert hub.count("POST", "") == 0


def test_manifest_is_committed_last(hub: Any, dataset: Path) -> None:
    push_dataset(str(dataset), REPO)
    assert ["manifest.json" in commit for commit in hub.repos[REPO]] == [False, False, True]
    assert json.loads(hub.files(REPO)["manifest.json"])["fingerprint"] == read_manifest(str(dataset)).fingerprint
