"""Read llama.cpp's model files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), trusting nothing in them.

`names` is the map to Hugging Face's names that the writer shares, `header` parses, `blocks` dequantizes.
"""

from microgpt.model.files.gguf.header import GGUFHeader, read_header
from microgpt.model.files.gguf.read import read_gguf

__all__ = ["GGUFHeader", "read_gguf", "read_header"]
