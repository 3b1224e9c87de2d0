"""Import nanoGPT (https://github.com/karpathy/nanoGPT): ckpt.pt, and meta.pkl for character-level data."""

from collections.abc import Iterator
from pathlib import Path

from microgpt.config import Fault
from microgpt.data.tokenizer import HFTokenizer, Tokenizer
from microgpt.engine.exchange.importers.base import Importer
from microgpt.engine.exchange.nanogpt import read_checkpoint, read_meta
from microgpt.model import GPT
from microgpt.model.files.hf import locate


class NanoGPT(Importer, name="nanogpt"):
    """CKPT is nanoGPT's out/ckpt.pt, which holds no tokenizer: give --meta or --tokenizer."""

    meta: str | None = None
    "Its data/.../meta.pkl, with the characters that it was trained on."
    tokenizer: str | None = None
    "Its subwords: a tokenizer.json, a folder with one, or a name on the Hub (gpt2)."

    def check(self) -> Iterator[Fault]:
        if (self.meta is None) == (self.tokenizer is None):
            fix = "give one: --meta data/.../meta.pkl for characters, --tokenizer gpt2 for GPT-2's subwords"
            yield Fault("", "a checkpoint of nanoGPT holds no tokenizer", fix)

    def read(self, checkpoint: Path) -> tuple[GPT, Tokenizer]:
        model = read_checkpoint(checkpoint)
        if self.meta is not None:
            return model, read_meta(Path(self.meta))
        place = Path(str(self.tokenizer))
        file = place if place.is_file() else locate(str(self.tokenizer)) / "tokenizer.json"
        return model, HFTokenizer.from_file(file, model.vocab_size)
