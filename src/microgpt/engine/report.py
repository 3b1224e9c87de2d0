"""Print the last lines of a run: the score beside baselines and what it means, a sample, and the next commands."""

import logging
import math
import os
import shlex
from pathlib import Path

from microgpt.data.corpus import Corpus
from microgpt.engine.config import RunConfig
from microgpt.engine.process.notebook import is_notebook
from microgpt.engine.process.optional import optional
from microgpt.engine.store.config_file import read_config
from microgpt.engine.store.launch_file import is_point
from microgpt.engine.store.metrics_file import read_curves
from microgpt.engine.store.run_folder import RunDir, run_title
from microgpt.engine.store.temporary import is_temporary
from microgpt.engine.trained import figures
from microgpt.engine.trained.evaluate import Score
from microgpt.engine.trained.metrics import Metric
from microgpt.engine.trained.run import Run
from microgpt.engine.trained.sample import generate_texts
from microgpt.engine.trained.verdict import UNIT, Verdict, bits_per_character, overfits, score_table
from microgpt.registry import portable_imports
from microgpt.text import number_of, printable

log = logging.getLogger("microgpt")


def closing_words(run: Run, corpus: Corpus, config: RunConfig, total: int) -> None:
    """Log the model's score beside simple baselines, its meaning, a sample, and the next commands.

    A sweep has its own next commands, so that its points have none.

    Args:
        total: optimizer steps of the whole run.
    """
    if config.data.sampling == "repeat":
        log.info("\n%s", overfits(read_curves(RunDir(run.path).metrics).get("train/loss", [])))
    elif "val/loss" in run.summary:
        with optional("the comparison with counting"):
            log_score(run, corpus, total)
    with optional("the sample"):
        log.info("\n%s\n", printable(closing_sample(run, config).strip()))
    steps, speed = number_of(run.summary["step"], "step"), f"{run.summary['tokens_per_second']:,.0f} tokens/s"
    log.info("%s, %.0f s of training, %s", steps, run.summary["train_seconds"], speed)
    if is_point(run.path):
        return
    is_python = is_notebook() or is_temporary(run.path)
    lines = next_calls(run.path) if is_python else next_commands(run.path)
    log.info("%s", "\n  ".join(["next:", *lines]))


def next_commands(path: Path) -> list[str]:
    """What to type next in a terminal; a run with parts of the user's own needs their files."""
    parts = import_options(path)
    return [
        f'microgpt-generate {path}{parts} --prompt "..."',
        f"microgpt-evaluate {path}{parts}",
        f"tensorboard --logdir {path.parent}",
    ]


def import_options(path: Path) -> str:
    """` --import FILE` for each file or module that the run at this path imported."""
    try:
        names = portable_imports(read_config(RunDir(path).config).get("imports") or ())
    except (OSError, ValueError):
        return ""
    here = [name.removeprefix(f"{Path.cwd()}{os.sep}") for name in names]
    return "".join(f" --import {shlex.quote(name)}" for name in here)


def next_calls(path: Path) -> list[str]:
    """What to type next in Python."""
    later = f"run = microgpt.load({str(path)!r})   # later, or in another notebook"
    return [
        'print(run.generate("..."))   # or: for piece in run.stream("..."): print(piece, end="")',
        "run.plot()   run.metrics   run.summary",
        'run.save("runs/mine")   # its folder is temporary' if is_temporary(path) else later,
    ]


def log_score(run: Run, corpus: Corpus, total: int) -> None:
    """Log the score and the baselines' in one unit, and a sentence on what the score means."""
    summary, chars = run.summary, corpus.chars_per_token("val")
    bits = bits_per_character(summary["val/loss"], chars)
    counting = {name: bits_per_character(loss, chars) for name, loss in summary.get("baselines", {}).items()}
    where = f"step {summary['best_step']}, the best of the run; protocol {summary['protocol']}"
    log.info("\nscore on the validation split, in %s (%s):", UNIT, where)
    log.info("%s", "\n".join(score_table(bits, counting)))
    guessing = bits_per_character(math.log(corpus.tokenizer.vocab_size), chars)
    log.info("%s", Verdict(bits, counting, guessing, read_curves(RunDir(run.path).metrics).get("val/loss", []), total))
    own = [metric for metric in Metric.members.values() if metric.headline and metric.unit != UNIT]
    for metric in own:
        if (name := f"val/{metric.name}") in summary:
            log.info("%s %s", name, metric.quantity(summary[name]))


def closing_sample(run: Run, config: RunConfig) -> str:
    """Continue the first prompt as `sample.*` says."""
    prompt = config.sample.prompts[0] if config.sample.prompts else ""
    return generate_texts(run.model, run.tokenizer, prompt, config.sample.params(config.seed))[0]


def draw_report(run: Run, score: Score | None) -> None:
    """Draw report.png in the run folder.

    Args:
        score: the last evaluation; None draws none.

    Raises:
        OSError: the folder cannot be written.
    """
    curves = read_curves(RunDir(run.path).metrics)
    figure = figures.report(curves, run.summary.get("baselines", {}), score, run_title(run.path))
    figure.savefig(run.path / "report.png", dpi=110)
