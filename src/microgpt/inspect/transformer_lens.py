"""A trained model as TransformerLens's own (https://github.com/TransformerLensOrg/TransformerLens)."""

import copy
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch

from microgpt.engine.trained.run import Run
from microgpt.errors import MachineError, UsageError
from microgpt.model.files import hf

TOLERANCE = 1e-4
"""Largest accepted difference of logits, relative to the largest logit or to 1, whichever is larger."""


def to_transformer_lens(run: Run) -> Any:
    """The model as a `TransformerBridge` of TransformerLens 4, with the run's tokenizer, in float32 and eval mode.

    It goes by way of the class of transformers that expresses the model, GPT-2's, GPT-NeoX's, Llama's or Qwen3's. The
    logits are compared before it is returned.

    Raises:
        UsageError: none of these classes expresses the model; names the parts that prevent it.
        MachineError: TransformerLens is not installed, or its logits differ.
    """
    try:
        hf.family_for(run.config)
    except UsageError as error:
        fix = "train without these, or use microgpt.inspect, which takes every model"
        raise UsageError(error.what, "to_transformer_lens", fix) from None
    for package in ("transformer_lens", "transformers"):
        if importlib.util.find_spec(package) is None:
            what = f"to_transformer_lens needs the package {package}"
            raise MachineError(what, "this environment", "pip install 'microgpt[exchange]'")
    import transformers
    from transformer_lens.model_bridge import TransformerBridge

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hf.write_model(folder, run.model)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, attn_implementation="eager"
        )
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend(run, folder))
        bridge = TransformerBridge.boot_transformers(
            str(folder), hf_model=theirs.eval(), tokenizer=tokenizer, device=str(run.model.wte.weight.device)
        )
    compare(run, bridge)
    return bridge


def backend(run: Run, folder: Path) -> Any:
    """The run's tokenizer as an object of the package tokenizers."""
    import tokenizers

    path = folder / "tokenizer.json"
    path.write_text(run.tokenizer.tokenizer_json(), encoding="utf-8")
    return tokenizers.Tokenizer.from_file(str(path))


@torch.no_grad()
def compare(run: Run, bridge: Any) -> None:
    """Compare the logits on random tokens that fill the context.

    Raises:
        MachineError: they differ by more than rounding explains.
    """
    x = torch.randint(run.model.vocab_size, (2, run.config.block_size), generator=torch.Generator().manual_seed(0))
    model = run.model if run.model.wte.weight.dtype is torch.float32 else copy.deepcopy(run.model).float()
    expected = model(x.to(model.wte.weight.device))[0]
    difference = float((expected - bridge(x).to(expected)).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        what = f"TransformerLens's logits differ by {difference:.3g}"
        raise MachineError(
            what, "to_transformer_lens", "pip install 'microgpt[exchange]' has the versions that were tested"
        )
