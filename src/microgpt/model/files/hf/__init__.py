"""Models in Hugging Face's formats, both ways, by explicit maps: config.json and safetensors, no transformers needed.

One file a family beside this one; every module in this folder is found and registered by being here.
Imports what `microgpt.model` does; `huggingface_hub` (extra `hf`) when a model is downloaded.
"""

from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

from microgpt.model.files.hf.family import Family, family_for  # noqa: E402
from microgpt.model.files.hf.read import from_pretrained, is_ours, read_model, rebuilt  # noqa: E402
from microgpt.model.files.hf.source import locate  # noqa: E402
from microgpt.model.files.hf.write import write_model  # noqa: E402

__all__ = [
    "Family",
    "family_for",
    "from_pretrained",
    "is_ours",
    "locate",
    "read_model",
    "rebuilt",
    "write_model",
]
