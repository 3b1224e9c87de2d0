"""Measure the heads' induction scores during training, to log their rise beside the loss."""

import lightning as L

from microgpt.engine.fit.callbacks.base import StepCallback, is_due
from microgpt.engine.fit.callbacks.metrics import Clock
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.process.progress import Progress
from microgpt.inspect.config import InspectConfig
from microgpt.inspect.heads import induction_score
from microgpt.inspect.history import INDUCTION
from microgpt.model import GPT


def inspected_columns(config: InspectConfig) -> tuple[str, ...]:
    """The columns of metrics.csv that this adds."""
    return (INDUCTION,) if config.every_n_steps else ()


class Inspect(StepCallback):
    """Score the heads on the same random tokens every time; training draws and learns nothing from it.

    metrics.csv has the best head's score, loggers have every head's.
    """

    def __init__(self, clock: Clock, progress: Progress) -> None:
        self.clock, self.progress = clock, progress

    def on_step_end(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        if not is_due(step, module.config.inspect.every_n_steps, module.total_steps):
            return
        self.clock.stop()
        with module.averaged() as model:
            if trainer.is_global_zero:
                self.measure(trainer, model, step)
        self.clock.start()

    def measure(self, trainer: L.Trainer, model: GPT, step: int) -> None:
        """Score the heads and log the scores."""
        with trainer.precision_plugin.forward_context():
            scores = induction_score(model)
        ranked = scores.ranked()
        each = {f"{INDUCTION}/layer{layer}.head{head}": score for layer, head, score in ranked}
        trainer.logger.log_metrics({INDUCTION: ranked[0][2], **each}, step)  # type: ignore[union-attr]
        layer, head, best = ranked[0]
        self.progress.say(f"step {step}  induction {best:.3f} (layer {layer}, head {head})")
