"""The loader: every example once an epoch, the same order for any number of ranks, exact resumption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mathpipe.datasets.containers.token_batches import Batch
from mathpipe.datasets.dataset import Dataset, open_dataset
from mathpipe.datasets.errors import UserError
from mathpipe.datasets.format.manifest import read_manifest
from mathpipe.datasets.loader import plan_epoch, plan_window
from mathpipe.datasets.tokenizers.tokenizer import END, PAD


def take_batches(dataset: Dataset, count: int, **arguments: int) -> list[Batch]:
    with dataset.batches(64, **{"seed": 3, "window": 2, **arguments}) as stream:
        return [next(stream) for _ in range(count)]


def batches_equal(a: Batch, b: Batch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_chunks_are_in_order(addition: Path) -> None:
    data = open_dataset(addition)
    chunks = list(data.chunks(size=300, start=100, stop=1_750))
    assert np.array_equal(np.concatenate([c.row for c in chunks]), np.arange(100, 1_750))
    assert all(len(c) <= 300 for c in chunks)
    for chunk in chunks:
        a, b = np.split(chunk.problems.dense(), 2, axis=2)
        assert np.array_equal((a + b).astype(np.float32), chunk.solutions.dense().astype(np.float32))
    assert list(data.chunks(start=5, stop=5)) == []


def test_batches_match_stored_examples(addition: Path) -> None:
    data = open_dataset(addition, "train", "P10", "FP15")
    batch = take_batches(data, 1)[0]
    by_row = {int(r): (c, i) for c in data.chunks() for i, r in enumerate(c.row)}
    for k, row in enumerate(batch.rows.tolist()):
        chunk, i = by_row[row]
        one = chunk.take(np.array([i]))
        assert batch.source[k].tolist() == data.source.encode(one.problems)[0][0].tolist()
        assert batch.target[k].tolist() == [*data.target.encode(one.solutions)[0][0].tolist(), END]
    assert (batch.target_lengths == 2 + 9 + 1).all() and (batch.source_lengths == 2 + 18 * 5).all()
    assert batch.source.dtype == batch.target.dtype == torch.int64


def test_epoch_contains_every_example_once(addition: Path) -> None:
    data = open_dataset(addition)
    with data.batches(64, seed=1, window=2) as stream:
        for epoch in range(2):
            rows: list[int] = []
            while len(rows) < len(data):
                rows += next(stream).rows.tolist()
                assert stream.epoch == epoch
            assert sorted(rows) == list(range(len(data)))
            assert rows != sorted(rows)


def test_epochs_and_seeds_differ(addition: Path) -> None:
    data = open_dataset(addition)
    per_epoch = sum(len(plan_window(np.ones(1_000), 64, 0, 0, w)) for w in range(2))
    batches = take_batches(data, per_epoch + 1)
    assert not torch.equal(batches[0].rows, batches[per_epoch].rows)
    assert not torch.equal(batches[0].rows, take_batches(data, 1, seed=4)[0].rows)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_same_global_batches(addition: Path, world_size: int) -> None:
    data = open_dataset(addition)
    whole = take_batches(data, 20)
    parts = [take_batches(data, 20, rank=rank, world_size=world_size) for rank in range(world_size)]
    for k, batch in enumerate(whole):
        merged = torch.empty_like(batch.rows)
        for rank in range(world_size):
            merged[rank::world_size] = parts[rank][k].rows
        assert torch.equal(merged, batch.rows)


@pytest.mark.parametrize("consumed", [0, 1, 15, 16, 17, 31, 32, 33, 70])
def test_resumed_stream_is_identical(addition: Path, consumed: int) -> None:
    """Also at the boundaries of windows (16 batches) and epochs (32)."""
    data = open_dataset(addition)
    with data.batches(64, seed=3, window=2) as stream:
        for _ in range(consumed):
            next(stream)
        state = stream.state_dict()
        expected = [next(stream) for _ in range(20)]
    with data.batches(64, seed=3, window=2) as resumed:
        resumed.load_state_dict(state)
        assert all(batches_equal(next(resumed), batch) for batch in expected)


def test_position_of_a_different_stream_raises(addition: Path, make_small) -> None:
    state = open_dataset(addition).batches(64, seed=3).state_dict()
    with pytest.raises(UserError, match="seed differs"):
        open_dataset(addition).batches(64, seed=4).load_state_dict(state)
    with pytest.raises(UserError, match="size differs"):
        open_dataset(addition).batches(32, seed=3).load_state_dict(state)
    other = make_small("add", dim=2)
    with pytest.raises(UserError, match="digest differs"):
        open_dataset(other).batches(64, seed=3).load_state_dict(state)


@given(groups=st.integers(1, 60), window=st.integers(1, 10), seed=st.integers(0, 2**63), epoch=st.integers(0, 9))
def test_windows_partition_an_epoch(groups: int, window: int, seed: int, epoch: int) -> None:
    plan = plan_epoch(groups, window, seed, epoch)
    assert sorted(np.concatenate(plan)) == list(range(groups))
    assert all(len(part) == window for part in plan[:-1])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=400), st.integers(1, 20))
def test_batches_partition_a_window(lengths: list[int], size: int) -> None:
    batches = plan_window(np.array(lengths), size, 0, 0, 0)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert max(map(len, batches)) <= size


def test_length_bucketing_limits_padding(make_small) -> None:
    data = open_dataset(make_small("transpose", min_dim=1, max_dim=6, rectangular=True))
    batches = take_batches(data, 60)
    padded = sum(int((b.source == PAD).sum()) for b in batches) / sum(b.source.numel() for b in batches)
    assert padded < 0.1
    for batch in batches:
        position = torch.arange(batch.target.shape[1])
        assert torch.equal(batch.target == PAD, position >= batch.target_lengths[:, None])
        assert (batch.target[torch.arange(len(batch.rows)), batch.target_lengths - 1] == END).all()


def test_damaged_shard_is_named(make_small) -> None:
    url = make_small("add", dim=2)
    file = url / "train" / "00001.parquet"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"00001.parquet is damaged.*rebuilds exactly these rows"):
        take_batches(open_dataset(url), 100)
    file.unlink()
    with pytest.raises(UserError, match=r"00001.parquet is missing"):
        list(open_dataset(url).chunks())


def test_changed_byte_is_detected(make_small) -> None:
    """Changes one byte anywhere before the footer: in a page, its header, its checksum."""
    file = make_small("inverse", dim=2, train=1_000) / "train" / "00000.parquet"
    data = file.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    expected = np.concatenate([examples.solutions.values for examples in open_dataset(file.parents[1]).chunks()])
    num_detected = 0
    for place in np.random.default_rng(0).integers(4, footer, 60).tolist():
        file.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            values = np.concatenate([examples.solutions.values for examples in open_dataset(file.parents[1]).chunks()])
        except UserError as error:
            num_detected += 1
            assert "train/00000.parquet is damaged" in str(error) and "`mathpipe verify" in str(error)
        else:
            assert np.array_equal(values, expected)
    assert num_detected > 50


def test_shards_without_page_checksums_are_readable(make_small) -> None:
    url = make_small("add", dim=2)
    file = url / "train" / "00000.parquet"
    before = [examples.solutions.values for examples in open_dataset(url).chunks()]
    pq.write_table(pq.read_table(file), file, row_group_size=500)
    assert all(
        np.array_equal(a, examples.solutions.values)
        for a, examples in zip(before, open_dataset(url).chunks(), strict=True)
    )


def test_unrepresentable_value_raises(tmp_path: Path, make_small) -> None:
    """9.996e8 rounds to 1e9, for which FP15 has no token."""
    data = open_dataset(make_small("add", dim=2), "valid", "FP15", "FP15")
    examples = next(data.chunks(size=4))
    examples.solutions.values[0] = 9.996e8
    with pytest.raises(UserError, match="FP15 cannot represent"):
        data.encode(examples)


def test_open_dataset_errors(addition: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no complete dataset"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(UserError, match="did you mean valid"):
        open_dataset(addition, "validation")
    with pytest.raises(UserError, match="unknown number encoding"):
        open_dataset(addition, "train", "P11")
    with pytest.raises(UserError, match="smaller than one batch"):
        open_dataset(addition).batches(5_000)


def test_object_store_yields_the_same_batches(addition: Path) -> None:
    from mathpipe.generate.build.dataset_builder import make_dataset
    from mathpipe.generate.curate.dataset_verification import load_spec
    from mathpipe.generate.layout import Layout

    local = open_dataset(addition)
    manifest = read_manifest(str(addition))
    layout = Layout({name: s.rows for name, s in manifest.splits.items()}, manifest.shard_rows)
    make_dataset(load_spec(manifest, str(addition)), layout, "memory://loader-test", workers=0)
    remote = open_dataset("memory://loader-test")
    assert remote.digest == local.digest
    assert all(batches_equal(a, b) for a, b in zip(take_batches(local, 5), take_batches(remote, 5), strict=True))


def test_import_from_the_package_root(addition: Path) -> None:
    from mathpipe import open_dataset as root_open_dataset

    data = root_open_dataset(addition, split="test", input_encoding="FP15", output_encoding="P1000")
    assert isinstance(data, Dataset) and len(data) == 500
