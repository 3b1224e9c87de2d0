"""Read and write models in Hugging Face's format, by explicit maps and without transformers.

Each family is a file in this folder, whose import registers it. Downloads need `huggingface_hub` (extra `hf`).
"""

from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

from microgpt.model.files.hf.family import Family, family_for  # noqa: E402
from microgpt.model.files.hf.read import from_pretrained, is_ours, model_from, read_model, rebuilt  # noqa: E402
from microgpt.model.files.hf.source import locate  # noqa: E402
from microgpt.model.files.hf.write import write_model  # noqa: E402

__all__ = [
    "Family",
    "family_for",
    "from_pretrained",
    "is_ours",
    "locate",
    "model_from",
    "read_model",
    "rebuilt",
    "write_model",
]
