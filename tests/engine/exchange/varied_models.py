"""Small models with random weights that differ in every part, for the tests of exports."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from microgpt import ByteTokenizer, CharTokenizer
from microgpt.data.tokenizer import BPETokenizer, HFTokenizer, Tokenizer
from microgpt.engine.trained.run import Run, load
from microgpt.model import GPT, GPTConfig, save_model
from microgpt.model.pos import Position, PositionConfig

HOSTILE = "</script><img src=x onerror=alert(1)><script>alert(2)</script>"
LETTERS = "\n !\"',-.<>/()=abcdefghijklmnoprstuvwxyzé日🎩"


class Wobble(Position):
    """A scheme of one's own: it adds a table, rotates nothing, and its bias depends on more than the distance."""

    def __init__(self, n_embd: int, n_head: int, block_size: int) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.linspace(-0.5, 0.5, block_size * n_embd).view(block_size, n_embd).sin())
        self.n_head, self.block_size = n_head, block_size

    def embed(self, x: Tensor, start: int | Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device) + start
        return x + self.shift[places] * torch.cos(places.float())[:, None]

    def bias(self, q_len: int, k_len: int) -> Tensor:
        query, key = torch.arange(k_len - q_len, k_len)[:, None], torch.arange(k_len)
        head = torch.arange(1, self.n_head + 1)[:, None, None]
        return torch.sin(query * key * 0.3 + head)


END = "<|end|>"


def words() -> HFTokenizer:
    """Byte pairs of a hostile text, with a token that the library added."""
    learnt = BPETokenizer.from_texts([f"the cat sat on the mat {HOSTILE} the dog's hat\n" * 20], 300)
    parts = json.loads(learnt.tokenizer_json())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    parts["added_tokens"] = [{"id": learnt.vocab_size, "content": END, "special": True, **flags}]
    return HFTokenizer(json.dumps(parts))


@dataclass(frozen=True)
class Kind:
    """A model that a page must run: knobs, tokenizer, how weights are stored."""

    knobs: dict[str, Any]
    tokenizer: Callable[[], Tokenizer] = lambda: CharTokenizer(LETTERS)
    weights: Literal["float16", "int8"] = "float16"


KINDS = {
    "rope": Kind({"n_kv_head": 2, "qk_norm": True, "mlp": "swiglu"}),
    "parallel": Kind(
        {"residual": "parallel", "pos": {"name": "rope", "fraction": 0.5}, "norm": "layernorm", "bias": True}
    ),
    "alibi": Kind({"norm": "layernorm", "bias": True, "tie_weights": True, "mlp": "gelu_tanh", "norm_place": "post"}),
    "t5": Kind({"ngram_embed": 50, "prev_embed": 3, "mlp": "relu2"}, weights="int8"),
    "learned": Kind({"norm": "layernorm", "tie_weights": True, "logit_softcap": 9.0}, words),
    "sinusoidal": Kind({"value_embed": True, "resid_scale": True, "mlp": "geglu", "norm_place": "sandwich"}),
    "none": Kind({"n_kv_head": 1, "mlp": "relu", "attention": "reference", "norm": "none"}, ByteTokenizer),
    "wobble": Kind({"prev_embed": 2, "block_size": 9, "n_embd": 18, "n_head": 3}),
}


@contextmanager
def own_scheme() -> Iterator[None]:
    """Within the context the position scheme `wobble` exists."""
    members = dict(PositionConfig.members)

    class WobbleConfig(PositionConfig, name="wobble"):
        def build(self, n_embd: int, n_head: int, block_size: int) -> Position:
            return Wobble(n_embd, n_head, block_size)

    try:
        yield
    finally:
        PositionConfig.members.clear()
        PositionConfig.members.update(members)


def make_run(folder: Path, pos: str, kind: Kind) -> Run:
    """A run with random weights, large enough that every part shows in the logits."""
    torch.manual_seed(1)
    tokenizer = kind.tokenizer()
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 24, "pos": pos}
    model = GPT(GPTConfig.from_dict({**sizes, **kind.knobs}), tokenizer.vocab_size)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 0.3)
    save_model(folder / "model", model, tokenizer.to_dict())
    return load(folder)
