"""Import a LoRA adapter of PEFT (https://huggingface.co/docs/peft), merged into the model that it was trained on."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from microgpt.config import Fault
from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.exchange.importers.base import Importer
from microgpt.engine.exchange.own_tokenizer import find_tokenizer
from microgpt.errors import CheckpointError
from microgpt.model import GPT
from microgpt.model.files.hf import locate, model_from
from microgpt.model.files.hf.source import CONFIG, Weights, WeightSource
from microgpt.model.files.untrusted import TYPES, Entry, damaged, read_json, read_safetensors_header
from microgpt.text import shown

PREFIX = "base_model.model."
SETTINGS, UPDATES = "adapter_config.json", "adapter_model.safetensors"
REFUSED: dict[str, Any] = {
    "use_dora": False, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {}, "lora_bias": False,
    "use_qalora": False, "trainable_token_indices": None, "layer_replication": None, "target_parameters": None,
    "alora_invocation_tokens": None,
}  # fmt: skip
"""Settings that change what an adapter computes -> the only value that we merge; null and empty are the same."""


class PEFT(Importer, name="peft"):
    """CKPT is PEFT's adapter folder (LoRA); it is merged into --base."""

    base: str | None = None
    "The model that it was trained on: a folder of transformers, such as an export, or a name on the Hub."

    def check(self) -> Iterator[Fault]:
        if self.base is None:
            yield Fault("base", "an adapter is no model by itself", "name the model it was trained on: --base FOLDER")

    def read(self, checkpoint: Path) -> tuple[GPT, Tokenizer]:
        base = locate(str(self.base))
        scale, is_transposed = read_settings(checkpoint / SETTINGS)
        with Weights(base) as weights, ExitStack() as stack:
            header, _ = read_safetensors_header(checkpoint / UPDATES)
            try:
                updates = stack.enter_context(safe_open(checkpoint / UPDATES, framework="pt"))
            except (SafetensorError, OSError) as error:
                raise damaged(checkpoint / UPDATES, str(error)) from None
            merged = Merged(weights, pairs(header, weights, checkpoint / UPDATES), updates, scale, is_transposed)
            model = model_from(read_json(base / CONFIG, limit=1 << 20), merged, base / CONFIG)
        return model, find_tokenizer(base, model.vocab_size)


def read_settings(path: Path) -> tuple[dict[str, float], bool]:
    """The numbers r, lora_alpha and use_rslora of an adapter, and whether its matrices are (in, out).

    Raises:
        CheckpointError: the adapter is of another kind, or has settings that we would drop; names them.
    """
    values = read_json(path, limit=1 << 20)
    odd = [f"{key}={shown(values[key])}" for key, only in REFUSED.items() if (values.get(key) or only) != only]
    if values.get("peft_type") != "LORA":
        odd.insert(0, f"peft_type={shown(values.get('peft_type'))}")
    if values.get("bias", "none") != "none":
        odd.append(f"bias={shown(values['bias'])}")
    if odd:
        raise CheckpointError(f"an adapter with {', '.join(odd)}", str(path), "merge it with PEFT's merge_and_unload")
    rank, alpha = values.get("r"), values.get("lora_alpha")
    if type(rank) is not int or rank < 1 or not isinstance(alpha, (int, float)):
        raise damaged(path, f"r={shown(rank)} and lora_alpha={shown(alpha)}")
    numbers = {"rank": float(rank), "alpha": float(alpha), "rslora": float(bool(values.get("use_rslora")))}
    return numbers, bool(values.get("fan_in_fan_out"))


def pairs(header: Mapping[str, Entry], base: Mapping[str, Entry], path: Path) -> dict[str, str]:
    """The base's weight -> the stem of its two matrices; every tensor of the adapter must have a place."""
    found: dict[str, str] = {}
    for name, entry in header.items():
        stem, _, part = name.rpartition(".lora_")
        target = f"{stem.removeprefix(PREFIX)}.weight"
        if part not in ("A.weight", "B.weight") or target not in base:
            raise CheckpointError(f"an update {shown(name, 80)} without a place in the base", str(path),
                                  "name the model that it was trained on with --base")  # fmt: skip
        if len(entry.shape) != 2 or entry.dtype not in TYPES:
            raise damaged(path, f"{shown(name, 80)} is of shape {entry.shape} and type {entry.dtype[:20]}")
        found[target] = stem
    for target, stem in found.items():
        if not {f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"} <= header.keys():
            raise damaged(path, f"the update of {shown(target, 80)} has only one of its two matrices")
        rows, columns = header[f"{stem}.lora_B.weight"].shape, header[f"{stem}.lora_A.weight"].shape
        if rows[1] != columns[0] or {rows[0], columns[1]} != set(base[target].shape):
            raise damaged(path, f"the update of {shown(target, 80)} does not fit its shape {base[target].shape}")
    if not found:
        raise damaged(path, "no updates")
    return found


class Merged(WeightSource):
    """A model's weights with an adapter's updates added."""

    def __init__(
        self, base: Weights, pairs: Mapping[str, str], updates: Any, settings: dict[str, float], is_transposed: bool
    ) -> None:
        self.base, self.pairs, self.updates, self.is_transposed = base, pairs, updates, is_transposed
        self.folder, self.size = base.folder, base.size
        self.scale = settings["alpha"] / settings["rank"] ** (0.5 if settings["rslora"] else 1.0)

    def __getitem__(self, name: str) -> Entry:
        return self.base[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)

    def read(self, name: str) -> Tensor:
        weight, stem = self.base.read(name), self.pairs.get(name)
        if stem is None:
            return weight
        down, up = (self.updates.get_tensor(f"{stem}.lora_{part}.weight").float() for part in "AB")
        update = self.scale * (up @ down)
        merged: Tensor = (weight.float() + (update.T if self.is_transposed else update)).to(weight.dtype)
        return merged
