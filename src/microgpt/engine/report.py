"""Print the last lines of a run: the score beside baselines, a sample, and the next commands."""

import logging

from microgpt.data.corpus import Corpus
from microgpt.engine.config import RunConfig
from microgpt.engine.process.optional import optional
from microgpt.engine.trained.evaluate import yardsticks
from microgpt.engine.trained.metrics import Loss, Metric
from microgpt.engine.trained.run import Run
from microgpt.text import printable

log = logging.getLogger("microgpt")


def closing_words(run: Run, corpus: Corpus, config: RunConfig) -> None:
    """Log the model's score beside simple baselines, a sample, and the next commands."""
    summary = run.summary
    if "val/loss" in summary:
        shown = {f"val/{metric.name}": metric for metric in Metric.members.values() if metric.headline}
        shown["val/loss"] = Loss
        figures = ", ".join(f"{key} {metric.quantity(summary[key])}" for key, metric in shown.items() if key in summary)
        log.info("\n%s at step %d (%s, best of the run)", figures, summary["best_step"], summary["protocol"])
        with optional("the comparison with n-grams"):
            baselines = yardsticks(corpus.scored("train"), corpus.scored("val"), corpus.tokenizer.vocab_size)
            for name, loss in baselines.items():
                log.info("  for comparison, %s: %.4f nats per token", name, loss)
    prompt = config.sample.prompts[0] if config.sample.prompts else ""
    with optional("the sample"):
        text = run.generate(prompt, max_new_tokens=config.sample.max_new_tokens, seed=config.seed)
        log.info("\n%s\n", printable(text.strip()))
    log.info("%d steps, %.0f s of training, %s tokens/s", summary["step"], summary["train_seconds"],
             f"{summary['tokens_per_second']:,.0f}")  # fmt: skip
    log.info("next:")
    log.info('  microgpt-generate %s --prompt "..."', run.path)
    log.info("  microgpt-evaluate %s", run.path)
    log.info("  tensorboard --logdir %s", run.path.parent)
