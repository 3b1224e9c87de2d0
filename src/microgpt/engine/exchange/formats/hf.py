"""A folder that transformers' `AutoModelForCausalLM` and `AutoTokenizer` open."""

import json
from pathlib import Path
from typing import Any

from microgpt.engine.exchange.card import model_card
from microgpt.engine.exchange.check import Encode, Logits, compare_logits, compare_tokens
from microgpt.engine.exchange.formats.base import ExportFormat
from microgpt.engine.trained.run import Run
from microgpt.errors import CheckpointError
from microgpt.model.files import hf
from microgpt.text import one_line


class HFFormat(ExportFormat, name="hf"):
    """A folder that transformers opens, with a model card; only for models that a stock class can express."""

    card: bool = True
    "Write a model card, README.md: scores, architecture and samples."

    def check_run(self, run: Run) -> None:
        hf.family_for(run.config)
        run.tokenizer.tokenizer_json()

    def write(self, run: Run, folder: Path) -> float:
        end, start = run.tokenizer.end_token(), run.tokenizer.start_token()
        family = hf.write_model(folder, run.model, run.tokenizer.end_tokens(), start[0] if start else None)
        (folder / "tokenizer.json").write_text(run.tokenizer.tokenizer_json(), encoding="utf-8")
        values = tokenizer_settings(run, end[1] or None if end else None)
        settings = json.dumps({**values, **({"bos_token": start[1]} if start else {})}, indent=2)
        (folder / "tokenizer_config.json").write_text(settings + "\n", encoding="utf-8")
        reader, logits, encode = reopened(folder)
        difference = compare_logits(run.model, logits)
        if encode is not None:
            compare_tokens(run.tokenizer, encode)
        if self.card:
            card = model_card(run, family, difference, reader)
            (folder / "README.md").write_text(card, encoding="utf-8")
        return difference

    def next_step(self, out: Path) -> str:
        opened = f"AutoModelForCausalLM.from_pretrained({str(out)!r})"
        return f"{opened}, or see {out}/README.md" if self.card else opened


def tokenizer_settings(run: Run, end: str | None) -> dict[str, Any]:
    """The content of tokenizer_config.json, for a tokenizer whose end-of-text token is `end`."""
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": run.config.block_size,
        "clean_up_tokenization_spaces": False,
    }
    if end is not None:
        settings["eos_token"] = end
    return settings


def reopened(folder: Path) -> tuple[str, Logits, Encode | None]:
    """Reopen the folder with transformers if installed, else with our own reader; return the reader's name, the logits
    and the tokens.

    Raises:
        CheckpointError: transformers cannot open the folder.
    """
    try:
        import transformers
    except ImportError:
        model = hf.read_model(folder)
        return "microgpt's own reader", lambda x: model(x)[0], None
    verbosity = transformers.utils.logging
    bars, level = verbosity.is_progress_bar_enabled(), verbosity.get_verbosity()
    verbosity.disable_progress_bar()
    verbosity.set_verbosity_error()
    try:
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise CheckpointError(f"transformers does not open it ({one_line(error, 200)})", str(folder)) from error
    finally:
        verbosity.set_verbosity(level)
        if bars:
            verbosity.enable_progress_bar()

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    return f"transformers {transformers.__version__}", lambda x: theirs(x).logits, encode
