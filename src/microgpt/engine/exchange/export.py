"""A trained model becomes a folder that others open. It is opened to check it, and appears when its logits match."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microgpt import files
from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.exchange.card import model_card
from microgpt.engine.trained.run import Run, load
from microgpt.errors import CheckpointError, MachineError, UsageError
from microgpt.model import GPT, save_model
from microgpt.model.files import hf
from microgpt.text import one_line

Logits = Callable[[Tensor], Tensor]
TOLERANCE = 1e-5
"Largest difference of logits that is accepted, per unit of the largest logit (or of 1)."


def export_hf(run: Run, out: Path) -> float:
    """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` open, and open it.

    Args:
        out: the folder to make; it must not be there.

    Returns:
        The largest difference between the logits of the model and those of the folder.

    Raises:
        UsageError: no stock class expresses the model; names the fields in the way. Or the folder exists.
        CheckpointError: what was written is not the model; nothing is left behind.
        MachineError: it cannot be written.
    """
    hf.family_for(run.config)
    described = run.tokenizer.tokenizer_json()
    end = run.tokenizer.end_token()
    with new_folder(out) as folder:
        family = hf.write_model(folder, run.model, end[0] if end else None)
        (folder / "tokenizer.json").write_text(described, encoding="utf-8")
        settings: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": run.config.block_size,
            "clean_up_tokenization_spaces": False,
        }
        if end is not None:
            settings["eos_token"] = end[1]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        reader, logits, encode = reopened(folder)
        difference = compare(run.model, logits)
        compare_tokens(run.tokenizer, encode)
        card = model_card(run, family, difference, reader)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return difference


def export_safetensors(run: Run, out: Path) -> float:
    """Write a model folder in our own format, and open it; arguments, result and errors as for `export_hf`."""
    with new_folder(out) as folder:
        save_model(folder, run.model, run.tokenizer.to_dict())
        again = load(folder).model
        return compare(run.model, lambda x: again(x)[0])


FORMATS: dict[str, Callable[[Run, Path], float]] = {"hf": export_hf, "safetensors": export_safetensors}


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`, which takes its name when all went well and is removed when not."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} exists", "OUT", "name a new folder, or an empty one")
    try:
        with files.new_folder(out.absolute()) as hidden:
            yield hidden
    except OSError as error:
        fix = "make room, or choose a folder that can be written"
        raise MachineError(f"cannot write the export ({error})", str(out), fix) from error


def reopened(folder: Path) -> tuple[str, Logits, Callable[[str], list[int]] | None]:
    """Who opened the folder, and what it makes of tokens and of texts: transformers where it is installed, else us."""
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
    name = f"transformers {transformers.__version__}"

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    return name, lambda x: theirs(x).logits, encode


@torch.no_grad()
def compare(model: GPT, logits: Logits) -> float:
    """The largest difference of logits over random tokens that fill the context.

    Raises:
        CheckpointError: it is larger than rounding explains.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(model.vocab_size, (2, model.config.block_size), generator=generator)
    expected = model(x)[0].float()
    difference = float((expected - logits(x).float()).abs().max())
    bound = TOLERANCE * max(1.0, float(expected.abs().max()))
    bound = bound if model.wte.weight.dtype in (torch.float32, torch.float64) else 1e3 * bound
    if not difference <= bound:
        what = f"the exported model's logits differ by {difference:.3g}, more than {bound:.3g}"
        raise CheckpointError(what, "the export", "nothing was written; report this with the model's config.json")
    return difference


def compare_tokens(tokenizer: Tokenizer, encode: Callable[[str], list[int]] | None) -> None:
    """Refuse a tokenizer.json that cuts texts differently.

    Raises:
        CheckpointError: a text has other tokens.
    """
    ids = torch.randint(tokenizer.vocab_size, (200,), generator=torch.Generator().manual_seed(0))
    for text in (tokenizer.decode(ids), "The cat's hat, naïve café.\n\n  日本語 🎩\t1234", ""):
        if encode is not None and encode(text) != tokenizer.with_unknown("skip").encode(text):
            raise CheckpointError(f"the exported tokenizer cuts {text[:40]!r} differently", "the export")
