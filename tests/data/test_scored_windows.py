"""Windows that score a text: every token once, with the context that the stride leaves."""

import pytest
import torch

from microgpt.data.scored_windows import scan
from microgpt.errors import DataError


@pytest.mark.parametrize("share", [1, 2, 4])
@pytest.mark.parametrize("n", [2, 3, 8, 9, 10, 17, 100, 101])
@pytest.mark.parametrize("T", [1, 3, 8])
def test_every_token_but_the_first_is_scored_once(share: int, n: int, T: int) -> None:
    seen = []
    for x, y, scored in scan(torch.arange(n), T, max(1, T // share), batch_size=3):
        assert x.shape == y.shape == scored.shape
        assert torch.equal(x + 1, y)
        assert x.is_contiguous()
        seen += y[scored].tolist()
    assert sorted(seen) == list(range(1, n))


@pytest.mark.parametrize("stride", [1, 4, 8, 16])
def test_all_but_the_first_window_have_the_context_that_the_stride_leaves(stride: int) -> None:
    for x, y, scored in scan(torch.arange(1000), 16, stride, batch_size=1):
        context = y - x[:, :1]  # tokens before the target
        assert x[0, 0] == 0 or context[scored].min() >= 16 - stride + 1


def test_evaluating_one_token_is_an_error() -> None:
    with pytest.raises(DataError, match="1 tokens"):
        next(scan(torch.arange(1), 8, 8))
