"""Evaluate during training: score the model, keep the best weights, stop early."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import lightning as L

from microgpt.data.corpus import Corpus
from microgpt.engine.fit.callbacks.base import StepCallback, is_due
from microgpt.engine.fit.callbacks.metrics import Clock
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.process import signals
from microgpt.engine.process.optional import optional
from microgpt.engine.process.progress import Progress
from microgpt.engine.trained.evaluate import Score, score_text
from microgpt.engine.trained.metrics import Metric
from microgpt.model import GPT


class Evaluate(StepCallback):
    """Score the validation split every `eval.every_n_steps` and at the end.

    Args:
        save_best: writes the model folder; called with the model whenever its score improves.
        draw: draws figures; called with the model, the score and the step when figures are due.
    """

    def __init__(
        self,
        corpus: Corpus,
        clock: Clock,
        progress: Progress,
        save_best: Callable[[GPT], None],
        draw: Callable[[GPT, Score, int], None],
    ) -> None:
        self.corpus, self.clock, self.progress = corpus, clock, progress
        self.save_best, self.draw = save_best, draw
        self.best_loss, self.best_step, self.best_metrics = math.inf, 0, dict[str, float]()
        self.worse_in_a_row, self.evaluated_step = 0, 0
        self.last_score: Score | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._catch_up(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._catch_up(trainer, pl_module)

    def _catch_up(self, trainer: L.Trainer, module: Any) -> None:
        """Redo the evaluation that a signal cut short before the checkpoint was saved."""
        if trainer.global_step not in (0, self.evaluated_step) and signals.received() is None:
            with contextlib.suppress(signals.Interrupted):
                self.on_step_end(trainer, module, trainer.global_step)

    def on_step_end(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        config = module.config
        ending = step == module.total_steps or trainer.should_stop
        if not (is_due(step, config.eval.every_n_steps, module.total_steps) or ending):
            return
        self.clock.stop()
        with module.averaged() as model:
            if len(self.corpus.val) > 1:
                before = self.state_dict()
                try:
                    self._score(trainer, module, model, step, ending)
                except Exception:
                    self.load_state_dict(before)  # the resumed run repeats the evaluation and saves the best weights
                    raise
            elif ending and trainer.is_global_zero:
                self.save_best(model)
        self.evaluated_step = step
        self.clock.start()

    def _score(self, trainer: L.Trainer, module: GPTModule, model: GPT, step: int, ending: bool) -> None:
        config = module.config
        score = score_text(
            model,
            self.corpus.splits["val"],
            protocol=config.eval.protocol,
            batch_size=config.eval.batch_size,
            context=trainer.precision_plugin.forward_context(),
        )
        metrics, self.last_score = score.metrics(), score
        better = score.loss < self.best_loss
        if better:
            self.best_loss, self.best_step, self.best_metrics = score.loss, step, metrics
        self.worse_in_a_row = 0 if better else self.worse_in_a_row + 1
        patience = config.trainer.early_stopping_patience
        if patience is not None and self.worse_in_a_row >= patience and not ending:
            self.progress.say(f"no better val/loss in {patience} evaluations: stopping early at step {step}")
            trainer.should_stop = True
        if not trainer.is_global_zero:
            return
        if better:
            self.save_best(model)
        with optional("logging the evaluation") if ending else contextlib.nullcontext():
            trainer.logger.log_metrics(metrics, step)  # type: ignore[union-attr]
        star = "  best so far" if better else ""
        figures = (metric.progress(score.values[name]) for name, metric in Metric.members.items())
        shown = "  ".join(text for text in figures if text)
        self.progress.say(f"step {step}  {shown}  ({score.protocol}, {score.tokens:,} tokens){star}")
        if config.eval.figures == "always" or (config.eval.figures == "end" and ending):
            with optional("drawing the figures", ending):
                self.draw(model, score, step)

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "best_metrics": self.best_metrics,
            "worse_in_a_row": self.worse_in_a_row,
            "evaluated_step": self.evaluated_step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in self.state_dict():
            setattr(self, name, state_dict[name])
