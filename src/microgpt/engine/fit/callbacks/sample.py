"""Sample from fixed prompts during training; show the texts in the terminal and log them."""

import lightning as L

from microgpt.data.rng import key
from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.fit.callbacks.base import StepCallback, is_due
from microgpt.engine.fit.callbacks.metrics import Clock
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.process.optional import optional
from microgpt.engine.process.progress import Progress
from microgpt.engine.trained.sample import generate_texts
from microgpt.model import GPT
from microgpt.text import printable


class Sample(StepCallback):
    """Sample with a separate generator, keyed by (seed, step), so that training does not change."""

    def __init__(self, tokenizer: Tokenizer, clock: Clock, progress: Progress) -> None:
        self.tokenizer, self.clock, self.progress = tokenizer, clock, progress
        self.texts: list[str] = []

    def on_step_end(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        if not is_due(step, module.config.sample.every_n_steps, module.total_steps):
            return
        self.clock.stop()
        with module.averaged() as model:
            if trainer.is_global_zero:
                with optional("the sample", step == module.total_steps):
                    self.draw(trainer, module, model, step)
        self.clock.start()

    def draw(self, trainer: L.Trainer, module: GPTModule, model: GPT, step: int) -> None:
        """Continue each prompt, show the texts and log them."""
        config = module.config.sample
        self.texts = [
            generate_texts(model, self.tokenizer, prompt, config.params(key(module.config.seed, f"sample {i}", step)))[
                0
            ]
            for i, prompt in enumerate(config.prompts)
        ]
        for i, (prompt, text) in enumerate(zip(config.prompts, self.texts, strict=True)):
            new = text.removeprefix(prompt)
            block = f"**prompt**\n\n{verbatim(prompt or '(a new line)')}\n\n**continued**\n\n{verbatim(new)}"
            trainer.logger.add_text(f"samples/{i}", block, step)  # type: ignore[union-attr]
            self.progress.say(f"--- sample {i} at step {step}\n{text.strip()}\n---")


def verbatim(text: str) -> str:
    """A text as a block that Markdown, which loggers render, leaves as it is."""
    return "\n".join(f"    {line}" for line in printable(text).splitlines())
