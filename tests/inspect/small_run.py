"""A small run for the tests of inspection."""

from pathlib import Path
from typing import Any

import torch

from microgpt import CharTokenizer, Run
from microgpt.model import GPT, GPTConfig

TEXT = "to be, or not"


def small_run(text: str = TEXT, **knobs: Any) -> Run:
    """A run with weights that show."""
    torch.manual_seed(0)
    tokenizer = CharTokenizer.from_text("abcdefghijklmnopqrstuvwxyz ,\n<>/&\"'$")
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 16}
    model = GPT(GPTConfig.from_dict({**sizes, **knobs}), tokenizer.vocab_size)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.normal_(std=0.4)
    return Run(Path("runs/small"), model.eval(), tokenizer)
