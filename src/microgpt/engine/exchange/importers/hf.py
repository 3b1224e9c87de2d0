"""Import a folder of transformers, with pickled weights or GPT-2's tokenizer files too."""

from pathlib import Path

from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.exchange.importers.base import Importer
from microgpt.engine.exchange.own_tokenizer import find_tokenizer
from microgpt.engine.exchange.pickled import TensorSource, read_pickle
from microgpt.errors import CheckpointError
from microgpt.model import GPT
from microgpt.model.files import hf
from microgpt.model.files.hf.source import CONFIG, INDEX, WEIGHTS
from microgpt.model.files.untrusted import read_json


class HuggingFace(Importer, name="hf"):
    """CKPT is a folder with config.json, weights (safetensors or pytorch_model.bin) and a tokenizer."""

    def read(self, checkpoint: Path) -> tuple[GPT, Tokenizer]:
        model = read_folder(checkpoint)
        return model, find_tokenizer(checkpoint, model.vocab_size)


def read_folder(folder: Path) -> GPT:
    """Read a model of transformers, from safetensors or, by torch's weights-only unpickler, from pytorch_model*.bin."""
    if not folder.is_dir():
        raise CheckpointError("not a folder", str(folder), "name the folder that holds config.json")
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        return hf.read_model(folder)
    files = sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise CheckpointError("no weights", str(folder), f"give {WEIGHTS} or pytorch_model.bin")
    tensors = {name: tensor for file in files for name, tensor in read_pickle(file).items()}
    values = read_json(folder / CONFIG, limit=1 << 20)
    return hf.model_from(values, TensorSource(tensors, folder), folder / CONFIG)
