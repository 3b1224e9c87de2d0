"""Train a model: compose, prepare, fit, report. `train` is what `microgpt-train` does."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from microgpt.data.corpus import Corpus, prepare
from microgpt.data.rng import key
from microgpt.data.windows import Windows
from microgpt.engine.addons import LoggedRun, require_packages
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.config import RunConfig, flatten
from microgpt.engine.fit.addons import build_callbacks, build_loggers
from microgpt.engine.fit.callbacks.evaluate import Evaluate
from microgpt.engine.fit.callbacks.metrics import Clock, Metrics
from microgpt.engine.fit.callbacks.sample import Sample
from microgpt.engine.fit.callbacks.save import FolderCheckpointIO, Save
from microgpt.engine.fit.finetune import Pretrained, adopt, starting_model, trained_params
from microgpt.engine.fit.loader import TextDataModule
from microgpt.engine.fit.lr_search import find_lr, with_lr
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.fit.runlog import RunLog
from microgpt.engine.fit.trainer import build_trainer, leave_group
from microgpt.engine.fit.world import World, find_world
from microgpt.engine.machine import device as machine
from microgpt.engine.machine import memory
from microgpt.engine.plan.length import total_steps, will_compile
from microgpt.engine.plan.plan import make_plan
from microgpt.engine.process import launch as ranks
from microgpt.engine.process import signals
from microgpt.engine.process.logs import logging_to, quiet_lightning
from microgpt.engine.process.progress import Progress
from microgpt.engine.process.stopping import GoOn
from microgpt.engine.report import closing_words, parameter_table
from microgpt.engine.resume import Start, find_start, how_exactly
from microgpt.engine.store.run_folder import RunDir, write_text
from microgpt.engine.trained import figures
from microgpt.engine.trained.evaluate import Score, evaluate
from microgpt.engine.trained.run import Run, load
from microgpt.errors import MicrogptError
from microgpt.model import GPT, save_model
from microgpt.model.lora import merge

log = logging.getLogger("microgpt")


def train(
    overrides: Sequence[str] = (), config_dir: str | Path | None = None, began: float | None = None
) -> Run | None:
    """Train as `microgpt-train` does, from the same overrides.

    Args:
        overrides: such as `["data.path=book.txt", "model.pos=alibi", "trainer.max_steps=200"]`.
        config_dir: a folder of your own YAML.
        began: `time.perf_counter()` when the command began, for `plan=true`; default: now.

    Returns:
        The run: its best model, tokenizer and summary. None for `plan=true`.

    Raises:
        MicrogptError: a subclass for each kind of fault; its `exit_code` is the command's.
        signals.Stopped: a signal asked for the end; the run is saved and can be resumed.
    """
    arguments = [*(["--config-dir", str(config_dir)] if config_dir else []), *overrides]
    with signals.handled(GoOn(arguments)):
        composed = compose_run(list(overrides), Path(config_dir) if config_dir else None)
        signals.at_stop(GoOn(arguments, composed.run_dir))
        return run(composed.config, composed.tree, composed.run_dir, arguments, began)


def run(
    config: RunConfig, tree: DictConfig, path: Path, arguments: Sequence[str] = (), began: float | None = None
) -> Run | None:
    """Train the run that `config` describes in the folder `path`.

    Args:
        tree: what becomes config.yaml.
        arguments: the command line, to say how to go on after a signal.
        began: as for `train`.
    """
    products = machine.float32_matmul_precision(config.trainer.float32_matmul_precision)
    with signals.handled(GoOn(arguments, path)), products, machine.threads(config.trainer.threads):
        run_dir = RunDir(path)
        accelerator = machine.resolve_accelerator(config.trainer.accelerator)
        world = find_world(config, accelerator)
        machine.resolve_precision(config.trainer.precision, accelerator)
        for node, parts in (("logger", config.logger), ("callbacks", config.callbacks)):
            for name, part in parts.items():
                require_packages(f"{node}.{name}", part)
        asked_for = config, tree
        config, tree, pretrained = adopt(config, tree)
        corpus = prepare(config.data, pretrained.tokenizer if pretrained else None)
        for prompt in config.sample.prompts:  # said now, not by the first sample
            corpus.tokenizer.encode_counted(prompt, where=f"sample.prompts, {prompt!r}")
        windows = Windows(
            corpus.train, config.model.block_size, config.data.batch_size, config.seed, config.data.sampling
        )
        steps = total_steps(config, len(windows))
        if config.plan:
            if world.place.is_first:
                print(make_plan(config, corpus, steps, world.size, accelerator, began))
            return None
        if world.is_to_be_started:
            ranks.train_in_ranks(*asked_for, run_dir, arguments, world.devices)
            return load(path)
        claim = run_dir.claimed() if world.place.is_first else nullcontext()
        # Signals are handled once more inside, so that train.log has the farewell too.
        with claim, logging_to(run_dir.log), quiet_lightning(), signals.handled():
            start = find_start(config, run_dir, corpus, steps)
            if start.finished:
                log.info("%s is finished: %s", path, start.finished)
                return load(path) if world.place.is_first else None
            with machine.threads(start.recorded("threads", config.trainer.threads)):
                training = Training(config, world, corpus, steps, run_dir, start, pretrained)
                if world.place.is_first and (start.checkpoint is None or not run_dir.config.exists()):
                    write_text(run_dir.config, OmegaConf.to_yaml(tree))
                return training.fit()


class Training:
    """One process's part of a run, assembled: `fit` trains it to its end."""

    def __init__(
        self, config: RunConfig, world: World, corpus: Corpus, steps: int, run_dir: RunDir, start: Start,
        pretrained: Pretrained | None,
    ) -> None:  # fmt: skip
        if config.trainer.find_lr and start.manifest is not None:
            config = with_lr(config, start.manifest.get("lr"))
        self.config, self.corpus, self.steps, self.run_dir, self.start = config, corpus, steps, run_dir, start
        accelerator = machine.resolve_accelerator(config.trainer.accelerator)
        self.precision = machine.resolve_precision(start.recorded("precision", config.trainer.precision), accelerator)
        torch.manual_seed(key(config.seed, "init", 0))
        self.model = starting_model(config, corpus.tokenizer.vocab_size, pretrained)
        self.flops = self.model.flops_per_token()
        compile_knob = start.recorded("compiled", config.trainer.compile)
        self.compiled = will_compile(compile_knob, config, steps, self.flops, accelerator, self.precision)
        self.clock = Clock()
        bar = config.trainer.progress if world.place.is_first else "none"
        self.progress = Progress(bar, steps, config.data.batch_size * config.model.block_size)
        logged = LoggedRun(run_dir.path, start.step)
        self.runlog = RunLog(
            run_dir.path, start.step, build_loggers(config.logger, logged) if world.place.is_first else ()
        )
        self.checkpoint_io = FolderCheckpointIO(self.model, {})
        metrics = Metrics(self.clock, self.progress, self.flops, machine.autocast_dtype(self.precision))
        self.evaluation = Evaluate(corpus, self.clock, self.progress, self.save_best, self.draw)
        self.save = Save(run_dir.checkpoints, self.clock, self.evaluation)
        sample = Sample(corpus.tokenizer, self.clock, self.progress)
        self.checkpoint_io.callbacks = [metrics, self.evaluation, sample, self.save]
        self.trainer = build_trainer(
            config,
            world,
            steps,
            accelerator,
            self.precision,
            run_dir.path,
            self.runlog,
            self.checkpoint_io,
            [*build_callbacks(config.callbacks, self.checkpoint_io.callbacks), *self.checkpoint_io.callbacks],
        )
        self.fingerprint = machine.fingerprint(
            accelerator, precision=self.precision, world_size=self.trainer.world_size,
            micro_batches=self.trainer.accumulate_grad_batches, total_steps=steps, compiled=self.compiled,
            compile_mode=config.trainer.compile_mode if self.compiled else None,
            deterministic=config.trainer.deterministic, corpus=corpus.sha256, vocab_size=corpus.tokenizer.vocab_size,
        )  # fmt: skip
        self.checkpoint_io.info = {"fingerprint": self.fingerprint, "config": config.to_dict(), "lr": config.optim.lr}
        # Weights and, at most, two moments of the optimizer and an average of them.
        n_bytes = sum(p.numel() * p.element_size() for p in self.model.parameters())
        if world.place.is_first:
            run_dir.require_space(n_bytes * (4 if config.trainer.ema_decay else 3), config.checkpoint.keep)

    @memory.kept()
    def fit(self) -> Run | None:
        """Train from where the run stands to its end, then write the summary and say what came out."""
        config, trainer = self.config, self.trainer
        device = trainer.strategy.root_device
        windows = self.windows(device, "data")
        self.announce()
        if config.trainer.find_lr and self.start.checkpoint is None:
            self.search_lr(device)
        module = GPTModule(self.model, self.config, self.steps, self.compiled)
        self.runlog.log_hyperparams(flatten(self.config.to_dict()))
        if trainer.is_global_zero and not self.start.step:
            self.runlog.add_text("parameters", parameter_table(self.model), 0)
        self.progress.start(self.start.step)
        try:
            checkpoint = str(self.start.checkpoint) if self.start.checkpoint else None
            data = TextDataModule(windows, self.steps, trainer.accumulate_grad_batches)
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
            signals.defer(False)
            self.progress.stop()
            self.clock.stop()
            if (number := self.save.stopped_by or signals.received()) is not None:
                raise signals.Stopped(number)
            leave_group()
            return self.finish(module) if trainer.is_global_zero else None
        except BaseException as error:
            number = self.save.stopped_by or signals.received()
            self.runlog.abandon("failed" if number is None else "aborted")
            if number is None or isinstance(error, MicrogptError):
                raise
            raise signals.Stopped(number, by_all=True) from None  # whatever else went wrong, it was asked to stop
        finally:
            self.progress.stop()

    def windows(self, device: torch.device, stream: str) -> Windows:
        """The run's batches, or those of another stream for anything that must not touch them."""
        config = self.config
        return Windows(
            self.corpus.train,
            config.model.block_size,
            config.data.batch_size,
            config.seed,
            config.data.sampling,
            device,
            stream,
        )

    def announce(self) -> None:
        """Say what is about to be trained, on what, and how."""
        config, corpus, start, trainer = self.config, self.corpus, self.start, self.trainer
        log.info(
            "%s: %s tokens, %d different; %s to train on",
            corpus.name, f"{sum(map(len, corpus.splits.values())):,}", corpus.tokenizer.vocab_size,
            f"{len(corpus.train):,}",
        )  # fmt: skip
        log.info(
            "model: %s parameters, %d layers x %d heads x %d wide, context %d, %s positions",
            f"{self.model.num_params():,}", config.model.n_layer, config.model.n_head, config.model.n_embd,
            config.model.block_size, config.model.pos.name,
        )  # fmt: skip
        log.info(
            "%d steps of %d x %d tokens on %s in %s%s; run folder %s",
            self.steps, config.data.batch_size, config.model.block_size, self.fingerprint["device"], self.precision,
            ", compiled" if self.compiled else "", self.run_dir.path,
        )  # fmt: skip
        if slow := machine.emulation_warning(trainer.strategy.root_device.type, machine.autocast_dtype(self.precision)):
            log.warning("warning: %s; trainer.precision=32-true trains as much faster", slow)
        if start.manifest is not None:
            exactly = how_exactly(start.manifest["fingerprint"], self.fingerprint, config.trainer.deterministic)
            log.info("from step %d it %s", start.step, exactly)

    def search_lr(self, device: torch.device) -> None:
        """Find a learning rate, draw the search, and train with what was found."""
        search = find_lr(self.model, self.windows(device, "find_lr"), self.config)
        figure = figures.lr_search(search.lrs, search.losses, search.chosen)
        figure.savefig(self.run_dir.path / "lr_search.png", dpi=120)
        self.runlog.add_figure("lr_search", figure, 0)
        self.config = with_lr(self.config, search.chosen)
        self.checkpoint_io.info["lr"] = search.chosen
        log.info("learning rate found: %.3g (see lr_search.png)", search.chosen)

    def save_best(self, model: GPT) -> None:
        """Write the model folder."""
        save_model(self.run_dir.model, merge(model), self.corpus.tokenizer.to_dict())

    def draw(self, model: GPT, score: Score, step: int) -> None:
        """Figures of an evaluation, for the loggers that take them."""
        board = self.runlog
        board.add_figure("val/loss_by_position", figures.loss_by_position(score.loss_by_position), step)
        ids = torch.as_tensor(self.corpus.val[: figures.SHOWN_TOKENS]).long()
        labels = [self.corpus.tokenizer.decode([i]) for i in ids.tolist()]
        board.add_figure("attention", figures.attention_maps(model, ids, labels), step)

    def finish(self, module: GPTModule) -> Run:
        """Write summary.json and the loggers' last entries, and print the closing words."""
        config, step = self.config, self.trainer.global_step
        tokens = step * config.data.batch_size * config.model.block_size
        summary = {
            **self.evaluation.best_metrics,
            "step": step,
            "best_step": self.evaluation.best_step or step,
            "tokens": tokens,
            "train_seconds": round(self.clock.seconds, 3),
            "tokens_per_second": round(tokens / max(1e-9, self.clock.seconds), 1),
            "params": self.model.num_params(),
            "trained_params": trained_params(self.model),
            "vocab_size": self.corpus.tokenizer.vocab_size,
            "train_tokens": len(self.corpus.train),
            "protocol": config.eval.protocol,
            "skipped_steps": module.skipped_steps,
            "stopped_early": config.trainer.early_stopping_patience if step < self.steps else None,
            **self.fingerprint,
        }
        run = load(self.run_dir.path)
        if len(self.corpus.test) > 1:
            summary |= self.score_test(run)
        self.runlog.add_hparams(flatten(config.to_dict()), self.evaluation.best_metrics)
        self.runlog.close()
        self.run_dir.write_summary(summary)
        run.summary = summary
        closing_words(run, self.corpus, config)
        return run

    def score_test(self, run: Run) -> dict[str, float]:
        """The best weights on the test split, which nothing else has looked at."""
        score = evaluate(
            run.model,
            self.corpus.test,
            protocol=self.config.eval.protocol,
            batch_size=self.config.eval.batch_size,
            chars_per_token=self.corpus.chars_per_token("test"),
            bytes_per_token=self.corpus.bytes_per_token("test"),
        )
        return score.metrics("test")
