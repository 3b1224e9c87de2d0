"""Convert another project's checkpoint to our model folder."""

from pathlib import Path
from typing import Any

from microgpt.engine.exchange.export import new_folder
from microgpt.engine.exchange.importers import Importer
from microgpt.errors import CheckpointError
from microgpt.model import GPT, save_model


def import_checkpoint(checkpoint: Path, out: Path, project: str | dict[str, Any] | Importer) -> GPT:
    """Read a checkpoint and write it as a model folder.

    Args:
        out: the folder to create; it must be absent or empty.
        project: a project's name, or a mapping of `name` and options: `{"name": "nanogpt", "meta": "meta.pkl"}`.

    Raises:
        UsageError: the project or an option is unknown, or the folder is in use.
        CheckpointError: the file is not such a checkpoint, or the tokenizer belongs to another model.
        MachineError: the folder cannot be written.
    """
    importer = Importer.choose(project)
    assert isinstance(importer, Importer)
    model, tokenizer = importer.read(checkpoint)
    if tokenizer.vocab_size != model.vocab_size:
        what = f"the tokenizer has {tokenizer.vocab_size} tokens, the model {model.vocab_size}"
        raise CheckpointError(what, str(checkpoint), "name the tokenizer of the data that it was trained on")
    with new_folder(out) as folder:
        save_model(folder, model, tokenizer.to_dict())
    return model
