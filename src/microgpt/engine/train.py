"""Train a model: compose, prepare, fit, report. `microgpt-train` calls `train`."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from microgpt.data.corpus import Corpus, prepare
from microgpt.data.rng import key
from microgpt.data.windows import Windows
from microgpt.engine.addons import require_packages
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.config import RunConfig, flatten
from microgpt.engine.exchange.export import export
from microgpt.engine.fit import ranks
from microgpt.engine.fit.finetune import Pretrained, adopt, starting_model, trained_params
from microgpt.engine.fit.lr_search import with_lr
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.fit.setup import Setup
from microgpt.engine.fit.training import Training
from microgpt.engine.fit.world import World, find_world
from microgpt.engine.machine import device as machine
from microgpt.engine.plan.length import total_steps, will_compile
from microgpt.engine.plan.plan import make_plan
from microgpt.engine.process import signals
from microgpt.engine.process.logs import logging_to, quiet_lightning
from microgpt.engine.process.stopping import ResumeHint
from microgpt.engine.report import closing_words
from microgpt.engine.resume import Start, find_start
from microgpt.engine.store.run_folder import RunDir
from microgpt.engine.trained.evaluate import evaluate
from microgpt.engine.trained.run import Run, load
from microgpt.errors import MicrogptError

log = logging.getLogger("microgpt")


def train(
    overrides: Sequence[str] = (), config_dir: str | Path | None = None, began: float | None = None
) -> Run | None:
    """Train like `microgpt-train`, from the same overrides.

    Args:
        overrides: such as `["data.path=book.txt", "model.pos=alibi", "trainer.max_steps=200"]`.
        config_dir: a folder of your own YAML.
        began: `time.perf_counter()` at the command's start, for `plan=true`; default: now.

    Returns:
        The run: its best model, tokenizer and summary. None for `plan=true`.

    Raises:
        MicrogptError: the run fails; each kind of fault is a subclass, whose `exit_code` is the command's.
        signals.Stopped: a signal arrived; the run is saved and can be resumed.
    """
    arguments = [*(["--config-dir", str(config_dir)] if config_dir else []), *overrides]
    with signals.handled(ResumeHint(arguments)):
        composed = compose_run(list(overrides), Path(config_dir) if config_dir else None)
        signals.at_stop(ResumeHint(arguments, composed.run_dir))
        return run(composed.config, composed.run_dir, arguments, began)


def run(config: RunConfig, path: Path, arguments: Sequence[str] = (), began: float | None = None) -> Run | None:
    """Train the run that `config` describes, in the folder `path`.

    Args:
        arguments: the command line, to print how to resume after a signal.
        began: as for `train`.
    """
    products = machine.float32_matmul_precision(config.trainer.float32_matmul_precision)
    with signals.handled(ResumeHint(arguments, path)), products, machine.threads(config.trainer.threads):
        found, run_dir = find(config), RunDir(path)
        config, world = found.config, found.world
        if config.plan:
            if world.rank.is_first:
                print(make_plan(config, found.corpus, found.steps, world.size, found.accelerator, began))
            return None
        if world.is_to_be_started:
            ranks.train_in_ranks(found.asked_for, run_dir, arguments, world.devices)
            return load(path)
        claim = run_dir.claimed() if world.rank.is_first else nullcontext()
        # Handle signals here as well, so that train.log also gets the farewell.
        with claim, logging_to(run_dir.log), quiet_lightning(), signals.handled():
            start = find_start(config, run_dir, found.corpus, found.steps)
            if start.finished:
                log.info("%s is finished: %s", path, start.finished)
                return load(path) if world.rank.is_first else None
            with machine.threads(start.recorded("threads", config.trainer.threads)):
                setup = set_up(found, run_dir, start)
                training = Training(setup)
                if world.rank.is_first and (start.checkpoint is None or not run_dir.config.exists()):
                    run_dir.write_config(config.to_dict())
                with training.attempt():
                    module = training.fit()
                    return report(training, module) if world.rank.is_first else None


@dataclass(frozen=True)
class Found:
    """The resources of a run on this machine, found before writing anything.

    Attributes:
        asked_for: the configuration as composed; in `config`, the architecture of `model.pretrained` wins.
        accelerator: the torch device type to compute on.
        steps: optimizer steps of the whole run.
    """

    asked_for: RunConfig
    config: RunConfig
    accelerator: str
    world: World
    corpus: Corpus
    pretrained: Pretrained | None
    steps: int


def find(config: RunConfig) -> Found:
    """Find a run's devices, text and pretrained model, and check that they fit together.

    Raises:
        MachineError: the machine lacks a device or a precision.
        DataError: the text cannot be used.
        CheckpointError: the pretrained model cannot be used.
        ConfigError: the devices cannot share the batch.
    """
    accelerator = machine.resolve_accelerator(config.trainer.accelerator)
    world = find_world(config, accelerator)
    machine.resolve_precision(config.trainer.precision, accelerator)
    for node, parts in (("logger", config.logger), ("callbacks", config.callbacks)):
        for name, part in parts.items():
            require_packages(f"{node}.{name}", part)
    asked_for = config
    config, pretrained = adopt(config)
    corpus = prepare(config.data, pretrained.tokenizer if pretrained else None)
    for prompt in config.sample.prompts:  # fail now, not at the first sample
        corpus.tokenizer.encode_counted(prompt, where=f"sample.prompts, {prompt!r}")
    windows = Windows(corpus.train, config.model.block_size, config.data.batch_size, config.seed, config.data.sampling)
    steps = total_steps(config, len(windows))
    return Found(asked_for, config, accelerator, world, corpus, pretrained, steps)


def set_up(found: Found, run_dir: RunDir, start: Start) -> Setup:
    """Make the starting model; on resume, take a found learning rate and `auto` knobs from the checkpoint."""
    config, corpus, steps = found.config, found.corpus, found.steps
    if config.trainer.find_lr and start.manifest is not None:
        config = with_lr(config, start.manifest.get("lr"))
    knobs, accelerator = config.trainer, found.accelerator
    precision = machine.resolve_precision(start.recorded("precision", knobs.precision), accelerator)
    torch.manual_seed(key(config.seed, "init", 0))
    model = starting_model(config, corpus.tokenizer.vocab_size, found.pretrained)
    compile_knob = start.recorded("compiled", knobs.compile)
    compiled = will_compile(compile_knob, config, steps, model.flops_per_token(), accelerator, precision)
    return Setup(
        config, accelerator, precision, found.world, steps, run_dir.path, corpus, model, run_dir, start, compiled
    )


def report(training: Training, module: GPTModule) -> Run:
    """Write summary.json and TensorBoard's hparams, and print the closing words."""
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
        "tokens_per_second": round(tokens / max(1e-9, seconds), 1),
        "params": setup.model.num_params(),
        "trained_params": trained_params(setup.model),
        "vocab_size": corpus.tokenizer.vocab_size,
        "train_tokens": len(corpus.train),
        "protocol": config.eval.protocol,
        "skipped_steps": module.skipped_steps,
        "stopped_early": config.trainer.early_stopping_patience if step < setup.steps else None,
        **training.fingerprint,
    }
    run = load(setup.run_dir.path)
    if len(corpus.test) > 1:
        summary |= score_test(run, corpus, config)
    training.runlog.add_hparams(flatten(config.to_dict()), evaluation.best_metrics)
    training.runlog.close()
    setup.run_dir.write_summary(summary)
    run.summary = summary
    closing_words(run, corpus, config)
    if config.html:
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
    score = evaluate(
        run.model,
        corpus.test,
        protocol=config.eval.protocol,
        batch_size=config.eval.batch_size,
        chars_per_token=corpus.chars_per_token("test"),
        bytes_per_token=corpus.bytes_per_token("test"),
    )
    return score.metrics("test")
