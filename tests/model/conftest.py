"""Small models for the tests of the model package."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from microgpt.model import GPT, GPTConfig

VOCAB = 11


@pytest.fixture
def make_gpt() -> Callable[..., GPT]:
    """make_gpt(**knobs): a small GPT with weights large enough that its parts show in the logits."""

    def make(seed: int = 0, vocab_size: int = VOCAB, **knobs: Any) -> GPT:
        torch.manual_seed(seed)
        sizes = {"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 12}
        model = GPT(GPTConfig.from_dict({**sizes, **knobs}), vocab_size)
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() > 1:
                    p.normal_(std=0.4)
        return model.eval()

    return make


@pytest.fixture
def ids() -> Callable[..., Tensor]:
    """ids(B, T): random tokens of the small vocabulary."""

    def make(B: int, T: int, seed: int = 1) -> torch.Tensor:
        return torch.randint(VOCAB, (B, T), generator=torch.Generator().manual_seed(seed))

    return make
