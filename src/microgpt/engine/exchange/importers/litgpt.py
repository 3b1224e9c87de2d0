"""Import litgpt (https://github.com/Lightning-AI/litgpt): a folder of its pretraining, fine-tuning or downloads."""

from pathlib import Path

from microgpt.data.tokenizer import Tokenizer
from microgpt.data.tokenizer.ids import IdsTokenizer
from microgpt.engine.exchange.importers.base import Importer
from microgpt.engine.exchange.litgpt import read_checkpoint
from microgpt.engine.exchange.own_tokenizer import find_tokenizer, has_tokenizer
from microgpt.model import GPT
from microgpt.model.files.hf.end_tokens import end_tokens


class LitGPT(Importer, name="litgpt"):
    """CKPT is a folder with lit_model.pth, model_config.yaml and a tokenizer; without one, tokens are numbers."""

    def read(self, checkpoint: Path) -> tuple[GPT, Tokenizer]:
        model = read_checkpoint(checkpoint)
        if not has_tokenizer(checkpoint):
            return model, IdsTokenizer(model.vocab_size)
        tokenizer = find_tokenizer(checkpoint, model.vocab_size)
        return model, tokenizer.with_ends(end_tokens(checkpoint, model.vocab_size))
