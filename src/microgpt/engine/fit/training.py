"""One process's part of a run: assemble the Trainer with its callbacks and loggers, and train."""

import contextlib
import logging
from collections.abc import Iterator

import torch

from microgpt.data import unknown
from microgpt.engine.addons import LoggedRun
from microgpt.engine.fit.addons import build_callbacks, build_loggers
from microgpt.engine.fit.callbacks.evaluate import Evaluate
from microgpt.engine.fit.callbacks.inspect import Inspect, inspected_columns
from microgpt.engine.fit.callbacks.metrics import Clock, Metrics
from microgpt.engine.fit.callbacks.sample import Sample
from microgpt.engine.fit.callbacks.save import FolderCheckpointIO, Save
from microgpt.engine.fit.hyperparameters import hyperparameters
from microgpt.engine.fit.idle_knobs import idle_knobs, is_evaluated
from microgpt.engine.fit.loader import TextDataModule
from microgpt.engine.fit.lr_search import find_lr, with_lr
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.fit.runlog import RunLog
from microgpt.engine.fit.setup import Setup
from microgpt.engine.fit.trainer import build_trainer, leave_group
from microgpt.engine.machine import device as machine
from microgpt.engine.machine import memory
from microgpt.engine.process import signals
from microgpt.engine.process.optional import optional
from microgpt.engine.process.progress import Progress
from microgpt.engine.resume import how_exactly, rate_change
from microgpt.engine.trained import figures
from microgpt.engine.trained.evaluate import Score
from microgpt.errors import MicrogptError
from microgpt.model import GPT, save_model
from microgpt.model.lora import merge
from microgpt.text import number_of

log = logging.getLogger("microgpt")


class Training:
    """A run's assembled training; `fit` runs it."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.config = setup, setup.config
        config, world, corpus, start = setup.config, setup.world, setup.corpus, setup.start
        is_first = world.rank.is_first
        self.clock = Clock()
        self.progress = Progress(
            config.trainer.progress if is_first else "none",
            setup.steps,
            config.data.batch_size * config.model.block_size,
        )
        logged = LoggedRun(setup.run_dir.path, start.step)
        loggers = build_loggers(config.logger, logged) if is_first else ()
        self.runlog = RunLog(logged.folder, start.step, loggers, inspected_columns(config.inspect))
        self.checkpoint_io = FolderCheckpointIO(setup.model, {})
        self.evaluation = Evaluate(corpus, self.clock, self.progress, self.save_best, self.draw)
        self.save = Save(setup.run_dir.checkpoints, self.clock, self.evaluation)
        dtype = machine.autocast_dtype(setup.precision)
        own = [
            Metrics(self.clock, self.progress, setup.model.flops_per_token(), dtype, setup.compiled),
            self.evaluation,
            Sample(corpus.tokenizer, self.clock, self.progress),
            Inspect(self.clock, self.progress),
            self.save,
        ]
        self.checkpoint_io.callbacks = own
        self.trainer = build_trainer(
            setup, self.runlog, self.checkpoint_io, [*build_callbacks(config.callbacks, own), *own]
        )
        self.fingerprint = machine.fingerprint(
            setup.accelerator, precision=setup.precision, world_size=self.trainer.world_size,
            micro_batches=self.trainer.accumulate_grad_batches, total_steps=setup.steps, compiled=setup.compiled,
            compile_mode=config.trainer.compile_mode if setup.compiled else None,
            deterministic=config.trainer.deterministic, corpus=corpus.sha256, vocab_size=corpus.tokenizer.vocab_size,
        )  # fmt: skip
        self.checkpoint_io.info = {"fingerprint": self.fingerprint, "config": config.to_dict(), "lr": config.optim.lr}
        if is_first:  # at most the weights, two optimizer moments and a weight average
            n_bytes = sum(p.numel() * p.element_size() for p in setup.model.parameters())
            setup.run_dir.require_space(n_bytes * (4 if config.trainer.ema_decay else 3), config.checkpoint.keep)

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Wrap training and its report: after a signal, report the signal as the cause, whatever else went wrong."""
        try:
            with memory.keep_freed_memory():
                yield
        except BaseException as error:
            number = self.save.stopped_by or signals.received()
            self.runlog.abandon("failed" if number is None else "aborted")
            if number is None or isinstance(error, MicrogptError):
                raise
            raise signals.Stopped(number, by_all=True) from None
        finally:
            self.progress.stop()

    def fit(self) -> GPTModule:
        """Train from the run's current step to its end.

        Raises:
            MicrogptError: the loss is not finite, the disk is full.
            signals.Stopped: a signal arrived; the run is saved.
        """
        setup, trainer, start = self.setup, self.trainer, self.setup.start
        device = trainer.strategy.root_device
        windows = setup.windows(device, "data")
        self.announce()
        if self.config.trainer.find_lr and start.checkpoint is None:
            self.search_lr(device)
        module = GPTModule(setup.model, self.config, setup.steps, setup.compiled)
        self.runlog.log_hyperparams(hyperparameters(self.config, setup.corpus.name))
        if trainer.is_global_zero and not start.step:
            self.runlog.add_text("weights", parameter_table(setup.model), 0)
        self.progress.start(start.step)
        checkpoint = str(start.checkpoint) if start.checkpoint else None
        data = TextDataModule(windows, setup.steps, trainer.accumulate_grad_batches)
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        signals.defer(False)
        self.progress.stop()
        self.clock.stop()
        if (number := self.save.stopped_by or signals.received()) is not None:
            raise signals.Stopped(number)
        leave_group()
        return module

    def announce(self) -> None:
        """Log the model, the text, the device and the training settings."""
        config, setup, start = self.config, self.setup, self.setup.start
        corpus, model = setup.corpus, setup.model
        log.info(
            "%s: %s tokens, %d different; %s to train on",
            corpus.name, f"{sum(map(len, corpus.splits.values())):,}", corpus.tokenizer.vocab_size,
            f"{len(corpus.train):,}",
        )  # fmt: skip
        log.info(
            "model: %s parameters, %s x %s x %d wide, context %d, %s positions",
            f"{model.num_params():,}", number_of(config.model.n_layer, "layer"), number_of(config.model.n_head, "head"),
            config.model.n_embd, config.model.block_size, config.model.pos.name,
        )  # fmt: skip
        log.info(
            "%s of %d x %d tokens on %s in %s%s; run folder %s",
            number_of(setup.steps, "step"), config.data.batch_size, config.model.block_size, self.fingerprint["device"],
            setup.precision, ", compiled" if setup.compiled else "", setup.run_dir.path,
        )  # fmt: skip
        if not is_evaluated(setup):
            log.info("no validation split: nothing is scored on the way, and the last step's weights are kept")
        if strange := unknown.told(corpus):
            log.warning("warning: %s", strange)
        for idle in idle_knobs(setup, draws=self.runlog.takes_figures):
            log.warning("warning: %s", idle)
        if slow := machine.emulation_warning(setup.accelerator, machine.autocast_dtype(setup.precision)):
            log.warning("warning: %s; trainer.precision=32-true trains as much faster", slow)
        if start.manifest is not None:
            exactly = how_exactly(start.manifest["fingerprint"], self.fingerprint, config.trainer.deterministic)
            log.info("from step %d it %s", start.step, exactly)
        if change := rate_change(config, start, setup.steps):
            log.warning("warning: %s", change)

    def search_lr(self, device: torch.device) -> None:
        """Search for a learning rate, plot the search, and train with the rate found."""
        setup = self.setup
        search = find_lr(setup.model, setup.windows(device, "find_lr"), self.config)
        with optional("drawing the search", is_last=False):
            figure = figures.lr_search(search.lrs, search.losses, search.chosen)
            figure.savefig(setup.run_dir.path / "lr_search.png", dpi=120)
            self.runlog.add_figure("lr_search", figure, 0)
        self.config = with_lr(self.config, search.chosen)
        self.checkpoint_io.info["lr"] = search.chosen
        log.info("learning rate found: %.3g (see lr_search.png)", search.chosen)

    def save_best(self, model: GPT) -> None:
        """Write the model folder."""
        save_model(self.setup.run_dir.model, merge(model), self.setup.corpus.tokenizer.to_dict())

    def draw(self, model: GPT, score: Score, step: int) -> None:
        """Draw an evaluation's figures for the loggers."""
        board = self.runlog
        board.add_figure("val/loss_by_position", figures.loss_by_position(score), step)
        ids = torch.as_tensor(self.setup.corpus.val[: figures.SHOWN_TOKENS]).long()
        labels = [self.setup.corpus.tokenizer.decode([i]) for i in ids.tolist()]
        board.add_figure("attention", figures.attention_maps(model, ids, labels), step)


def parameter_table(model: GPT) -> str:
    """A Markdown table of the parameters: name, shape, number of weights."""
    rows = [f"| {name} | {' x '.join(map(str, shape))} | {n:,} |" for name, shape, n in model.parameter_table()]
    total = f"| all | | {model.num_params():,} |"
    return "\n".join(["| weight | shape | number |", "|---|---|---:|", *rows, total])
