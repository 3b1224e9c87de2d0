"""Import minGPT (https://github.com/karpathy/minGPT): the model.pt that its examples write."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from microgpt.config import Count, Fault
from microgpt.data.tokenizer import CharTokenizer, Tokenizer
from microgpt.engine.exchange.importers.base import Importer
from microgpt.engine.exchange.own_tokenizer import find_tokenizer
from microgpt.engine.exchange.pickled import TensorSource, read_pickle
from microgpt.errors import CheckpointError
from microgpt.files import read_capped
from microgpt.model import GPT
from microgpt.model.files.hf import model_from

MATRICES = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
"Weights that minGPT has as (out, in) and transformers' GPT-2 as (in, out)."
TEXT_LIMIT = 1 << 30


class MinGPT(Importer, name="mingpt"):
    """CKPT is minGPT's model.pt: weights alone, so give --n-head, and --text or --tokenizer."""

    n_head: Count | None = None
    "Its number of attention heads: 6 for gpt-mini, 4 for gpt-micro, 3 for gpt-nano, 12 for gpt2."
    text: str | None = None
    "The text that it was trained on, whose sorted characters are its vocabulary."
    tokenizer: str | None = None
    "Its subwords: a tokenizer.json, or a folder with one or with vocab.json and merges.txt."

    def check(self) -> Iterator[Fault]:
        if self.n_head is None:
            yield Fault("n_head", "a model.pt does not hold the number of heads", "give it: --n-head 6")
        if (self.text is None) == (self.tokenizer is None):
            yield Fault("", "a model.pt holds no tokenizer", "give one: --text input.txt or --tokenizer FOLDER")

    def read(self, checkpoint: Path) -> tuple[GPT, Tokenizer]:
        model = read_weights(checkpoint, self.n_head or 1)
        if self.tokenizer is not None:
            return model, find_tokenizer(Path(self.tokenizer), model.vocab_size)
        return model, characters_of(Path(str(self.text)))


def characters_of(path: Path) -> CharTokenizer:
    """The vocabulary that minGPT's chargpt makes of a text."""
    try:
        return CharTokenizer.from_text(read_capped(path, TEXT_LIMIT).decode().replace("\r\n", "\n"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot be read ({error})", str(path), "name the text in UTF-8") from None


def read_weights(path: Path, n_head: int) -> GPT:
    """The model of minGPT's weights: GPT-2 with GELU by tanh and a head of its own."""
    weights = {name.removeprefix("transformer."): value for name, value in read_pickle(path).items()}
    table, positions = weights.get("wte.weight"), weights.get("wpe.weight")
    if not all(isinstance(t, Tensor) and t.ndim == 2 for t in (table, positions)):
        raise CheckpointError("no transformer.wte and transformer.wpe", str(path), "it is no model.pt of minGPT")
    assert isinstance(table, Tensor)
    assert isinstance(positions, Tensor)
    for name, value in weights.items():
        if name.endswith(MATRICES) and isinstance(value, Tensor) and value.ndim == 2:
            weights[name] = value.T
    values: dict[str, Any] = {
        "model_type": "gpt2",
        "vocab_size": table.shape[0],
        "n_embd": table.shape[1],
        "n_positions": positions.shape[0],
        "n_layer": sum(name.endswith(".ln_1.weight") for name in weights),
        "n_head": n_head,
        "activation_function": "gelu_new",
        "tie_word_embeddings": False,
    }
    return model_from(values, TensorSource(weights, path), path)
