"""An S3 store that answers errors, half bodies or old listings: nothing half-whole, a clear error, and resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torture_figures import Figures, figures, number_of_trials, share
from torture_s3 import HalfBodies, StaleListings
from torture_work import make_tiny

from mathpipe.datasets.dataset import open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.io.store_errors import StoreError
from mathpipe.generate.curate.dataset_verification import verify_dataset

pytestmark = pytest.mark.torture

Objects = dict[str, bytes]
Put = Callable[[str, Objects], None]


@pytest.fixture
def put(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Put:
    """``put(folder, objects)``: the folder of the bucket then holds these objects alone. The client tries each request once."""
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)

    def put_objects(folder: str, objects: Objects) -> None:
        store = s3fs.S3FileSystem(use_listings_cache=False)
        for name in s3.objects(f"{folder}/").keys() - objects.keys():
            store.rm_file(f"bucket/{folder}/{name}")
        for name, content in objects.items():
            store.pipe_file(f"bucket/{folder}/{name}", content)

    return put_objects


def num_rows(url: str) -> int:
    return sum(len(chunk) for split in ("train", "test") for chunk in open_dataset(url, split).chunks())


def after_each_upload(s3: Any, url: str) -> Iterator[Objects]:
    """What the folder of a new dataset holds at first, and after each upload of its generation."""
    folder = url.removeprefix("s3://bucket/")
    states: list[Objects] = []

    def record(request: dict[str, Any]) -> None:
        objects = s3.objects(f"{folder}/")
        if not states or objects != states[-1]:
            states.append(objects)

    s3.spoil = record
    make_tiny(url)
    s3.spoil = lambda request: None
    return iter([*states, s3.objects(f"{folder}/")])


def outcome_of(action: Callable[[], object], url: str) -> str | None:
    """None if it succeeds or ends with an error that names the dataset; else what is wrong."""
    try:
        action()
    except UserError as error:
        return None if url in str(error) else f"names no file: {error}"
    except Exception as error:
        return repr(error)
    return None


@pytest.mark.parametrize(("error", "status"), [("InternalError", 500), ("SlowDown", 503)], ids=["500", "503"])
def test_server_that_answers_errors(error: str, status: int, s3: Any, put: Put) -> None:
    """The k-th request and all later ones, for every k."""
    if share() is None and status == 503:
        pytest.skip("part of `make torture` alone")
    make_tiny(f"s3://bucket/whole-{error}")
    whole = s3.objects(f"whole-{error}/")
    s3.requests.clear()
    make_tiny(f"s3://bucket/counted-{error}")
    num_requests = len(s3.requests)
    with figures("disks", f"S3 that answers {status} from the k-th request on") as counts:
        for k in range(1, number_of_trials(1, num_requests) + 1):
            requests, url = [0], f"s3://bucket/{error}-{k}"

            def spoil(request: dict[str, Any], requests: list[int] = requests, k: int = k) -> str | None:
                requests[0] += 1
                return error if requests[0] >= k else None

            s3.spoil = spoil
            with pytest.raises(StoreError, match=url):
                make_tiny(url)
            s3.spoil = lambda request: None
            partial = s3.objects(f"{error}-{k}/")
            make_tiny(url)
            is_whole = s3.objects(f"{error}-{k}/") == whole
            if partial.items() <= whole.items() and "manifest.json" not in partial and is_whole:
                counts.survived()
            else:
                counts.failed(f"from request {k} on: {sorted(partial)}")
        counts.details["requests of one generation"] = num_requests


@pytest.mark.parametrize("honest", [False, True], ids=["length of the whole", "length of the half"])
def test_server_that_sends_half_bodies(honest: bool, s3: Any, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generation resumes from each of its states, and the finished dataset is read and verified.

    What was cut off is never taken for whole, and nothing is lost once the server is repaired.
    """
    if share() is None and not honest:
        pytest.skip("part of `make torture` alone: the client waits before it tries again")
    folder = f"half-{honest}"
    url = f"s3://bucket/{folder}"
    states = list(after_each_upload(s3, url))
    whole = states[-1]
    half = HalfBodies(s3._moto, honest)
    case = f"S3 that sends half of each body, with the length of the {'half' if honest else 'whole'}"
    with figures("disks", case) as counts:
        for k in range(number_of_trials(1, len(states))):
            put(folder, states[-1 - k])
            monkeypatch.setattr(s3, "_moto", half)
            fault = outcome_of(lambda: make_tiny(url), url)
            monkeypatch.setattr(s3, "_moto", half.application)
            objects = s3.objects(f"{folder}/")
            if not objects.items() <= whole.items():
                fault = f"half-whole: {sorted(objects)}"
            make_tiny(url)
            if s3.objects(f"{folder}/") != whole:
                fault = "not resumed"
            count(counts, fault, f"from {sorted(states[-1 - k])}")
        for name, use in {"read": num_rows, "verify": verify}.items():
            monkeypatch.setattr(s3, "_moto", half)
            with pytest.raises(UserError, match=url):
                use(url)
            monkeypatch.setattr(s3, "_moto", half.application)
            count(counts, None if use(url) == 10 else "not read afterwards", name)


def count(counts: Figures, fault: str | None, where: str) -> None:
    if fault is None:
        counts.survived()
    else:
        counts.failed(f"{where}: {fault}")


def verify(url: str) -> int:
    """The number of verified rows; UserError if any is damaged."""
    report = verify_dataset(url)
    if report.damage:
        raise UserError(f"{url}: {report.damage[0]}")
    return report.rows


def test_server_that_lists_an_earlier_state(s3: Any, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each state of the bucket, each earlier or later listing: generation completes it, and a whole dataset is read."""
    url = "s3://bucket/stale"
    states = list(after_each_upload(s3, url))
    whole = states[-1]
    pairs = [(actual, listed) for actual in range(len(states)) for listed in range(len(states)) if actual != listed]
    number = number_of_trials(1, len(pairs))
    with figures("disks", "S3 that lists an earlier or later state of the dataset") as counts:
        for actual, listed in pairs[:: max(1, len(pairs) // number)]:
            put("stale", states[actual])
            sizes = {f"stale/{name}": len(content) for name, content in states[listed].items()}
            stale = StaleListings(s3._moto, sizes)
            monkeypatch.setattr(s3, "_moto", stale)
            fault = outcome_of(lambda: make_tiny(url), url)
            if fault is None and s3.objects("stale/") == whole:
                fault = None if num_rows(url) == verify(url) == 10 else "not read"
            elif "manifest.json" in s3.objects("stale/"):
                fault = "half-whole"
            assert stale.num_listings, "the listing of this test was not asked for"
            monkeypatch.setattr(s3, "_moto", stale.application)
            make_tiny(url)
            if s3.objects("stale/") != whole:
                fault = "not resumed"
            count(counts, fault, f"{sorted(states[actual])} listed as {sorted(states[listed])}")


def test_old_listing_does_not_hide_another_dataset(s3: Any, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing from before a dataset was made there: another spec is refused, and nothing changes."""
    url = "s3://bucket/other"
    make_tiny(url, seed=1)
    objects = s3.objects("other/")
    monkeypatch.setattr(s3, "_moto", StaleListings(s3._moto, {}))
    with pytest.raises(UserError, match="holds another dataset"):
        make_tiny(url)
    assert s3.objects("other/") == objects
