"""The GPT: its configuration, parts, generation and folder on disk. Needs only torch and safetensors."""

from microgpt.model.config import GPTConfig
from microgpt.model.files.folder import load_model, save_model
from microgpt.model.gpt import GPT
from microgpt.model.pos import Position, PositionConfig

__all__ = ["GPT", "GPTConfig", "Position", "PositionConfig", "load_model", "save_model"]
