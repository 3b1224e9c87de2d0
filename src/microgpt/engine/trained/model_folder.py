"""Find and read the folder of a trained model: a run's `model/`, or an exported one."""

from pathlib import Path

from microgpt.data.tokenizer import HFTokenizer, Tokenizer, tokenizer_from_dict
from microgpt.engine.store.checkpoint import checkpoints
from microgpt.engine.store.missing_run import missing_run
from microgpt.errors import CheckpointError
from microgpt.foreign import refuse_foreign
from microgpt.model import GPT
from microgpt.model.files import hf
from microgpt.model.files.folder import TOKENIZER, load_model
from microgpt.model.files.hf.end_tokens import end_tokens


def read_folder(folder: Path, device: str = "cpu") -> tuple[GPT, Tokenizer]:
    """Read the model, in eval mode, and the tokenizer of a folder in our format or Hugging Face's.

    Raises:
        CheckpointError: either is missing or damaged, they do not match, or our parts cannot express the model.
        MachineError: the tokenizer needs a package that is not installed.
    """
    if hf.is_ours(folder):
        model, values, _ = load_model(folder, device)
        tokenizer = tokenizer_from_dict(values)
        if tokenizer.vocab_size != model.vocab_size:
            what = f"a tokenizer of {tokenizer.vocab_size} tokens for a model of {model.vocab_size}"
            raise CheckpointError(what, str(folder), "copy the folder again, or train anew")
        return model, tokenizer
    model = hf.read_model(folder).to(device)
    tokenizer = HFTokenizer.from_file(folder / TOKENIZER, model.vocab_size)
    return model, tokenizer.with_ends(end_tokens(folder, model.vocab_size))


def model_folder(path: Path) -> Path:
    """The folder under `path` that holds config.json and the weights.

    Raises:
        CheckpointError: there is none; the error says what is there.
    """
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return folder
    if not path.exists():
        raise missing_run(path)
    if checkpoints(path / "checkpoints"):
        fix = "give its training command again: it makes the model from the checkpoint, or trains until it has one"
        raise CheckpointError("no model/ folder beside the checkpoints", str(path), fix)
    if (path / "checkpoints").is_dir() or (path / "config.yaml").is_file():
        fix = f"let it train until its first evaluation: microgpt-train hydra.run.dir={path}"
        raise CheckpointError("the run has saved no model yet", str(path), fix)
    refuse_foreign(path)
    raise CheckpointError("no model", str(path), "name a run folder, its model/ folder or an exported model")
