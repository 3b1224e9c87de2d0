"""Our own model folder: model.safetensors, config.json, tokenizer.json."""

from pathlib import Path

from microgpt.engine.exchange.check import compare_logits
from microgpt.engine.exchange.formats.base import ExportFormat
from microgpt.engine.trained.run import Run, load
from microgpt.model import save_model


class SafetensorsFormat(ExportFormat, name="safetensors"):
    """Our own model folder, which holds any model."""

    def write(self, run: Run, folder: Path) -> float:
        save_model(folder, run.model, run.tokenizer.to_dict())
        again = load(folder).model
        return compare_logits(run.model, lambda x: again(x)[0])

    def next_step(self, out: Path) -> str:
        return f'microgpt-generate {out} --prompt "..."'
