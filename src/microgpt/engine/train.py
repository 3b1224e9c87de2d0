"""Train a model: compose, prepare, fit, report. `microgpt-train` calls `train`."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from microgpt import streams
from microgpt.data import unknown
from microgpt.data.corpus import Corpus
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.config import RunConfig
from microgpt.engine.exchange.export import export
from microgpt.engine.fit import ranks
from microgpt.engine.fit.finetune import trained_params
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.fit.remake import remake_model
from microgpt.engine.fit.training import Training
from microgpt.engine.machine import device as machine
from microgpt.engine.plan.plan import make_plan
from microgpt.engine.prepare import Found, find, set_up
from microgpt.engine.process import cluster, signals
from microgpt.engine.process.logs import logging_to, quiet_libraries
from microgpt.engine.process.notebook import is_notebook
from microgpt.engine.process.optional import optional
from microgpt.engine.process.stopping import ResumeHint, located
from microgpt.engine.report import closing_words, draw_report
from microgpt.engine.resume import find_start
from microgpt.engine.store.corpus_file import CorpusRecord, write_record
from microgpt.engine.store.run_folder import RunDir, claimed_run, joined_run
from microgpt.engine.trained.evaluate import score_text, yardsticks
from microgpt.engine.trained.run import Run, load
from microgpt.errors import MicrogptError

log = logging.getLogger("microgpt")


def train(
    overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
    began: float | None = None,
    trust: bool = False,
) -> Run | None:
    """Train like `microgpt-train`, from the same overrides; `microgpt.train` takes more forms of them.

    Args:
        overrides: such as `["data.path=book.txt", "model.pos=alibi", "trainer.max_steps=200"]`.
        config_dir: a folder of your own YAML.
        began: `time.perf_counter()` at the command's start, for `plan=true`; default: now.
        trust: whether the YAML in `config_dir` may name Python files to import, as the overrides may.

    Returns:
        The run: its best model, tokenizer and summary. None for `plan=true`.

    Raises:
        MicrogptError: the run fails; each kind of fault is a subclass, whose `exit_code` is the command's.
        signals.Stopped: a signal arrived; the run is saved and can be resumed.
    """
    arguments = [*(["--config-dir", str(config_dir)] if config_dir else []), *["--trust"] * trust, *overrides]
    with signals.handled(ResumeHint(arguments)):
        composed = compose_run(list(overrides), Path(config_dir).expanduser() if config_dir else None, trust)
        signals.at_stop(ResumeHint(arguments, None if composed.must_be_new else composed.run_dir))
        if composed.notice and cluster.this_rank().is_first:
            streams.warn(f"note: {composed.notice}")
        return run(composed.config, composed.run_dir, arguments, began, composed.must_be_new)


def run(
    config: RunConfig,
    path: Path,
    arguments: Sequence[str] = (),
    began: float | None = None,
    must_be_new: bool = False,
    finder: Callable[[RunConfig], Found] | None = None,
) -> Run | None:
    """Train the run that `config` describes, in the folder `path`.

    Args:
        arguments: the command line, to print how to resume after a signal.
        began: as for `train`.
        must_be_new: if the folder exists, train in another, with a number behind its name.
        finder: finds the text and the starting model; default: `find`.
    """
    products = machine.float32_matmul_precision(config.trainer.float32_matmul_precision)
    hint = ResumeHint(arguments, None if must_be_new else path)
    with signals.handled(hint), products, machine.threads(config.trainer.threads):
        found = finder(config) if finder is not None else find(config, arguments)
        config, world = found.config, found.world
        if config.plan:
            if world.rank.is_first:
                print(make_plan(config, found.corpus, found.steps, world.size, found.accelerator, began))
            return None
        is_free = world.rank.is_first and world.rank.starter != "microgpt"
        with claimed_run(path, must_be_new) if is_free else joined_run(path) as run_dir:
            if must_be_new:
                located(run_dir.path, "hydra.run.dir")
            if world.is_to_be_started:
                ranks.train_in_ranks(found.asked_for, run_dir, arguments, world.devices)
                return load(run_dir.path)
            return train_here(found, run_dir)


def train_here(found: Found, run_dir: RunDir) -> Run | None:
    """Train in this process, alone or as one rank of several."""
    config, is_first = found.config, found.world.rank.is_first
    together = ranks.together(found.world, run_dir.path, config.trainer.rank_timeout)
    is_silent = config.trainer.progress == "none" and is_notebook()
    # Handle signals here as well, so that train.log also gets the farewell.
    with logging_to(run_dir.log, is_silent), quiet_libraries(), signals.handled(), together:
        start = find_start(config, run_dir, found.corpus, found.steps)
        if is_first:
            remake_model(config, found.corpus.tokenizer, found.pretrained, run_dir, start)
        if start.finished:
            log.info("%s is finished: %s", run_dir.path, start.finished)
            return load(run_dir.path) if is_first else None
        with machine.threads(start.recorded("threads", config.trainer.threads)):
            setup = set_up(found, run_dir, start)
            training = Training(setup)
            if is_first and (start.checkpoint is None or not run_dir.config.exists()):
                run_dir.write_config(config.to_dict())
            if is_first:
                write_record(run_dir.path, CorpusRecord(found.corpus.sha256, found.corpus.size, found.corpus.path))
            with training.attempt():
                module = training.fit()
                return report(training, module) if is_first else None


def report(training: Training, module: GPTModule) -> Run:
    """Write summary.json and report.png, and print the closing words."""
    setup, config, evaluation = training.setup, training.config, training.evaluation
    corpus, step = setup.corpus, training.trainer.global_step
    tokens = step * config.data.batch_size * config.model.block_size
    seconds = training.clock.seconds
    summary = {
        **evaluation.best_metrics,
        "step": step,
        "best_step": evaluation.best_step or step,
        "tokens": tokens,
        "train_seconds": round(seconds, 3),
        "compile_seconds": round(training.clock.compile_seconds, 3),
        "tokens_per_second": round(tokens / max(1e-9, seconds), 1),
        "params": setup.model.num_params(),
        "trained_params": trained_params(setup.model),
        "vocab_size": corpus.tokenizer.vocab_size,
        "train_tokens": len(corpus.train),
        **unknown.recorded(corpus),
        "protocol": config.eval.protocol,
        "skipped_steps": module.skipped_steps,
        "stopped_early": config.trainer.early_stopping_patience if step < setup.steps else None,
        **training.fingerprint,
    }
    run: Run | None = None
    with optional("opening the model"):
        run = load(setup.run_dir.path)
    if run is not None and len(corpus.test) > 1:
        with optional("the score of the test split"):
            summary |= score_test(run, corpus, config)
    if "val/loss" in summary:
        with optional("the scores of counting"):
            summary["baselines"] = yardsticks(corpus.scored("train"), corpus.scored("val"), corpus.tokenizer.vocab_size)
    with optional("closing the loggers"):
        training.runlog.close()
    setup.run_dir.write_summary(summary)
    run = run or Run(setup.run_dir.path, setup.model.eval(), corpus.tokenizer)
    run.summary = summary
    closing_words(run, corpus, config, setup.steps)
    if config.eval.figures != "never":
        with optional("report.png"):
            draw_report(run, evaluation.last_score)
    if config.html:
        with optional("the page"):
            write_page(run)
    return run


def write_page(run: Run) -> None:
    """Write page.html into the run's folder. The run is finished and stays so if its model fits no page."""
    page = run.path / "page.html"
    page.unlink(missing_ok=True)
    try:
        export(run, page, "html")
        log.info("  open %s in a browser: the model runs there", page)
    except MicrogptError as error:
        log.warning("warning: no page.html: %s", error)


def score_test(run: Run, corpus: Corpus, config: RunConfig) -> dict[str, float]:
    """Score the best weights on the test split, which nothing else uses."""
    settings = {"protocol": config.eval.protocol, "batch_size": config.eval.batch_size}
    return score_text(run.model, corpus.splits["test"], **settings).metrics("test")
