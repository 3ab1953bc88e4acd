"""Errors of the local file system and of object stores as errors for users: cause and next step by kind of error."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Literal

from mathpipe.datasets.errors import UserError

Action = Literal["read", "written", "removed", "moved"]
_CREDENTIAL_ERRORS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"}
_REJECTED_REQUESTS = {errno.EINVAL, errno.ENOSYS, errno.EPERM}
_CAUSES: dict[int, tuple[str | None, str]] = {
    errno.ENOSPC: ("the disk is full", "free some space and run the same command again; it resumes"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again; it resumes"),
    errno.EACCES: ("no permission to write there", "choose another directory, or change its permissions"),
    errno.EPERM: ("no permission to write there", "choose another directory, or change its permissions"),
    errno.EROFS: ("the file system is read-only", "choose another directory"),
    errno.ENOTDIR: ("a file exists where a directory should be", "choose another directory"),
    errno.EEXIST: ("a file exists where a directory should be", "choose another directory"),
}
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class StoreError(UserError):
    """A request to an object store failed."""


class TransientStoreError(StoreError):
    """An object store is slow, overloaded or unreachable; a retry may help."""


@contextlib.contextmanager
def local_errors(path: str) -> Iterator[None]:
    """Turn errors of the local file system into a UserError."""
    try:
        yield
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: str, error: OSError) -> UserError:
    cause, next_step = _CAUSES.get(error.errno or 0, (None, "choose another directory"))
    return UserError(f"{path} cannot be written", cause=cause, got=error.strerror or str(error), next_step=next_step)


def user_error_of(error: OSError) -> UserError:
    """What a command says about an error of the operating system that nothing closer to it has described."""
    path = str(error.filename or "a file")
    if error.errno in _OF_WRITING:
        return _not_written(path, error)
    return UserError(f"{path}: {error.strerror or error}")


@contextlib.contextmanager
def store_errors(url: str, action: Action) -> Iterator[None]:
    """Turn errors of an object store's client into a StoreError, except FileNotFoundError of a read or removal."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # every client has its own exceptions
        if isinstance(error, FileNotFoundError) and action != "written":
            raise
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise  # from the local disk during a download
        kind, cause, next_step = _explained(error)
        raise kind(f"{url} cannot be {action}", got=_first_line(error), cause=cause, next_step=next_step) from error


def _explained(error: Exception) -> tuple[type[StoreError], str, str]:
    """(class of the error to raise, likely cause, next step)."""
    if isinstance(error, FileNotFoundError):
        next_step = "create the bucket, or choose another --out; finished shards are kept"
        return StoreError, "the bucket does not exist", next_step
    if isinstance(error, PermissionError):
        return (
            StoreError,
            "the store denies access: missing, wrong or expired credentials",
            "set credentials with permission to list, read, write and delete (for s3 AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY), also on the workers, and run the same command again; it resumes",
        )
    if type(error).__name__ in _CREDENTIAL_ERRORS:
        next_step = "for s3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return StoreError, "this process has no credentials for the store", next_step
    if isinstance(error, (ValueError, TypeError)) or getattr(error, "errno", None) in _REJECTED_REQUESTS:
        next_step = "check the URL, the region and the endpoint (for s3 AWS_ENDPOINT_URL)"
        return StoreError, "the store rejected this request", next_step
    next_step = (
        "check the network and the endpoint (for s3 AWS_ENDPOINT_URL), and run the same command again; it resumes"
    )
    return TransientStoreError, "the store is unreachable or overloaded", next_step


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
