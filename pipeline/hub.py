"""Datasets on the Hugging Face hub: push and pull, both resumable, with the manifest last on either side.

Push commits the shards in groups, then the small files, the card and the manifest, so that a dataset on the hub is complete
if it has a manifest. Files whose checksum the hub already has are not uploaded again. Pull downloads the files of one commit,
compares every shard with the checksum in the manifest, and writes the manifest last.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.directory import CARD, RECORDS, SPLIT_FOLDERS, evidence_file, record_file
from mathpipe.datasets.format.manifest import MANIFEST, Manifest, ShardRecord, find_manifest, read_manifest, read_record
from mathpipe.datasets.io.storage import Storage
from mathpipe.generate.build.locking import lock_directory
from mathpipe.generate.cards.dataset_card import write_card
from mathpipe.pipeline.harvesting import ORIGIN

GROUP_FILES = 50  # shards in one commit; Hugging Face recommends at most about 100 files
_METADATA = ".cache"  # where huggingface_hub keeps the state of downloads, below the directory
LogFunction = Callable[[str], object]


@dataclass(frozen=True)
class TransferResult:
    """The manifest, the files transferred now, and the files that were there before."""

    manifest: Manifest
    transferred: int
    present: int


def push_dataset(directory: str, repo: str, *, private: bool | None = None, log: LogFunction = print) -> TransferResult:
    """Upload a complete dataset to ``repo`` (user/name) on the hub. Resumable: repeat the call after an interruption.

    ``private``: of a repository that does not exist yet. UserError if the dataset is incomplete, if the repository holds
    another dataset, or if the hub refuses.
    """
    root = _local_directory(directory)
    manifest = read_manifest(directory)
    storage = Storage(directory)
    _check_sizes(storage, manifest)
    if storage.size(CARD) is None:
        write_card(storage, manifest)
    with _hub_errors(repo, "push"):
        from huggingface_hub import CommitOperationDelete, HfApi

        api = HfApi()
        api.create_repo(repo, repo_type="dataset", exist_ok=True, private=private)
        remote = _remote_checksums(api, repo)
        records = [record for split in manifest.splits.values() for record in split.shards]
        missing = [record.file for record in records if remote.get(record.file) != record.sha256]
        earlier = _remote_manifest(api, repo, None) if MANIFEST in remote else None
        _check_same_dataset(repo, earlier, manifest)
        if missing and earlier is not None:  # from here on the dataset on the hub is incomplete
            delete = [CommitOperationDelete(MANIFEST)]
            api.create_commit(repo, delete, repo_type="dataset", commit_message="Replace the dataset")
        for first in range(0, len(missing), GROUP_FILES):
            group = missing[first : first + GROUP_FILES]
            _commit(api, root, repo, group, f"Add {group[0]} to {group[-1]}" if len(group) > 1 else f"Add {group[0]}")
            log(f"pushed {first + len(group):,} of {len(missing):,} shards")
        small = [*_small_files(storage, records), CARD, MANIFEST]
        stale = [name for name in remote if _is_ours(name) and name not in {*small, *(r.file for r in records)}]
        deletions = [CommitOperationDelete(name) for name in sorted(stale)]
        _commit(api, root, repo, small, f"Add {MANIFEST}: {manifest.task}, digest {manifest.digest[:16]}", deletions)
    return TransferResult(manifest, len(missing), len(records) - len(missing))


def pull_dataset(repo: str, directory: str, *, revision: str | None = None, log: LogFunction = print) -> TransferResult:
    """Download the dataset ``repo`` (user/name) from the hub. Resumable: repeat the call after an interruption.

    ``revision``: a branch, tag or commit of the repository. UserError if it holds no complete dataset, if the directory holds
    anything else, if a shard differs from the checksum in the manifest, or if the hub refuses.
    """
    root, storage = _local_directory(directory), Storage(directory)
    with lock_directory(storage), _hub_errors(repo, "pull"):
        from huggingface_hub import HfApi

        api = HfApi()
        commit = str(api.repo_info(repo, repo_type="dataset", revision=revision).sha)
        manifest = _remote_manifest(api, repo, commit)
        if manifest is None:
            raise UserError(
                f"{repo} holds no complete dataset of mathpipe",
                expected=f"a dataset repository with {MANIFEST}",
                got="a repository without it",
                next_step="`mathpipe push` uploads a dataset; an interrupted push is resumed by the same command",
            )
        if _is_pulled(storage, manifest):
            return TransferResult(manifest, 0, sum(len(split.shards) for split in manifest.splits.values()))
        records = [record for split in manifest.splits.values() for record in split.shards]
        present = sum(storage.size(record.file) == record.bytes for record in records)
        log(f"pulling {len(records) - present:,} of {len(records):,} shards")
        patterns = [CARD, *(f"{folder}/*" for folder in (*SPLIT_FOLDERS, RECORDS, ORIGIN))]
        api.snapshot_download(repo, repo_type="dataset", revision=commit, local_dir=root, allow_patterns=patterns)
    _complete(storage, repo, manifest, records)
    shutil.rmtree(root / _METADATA / "huggingface", ignore_errors=True)
    with contextlib.suppress(OSError):
        (root / _METADATA).rmdir()
    return TransferResult(manifest, len(records) - present, present)


def _local_directory(directory: str) -> Path:
    path = Storage(directory).local_path
    if path is None:
        raise UserError(
            f"{directory} is not on this machine",
            expected="a local directory",
            got=directory,
            next_step="copy the dataset with the tool of the object store (`aws s3 cp --recursive`) first",
        )
    return path


def _check_sizes(storage: Storage, manifest: Manifest) -> None:
    """UserError if a shard is missing or has another size than its record says."""
    for split in manifest.splits.values():
        for record in split.shards:
            size = storage.size(record.file)
            if size != record.bytes:
                raise UserError(
                    f"{storage.url}/{record.file} is {'missing' if size is None else 'damaged'}",
                    expected=f"{record.bytes:,} bytes",
                    got="no such file" if size is None else f"{size:,} bytes",
                    next_step=f"`mathpipe verify {storage.url}` lists all damage and says how to repair it",
                )


def _small_files(storage: Storage, records: Sequence[ShardRecord]) -> list[str]:
    """The files besides shards, card and manifest: records, evidence, and the origin of harvested answers."""
    evidence = [name for r in records if storage.size(name := evidence_file(r.split, r.shard)) is not None]
    origin = [f"{ORIGIN}/{name}" for name in storage.list(ORIGIN)]
    return [*(record_file(r.split, r.shard) for r in records), *evidence, *origin]


def _is_ours(name: str) -> bool:
    """Whether a file on the hub lies in a folder of a dataset."""
    return name.split("/", 1)[0] in (*SPLIT_FOLDERS, RECORDS, ORIGIN)


def _remote_checksums(api: Any, repo: str) -> dict[str, str | None]:
    """The files of a repository, with the sha256 of those that are stored as large files."""
    entries = api.list_repo_tree(repo, repo_type="dataset", recursive=True)
    return {
        entry.path: entry.lfs.sha256 if getattr(entry, "lfs", None) is not None else None
        for entry in entries
        if hasattr(entry, "blob_id")  # a file, not a folder
    }


def _remote_manifest(api: Any, repo: str, revision: str | None) -> Manifest | None:
    """The manifest on the hub; None if there is none."""
    from huggingface_hub.errors import EntryNotFoundError

    with tempfile.TemporaryDirectory() as folder:
        try:
            api.hf_hub_download(repo, MANIFEST, repo_type="dataset", revision=revision, local_dir=folder)
        except EntryNotFoundError:
            return None
        return find_manifest(Storage(folder))


def _check_same_dataset(repo: str, earlier: Manifest | None, manifest: Manifest) -> None:
    if earlier is not None and earlier.fingerprint != manifest.fingerprint:
        raise UserError(
            f"{repo} holds another dataset",
            expected=f"a dataset of fingerprint {manifest.fingerprint[:12]}",
            got=f"{earlier.task} of fingerprint {earlier.fingerprint[:12]}",
            next_step="choose another name, or delete that repository on the hub first",
        )


def _commit(api: Any, root: Path, repo: str, names: Sequence[str], message: str, deletions: Sequence[Any] = ()) -> None:
    """One commit that adds these files; files that the hub has are not uploaded again."""
    from huggingface_hub import CommitOperationAdd

    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=root / name) for name in names]
    api.create_commit(repo, [*additions, *deletions], repo_type="dataset", commit_message=message)


def _is_pulled(storage: Storage, manifest: Manifest) -> bool:
    """Whether the directory holds this dataset completely; UserError if it holds anything but a part of it."""
    names = [name for name in storage.list() if name != _METADATA]
    existing = find_manifest(storage) if MANIFEST in names else None
    if existing is not None and existing.digest == manifest.digest:
        return True
    if existing is not None or not {*names} <= {CARD, RECORDS, ORIGIN, *SPLIT_FOLDERS}:
        raise UserError(
            f"{storage.url} holds something else",
            expected="an empty directory, or an interrupted pull of the same dataset",
            got=", ".join(names[:3]) if existing is None else f"{existing.task} of digest {existing.digest[:12]}",
            next_step="choose another directory",
        )
    return False


def _complete(storage: Storage, repo: str, manifest: Manifest, records: Sequence[ShardRecord]) -> None:
    """Compare every shard with its checksum, restore missing records, and write the manifest."""
    for record in records:
        if storage.size(record.file) != record.bytes or storage.checksum(record.file) != record.sha256:
            storage.remove(record.file)
            raise UserError(
                f"{record.file} of {repo} is not the file that its manifest names",
                expected=f"{record.bytes:,} bytes of sha256 {record.sha256[:12]}",
                cause="it was changed on the hub, or damaged on this machine",
                next_step="run the same command again; if this repeats, the dataset must be pushed again",
            )
        if read_record(storage, record.split, record.shard) != record:
            record.write(storage)
    if storage.size(CARD) is None:
        write_card(storage, manifest)
    manifest.write(storage)


@contextlib.contextmanager
def _hub_errors(repo: str, action: str) -> Iterator[None]:
    """Turn errors of the hub's client into UserErrors."""
    try:
        yield
    except (UserError, ImportError, KeyboardInterrupt):
        raise
    except Exception as error:  # the client raises those of its HTTP library, too
        raise _user_error(repo, action, error) from error


def _user_error(repo: str, action: str, error: Exception) -> UserError:
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError, RepositoryNotFoundError

    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    what, got = (
        f"mathpipe {action} {repo} failed",
        f"{type(cause).__name__}: {str(cause).strip().splitlines()[0][:200]}",
    )
    if isinstance(cause, HFValidationError):
        return UserError(
            f"{repo!r} names no repository", expected="user/name, as in its address on the hub", got=repr(repo)
        )
    if isinstance(cause, LocalTokenNotFoundError) or (status in (401, 403) and action == "push"):
        return UserError(
            what,
            expected="an account with permission to write there",
            got=got,
            cause="no token, an expired one, or one without permission to write",
            next_step="log in with `hf auth login`, or set HF_TOKEN to a token with permission to write",
        )
    if isinstance(cause, RepositoryNotFoundError) or status in (401, 403, 404):
        return UserError(
            what,
            expected="a dataset that exists and that you may read",
            got=got,
            next_step="check the name; for a private dataset log in with `hf auth login`, or set HF_TOKEN",
        )
    return UserError(
        what,
        got=got,
        cause="the hub is unreachable or overloaded" if status in (None, 408, 429) or status >= 500 else None,
        next_step="check the network, and run the same command again: it resumes",
    )
