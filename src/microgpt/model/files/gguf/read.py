"""Build the model of a GGUF file: its metadata as a config.json, its weights under Hugging Face's names."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from microgpt.errors import CheckpointError
from microgpt.model.files.gguf.header import GGUFHeader, TensorEntry
from microgpt.model.files.gguf.names import ARCHITECTURES, Architecture
from microgpt.model.files.hf import model_from
from microgpt.model.files.hf.source import WeightSource
from microgpt.model.files.untrusted import TYPES, Entry, damaged
from microgpt.model.gpt import GPT
from microgpt.text import did_you_mean, one_line, shown

IGNORED = {"vocab_size", "rope.dimension_count", "attention.value_length", "attention.sliding_window"}
"Metadata of an architecture that `config` checks, or that the weights say again."
LAYERS_LIMIT = 10_000
TYPE_NAMES = {dtype: name for name, (dtype, _) in TYPES.items()}


def read_gguf(header: GGUFHeader) -> GPT:
    """Build the model of a GGUF file, in eval mode; quantized weights become float32.

    Raises:
        CheckpointError: the file is damaged, or our parts cannot express the model; names the fields.
    """
    name = header.get("general.architecture", str)
    if name not in ARCHITECTURES:
        fix = did_you_mean(str(name)[:40], ARCHITECTURES)
        raise CheckpointError(f"the architecture {shown(name)}, which our parts cannot express", str(header.path), fix)
    architecture = ARCHITECTURES[name]
    values = config(header, architecture)
    return model_from(values, GGUFWeights(header, architecture, values), header.path)


def config(header: GGUFHeader, architecture: Architecture) -> dict[str, Any]:
    """The metadata as Hugging Face's config.json."""
    prefix = f"{architecture.model_type}."
    known = {prefix + key for key in (*architecture.sizes, *IGNORED)}
    odd = [key for key in header.metadata if key.startswith(prefix) and key not in known]
    if odd:
        listed = one_line(", ".join(f"{key}={shown(header.metadata[key])}" for key in sorted(odd)[:5]))
        raise CheckpointError(f"our parts cannot express {listed}", str(header.path), "take a model without these")
    table = header.tensors.get("token_embd.weight")
    if table is None:
        raise damaged(header.path, "the weight 'token_embd.weight' is missing")
    values = {name: header.metadata.get(prefix + key) for key, name in architecture.sizes.items()}
    width = values.get("head_dim")
    for key, wanted in (("rope.dimension_count", width), ("attention.value_length", width)):
        found = header.metadata.get(prefix + key)
        if found is not None and found != (wanted or _head_width(values)):
            raise CheckpointError(f"our parts cannot express {key}={shown(found)}", str(header.path))
    context = header.get(prefix + "context_length", int)
    window = header.get(prefix + "attention.sliding_window", int)
    if window is not None and context is not None and 0 < window < context:
        raise CheckpointError(f"our parts cannot express attention.sliding_window={window}", str(header.path))
    return {
        **values,
        "model_type": architecture.model_type,
        "vocab_size": table.shape[0],
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "attention_bias": "blk.0.attn_q.bias" in header.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in header.tensors,
        "activation_function": "gelu_new",
    }


def _head_width(values: dict[str, Any]) -> int | None:
    width, heads = values.get("hidden_size"), values.get("num_attention_heads")
    return width // heads if type(width) is int and type(heads) is int and heads > 0 else None


class GGUFWeights(WeightSource):
    """A GGUF file's tensors under Hugging Face's names and in its layout."""

    def __init__(self, header: GGUFHeader, architecture: Architecture, values: dict[str, Any]) -> None:
        self.folder, self.architecture = header.path, architecture
        self.heads: dict[str, Any] = {
            "attn_q": values.get("num_attention_heads"),
            "attn_k": values.get("num_key_value_heads"),
        }
        layers = values.get("num_hidden_layers") or values.get("n_layer")
        if type(layers) is not int or not 0 < layers <= min(len(header.tensors), LAYERS_LIMIT):
            raise damaged(header.path, f"{shown(layers)} layers in {len(header.tensors)} weights")
        names = architecture.layered(layers)
        self._found: dict[str, tuple[str, TensorEntry]] = {}
        for name, entry in header.tensors.items():
            stem, _, kind = name.rpartition(".")
            self._found[f"{names[stem]}.{kind}" if stem in names else name] = (stem, entry)
        if len(self._found) != len(header.tensors):
            raise damaged(header.path, "two weights have the same place")
        self.size = sum(4 * entry.size // entry.format.size * entry.format.numbers for _, entry in self._found.values())

    def __getitem__(self, name: str) -> Entry:
        stem, entry = self._found[name]
        shape = entry.shape[::-1] if stem.endswith(self.architecture.transposed) else entry.shape
        return Entry(TYPE_NAMES[entry.format.dtype], shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def read(self, name: str) -> Tensor:
        stem, entry = self._found[name]
        with self.folder.open("rb") as file:
            file.seek(entry.start)
            data = bytearray(file.read(entry.size))
        if len(data) != entry.size:
            raise damaged(self.folder, "it became shorter while it was read")
        tensor = entry.format.tensor(data, entry.shape)
        if stem.endswith(self.architecture.interleaved):
            heads: int = self.heads[stem.rpartition(".")[2]] or self.heads["attn_q"]
            return apart(tensor, heads)
        return tensor.T if tensor.ndim == 2 and stem.endswith(self.architecture.transposed) else tensor


def apart(weight: Tensor, heads: int) -> Tensor:
    """Rows (H D, ...) whose rotary pairs are neighbours, reordered so that they are half a head apart."""
    return weight.reshape(heads, -1, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """The inverse of `apart`."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)
