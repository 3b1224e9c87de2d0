"""One file for llama.cpp and the programs built on it (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

import microgpt
from microgpt.engine.exchange.check import compare_logits, compare_tokens, largest_difference
from microgpt.engine.exchange.formats.base import ExportFormat
from microgpt.engine.exchange.gguf_vocabulary import DOCUMENTS, Vocabulary, tokenizer_of, vocabulary
from microgpt.engine.trained.run import Run
from microgpt.errors import UsageError
from microgpt.extras import package
from microgpt.model import GPT, GPTConfig
from microgpt.model.files.gguf import read_gguf, read_header
from microgpt.model.files.gguf.names import ARCHITECTURES, Architecture
from microgpt.model.files.gguf.read import interleaved
from microgpt.model.files.hf import Family, family_for


class GGUFFormat(ExportFormat, name="gguf"):
    """One .gguf for llama.cpp, Ollama and LM Studio: Llama, Qwen3 and GPT-2, with the tokenizer."""

    is_file = True

    type: Literal["f32", "f16", "bf16", "q8_0"] = "f32"
    "Number format of the matrices; q8_0 has 8 bits and a scale for 32 numbers."

    def check_run(self, run: Run) -> None:
        package("gguf", "gguf", "writing GGUF", "--format gguf")
        architecture_for(run.config)
        vocabulary(run.tokenizer)

    def write(self, run: Run, folder: Path) -> float:
        family, architecture = architecture_for(run.config)
        gguf = package("gguf", "gguf", "writing GGUF", "--format gguf")
        writer = gguf.GGUFWriter(folder, architecture.model_type)
        writer.add_name(run.path.resolve().name)
        writer.add_description(f"trained with microgpt {microgpt.__version__}")
        writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{self.type.upper()}" if self.type != "f32" else "ALL_F32"])
        values = family.write_config(run.config, run.model.vocab_size)
        for key, name in architecture.sizes.items():
            add(writer, f"{architecture.model_type}.{key}", values[name])
        if "head_dim" in values:
            for key in ("attention.value_length", "rope.dimension_count"):
                add(writer, f"{architecture.model_type}.{key}", values["head_dim"])
        add_vocabulary(writer, vocabulary(run.tokenizer))
        rounded = copy.deepcopy(run.model).float()
        for name, weight in their_weights(family, architecture, run.model, values):
            writer.add_tensor(name, *encoded(gguf, name, weight, self.type))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        header = read_header(folder)
        again = read_gguf(header)
        compare_logits(rounded_model(rounded, self.type), lambda x: again(x)[0])
        compare_tokens(run.tokenizer, tokenizer_of(header).with_unknown("skip").encode)
        return largest_difference(run.model, lambda x: again(x)[0])

    def next_step(self, out: Path) -> str:
        return f"llama-cli -m {out}"


def architecture_for(config: GPTConfig) -> tuple[Family, Architecture]:
    """The family and llama.cpp's architecture that express a model.

    Raises:
        UsageError: llama.cpp has none; names the knobs that prevent it.
    """
    family = family_for(config)
    architecture = ARCHITECTURES.get(family.model_type)
    fix = "train without these, or export with --format hf"
    if architecture is None:
        raise UsageError(f"{family.architecture}, which we do not write as GGUF", "the model's config", fix)
    if config.mlp.name != architecture.mlp:
        what = f"mlp={config.mlp.name}: llama.cpp's {architecture.model_type} has {architecture.mlp} alone"
        raise UsageError(what, "the model's config", fix)
    return family, architecture


def add(writer: Any, key: str, value: float | bool) -> None:
    """Add a number to the metadata."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    else:
        writer.add_float32(key, value)


def add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    """Add the tokenizer to the metadata."""
    writer.add_tokenizer_model(vocabulary.model)
    if vocabulary.pre is not None:
        writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    for name in ("bos", "eos"):
        if (token := getattr(vocabulary, name)) is not None:
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
    if vocabulary.documents is not None:
        writer.add_string(DOCUMENTS, vocabulary.documents)
    if vocabulary.unknown is not None:
        writer.add_unk_token_id(vocabulary.unknown)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


@torch.no_grad()
def their_weights(
    family: Family, architecture: Architecture, model: GPT, values: dict[str, Any]
) -> Iterator[tuple[str, Tensor]]:
    """Yield llama.cpp's weights by name, in float32 and in its layout."""
    ours, config = model.state_dict(), model.config
    names = {theirs: name for name, theirs in architecture.layered(config.n_layer).items()}
    for rule in family.rules(config, model.vocab_size, values):
        weight = ours[rule.ours].detach().cpu() if rule.ours in ours else rule.filled(model.wte.weight.dtype)
        for theirs, part in rule.split(weight.float()):
            stem, _, kind = theirs.rpartition(".")
            part = part.T if rule.is_transposed and part.ndim == 2 else part
            if names[stem].endswith(architecture.interleaved):
                part = interleaved(part, config.n_head if names[stem].endswith("q") else config.kv_heads)
            yield f"{names[stem]}.{kind}", part.contiguous()


def encoded(gguf: Any, name: str, weight: Tensor, type: str) -> tuple[np.ndarray, None, Any]:
    """A weight in the file's number format, as arguments of `add_tensor`.

    Vectors and positions stay float32, as llama.cpp's own converter has them; rows that do not consist of whole blocks
    become float16.
    """
    kind = number_format(name, tuple(weight.shape), type)
    format = gguf.GGMLQuantizationType[kind.upper()]
    return gguf.quants.quantize(weight.numpy(), format), None, format


def number_format(name: str, shape: tuple[int, ...], type: str) -> str:
    """The number format of one weight in a file of this type."""
    if len(shape) == 1 or name.startswith(("position_embd", "pos.wpe")):
        return "f32"
    return "f16" if type == "q8_0" and shape[-1] % 32 else type


@torch.no_grad()
def rounded_model(model: GPT, type: str) -> GPT:
    """The model with its weights rounded as in the file, in place."""
    gguf = package("gguf", "gguf", "writing GGUF", "--format gguf")
    for name, weight in model.named_parameters():
        data, _, format = encoded(gguf, name, weight.detach(), type)
        weight.copy_(torch.from_numpy(gguf.quants.dequantize(data, format)))
    return model
