"""Import llama.cpp's model files: f32, f16, bf16, q8_0, q4_0 and q4_1 of the families we have."""

from pathlib import Path

from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.exchange.gguf_vocabulary import tokenizer_of
from microgpt.engine.exchange.importers.base import Importer
from microgpt.model import GPT
from microgpt.model.files.gguf import read_gguf, read_header


class GGUF(Importer, name="gguf"):
    """CKPT is a .gguf for llama.cpp: weights, configuration and tokenizer; quantized weights become float32."""

    def read(self, checkpoint: Path) -> tuple[GPT, Tokenizer]:
        header = read_header(checkpoint)
        return read_gguf(header), tokenizer_of(header)
