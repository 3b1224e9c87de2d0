"""Windows and datasets: the order is a function of (seed, step), and every split of a batch is the same batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from microgpt.data.dataset import TextDataset, as_ids
from microgpt.data.permutation import permute
from microgpt.data.windows import Windows
from microgpt.errors import DataError, UsageError

IDS = torch.arange(1000)  # a token tells its place


def test_dataset_item_is_a_window_and_its_successor() -> None:
    data = TextDataset(IDS.to(torch.uint8), 8)
    x, y = data[5]
    assert x.tolist() == [5, 6, 7, 8, 9, 10, 11, 12]
    assert y.tolist() == [6, 7, 8, 9, 10, 11, 12, 13]
    assert x.dtype == y.dtype == torch.int64
    assert len(data) == 992


def test_dataset_ends_where_it_says() -> None:
    data = TextDataset(list(range(10)), 4)
    assert len(data) == 6
    assert data[-1][1].tolist() == data[5][1].tolist() == [6, 7, 8, 9]
    assert len(list(data)) == 6  # type: ignore[call-overload]
    for index in (6, -7):
        with pytest.raises(IndexError, match="of 6"):
            data[index]


def test_dataset_items_do_not_share_memory_with_the_text() -> None:
    ids = torch.arange(10)
    TextDataset(ids, 4)[0][0].zero_()
    assert ids.tolist() == list(range(10))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_dataset_feeds_a_dataloader_from_any_integer_type(dtype: torch.dtype) -> None:
    loader = DataLoader(TextDataset(np.arange(100, dtype=dtype), 9), batch_size=7)  # type: ignore[call-overload]
    x, y = next(iter(loader))
    assert x.shape == y.shape == (7, 9)
    assert torch.equal(x + 1, y)


def test_an_array_that_may_not_be_written_is_copied() -> None:
    array = np.frombuffer(b"abc", np.uint8)
    as_ids(array).zero_()
    assert array.tolist() == [97, 98, 99]


def test_too_short_a_text_names_lengths_and_knob() -> None:
    for make in (lambda ids: TextDataset(ids, 8), lambda ids: Windows(ids, 8, 2, seed=0)):
        make(torch.arange(9))
        with pytest.raises(DataError, match=r"8 tokens, but a window takes 9 .*lower model\.block_size"):
            make(torch.arange(8))


@pytest.mark.parametrize(
    "ids", [torch.zeros(4, 4, dtype=torch.int64), torch.zeros(9), np.zeros(9), ["a"] * 9, [[1], [1, 2]]]
)
def test_what_is_no_row_of_indices_is_refused(ids: Callable[..., Tensor]) -> None:
    with pytest.raises(UsageError, match="in ids"):
        as_ids(ids)


@pytest.mark.parametrize("sampling", ["random", "shuffle"])
def test_offsets_depend_on_seed_and_step_alone(sampling: Literal["random", "shuffle"]) -> None:
    one, two = (Windows(IDS, 8, 16, seed=7, sampling=sampling) for _ in range(2))
    backwards = [one.offsets(step) for step in reversed(range(100))][::-1]
    assert all(np.array_equal(two.offsets(step), backwards[step]) for step in range(100))
    assert not np.array_equal(Windows(IDS, 8, 16, seed=8, sampling=sampling).offsets(3), backwards[3])
    assert not np.array_equal(Windows(IDS, 8, 16, seed=7, sampling=sampling, stream="other").offsets(3), backwards[3])


@pytest.mark.parametrize("sampling", ["random", "shuffle"])
def test_samples_do_not_depend_on_the_batch_size(sampling: Literal["random", "shuffle"]) -> None:
    small, large = (Windows(IDS, 8, size, seed=1, sampling=sampling) for size in (5, 60))
    assert np.array_equal(np.concatenate([small.offsets(step) for step in range(12, 24)]), large.offsets(1))


@pytest.mark.parametrize("sampling", ["random", "shuffle"])
@pytest.mark.parametrize("batch_size", [16, 60, 5000])
def test_batch_holds_the_windows_of_its_offsets(batch_size: int, sampling: Literal["random", "shuffle"]) -> None:
    """In whatever order the steps are asked for: windows are drawn ahead, many steps at once."""
    windows = Windows(IDS.to(torch.int16), 8, batch_size, seed=0, sampling=sampling)
    for step in (5, 6, 0, 70, 255, 256, 257, 1000, 3):
        x, y = windows.batch(step)
        assert np.array_equal(x[:, 0].numpy(), windows.offsets(step))
        assert torch.equal(x, x[:, :1] + torch.arange(8))
        assert torch.equal(y, x + 1)
        assert x.dtype == y.dtype == torch.int64


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 40), world=st.integers(1, 4), n_micro=st.integers(1, 5), step=st.integers(0, 10**9),
    sampling=st.sampled_from(["random", "shuffle"]),
)  # fmt: skip
def test_ranks_and_micro_batches_make_up_the_global_batch(
    batch: Any, world: int, n_micro: int, step: int, sampling: Literal["random", "shuffle"]
) -> None:
    windows = Windows(IDS, 8, batch, seed=3, sampling=sampling)
    parts = [(rank, world, micro, n_micro) for rank in range(world) for micro in range(n_micro)]
    if batch < world * n_micro:
        with pytest.raises(UsageError, match=r"data\.batch_size"):
            [windows.batch(step, *part) for part in parts]
        return
    split = [windows.batch(step, *part) for part in parts]
    x, y = windows.batch(step)
    assert torch.equal(torch.cat([part[0] for part in split]), x)
    assert torch.equal(torch.cat([part[1] for part in split]), y)
    sizes = [len(part[0]) for part in split]
    if batch % (world * n_micro) == 0:
        assert len(set(sizes)) == 1


def test_shuffle_takes_each_window_once_an_epoch() -> None:
    windows = Windows(IDS[:109], 8, 16, seed=0, sampling="shuffle")  # 101 windows: epochs end inside batches
    order = np.concatenate([windows.offsets(step) for step in range(101)])
    epochs = order.reshape(16, 101)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(101))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 16


@pytest.mark.parametrize("n", [*range(1, 20), 255, 256, 257, 5000])
def test_permutation_is_one_to_one(n: int) -> None:
    for seed in range(3):
        assert sorted(permute(np.arange(n), n, seed).tolist()) == list(range(n))


def test_permutation_leaves_no_trace_of_the_order() -> None:
    n = 20_000
    image = permute(np.arange(n), n, seed=11)
    assert abs(np.corrcoef(np.arange(n), image)[0, 1]) < 0.03
    assert abs(np.corrcoef(image[:-1], image[1:])[0, 1]) < 0.03
    assert (image == np.arange(n)).sum() < 10


def test_random_offsets_are_uniform() -> None:
    windows = Windows(IDS[:18], 8, 10_000, seed=0)
    counts = np.bincount(windows.offsets(0), minlength=10)
    assert counts.shape == (10,)
    assert abs(counts - 1000).max() < 150  # five standard deviations


def test_batches_from_a_memory_map_equal_those_from_memory(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 60_000, 5000).astype(np.uint16)
    array.tofile(tmp_path / "ids")
    mapped = Windows(np.memmap(tmp_path / "ids", np.uint16, mode="c"), 16, 8, seed=0)
    x, y = Windows(array.astype(np.int64), 16, 8, seed=0).batch(3)
    assert torch.equal(mapped.batch(3)[0], x)
    assert torch.equal(mapped.batch(3)[1], y)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'shuffle'"):
        Windows(IDS, 8, 4, seed=0, sampling="shufle")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="batch_size 0"):
        Windows(IDS, 8, 0, seed=0)
    with pytest.raises(UsageError, match="block_size 0"):
        Windows(IDS, 0, 4, seed=0)
    with pytest.raises(UsageError, match="part 2 of 2"):
        Windows(IDS, 8, 4, seed=0).batch(0, rank=2, world_size=2)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
@pytest.mark.parametrize("fits", [True, False])
def test_batches_on_a_device_equal_those_on_the_cpu(
    dtype: torch.dtype, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microgpt.data.windows._fits", lambda ids, device: fits)
    ids = (torch.arange(5000) % 250).to(dtype)
    on_device, here = Windows(ids, 16, 8, seed=0, device="cuda"), Windows(ids, 16, 8, seed=0)
    for step in range(3):
        for a, b in zip(on_device.batch(step), here.batch(step), strict=True):
            assert a.device.type == "cuda"
            assert torch.equal(a.cpu(), b)
