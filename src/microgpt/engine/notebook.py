"""Training from Python: `microgpt.train` takes overrides in any form, `microgpt.fit` your own model and text."""

import copy
import itertools
import shutil
import signal
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from microgpt.data.corpus import SPLITS, Corpus, split_bounds
from microgpt.data.dataset import as_ids
from microgpt.data.encoded_text import EncodedText
from microgpt.data.tokenizer import Tokenizer
from microgpt.data.tokenizer.ids import IdsTokenizer
from microgpt.engine import train as training
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.compose.given import as_overrides
from microgpt.engine.config import RunConfig
from microgpt.engine.fit.checks import check_uses
from microgpt.engine.fit.finetune import Pretrained
from microgpt.engine.fit.world import find_world
from microgpt.engine.machine import device as machine
from microgpt.engine.plan.length import total_steps
from microgpt.engine.prepare import Found
from microgpt.engine.process import signals
from microgpt.engine.process.stopping import newest_step
from microgpt.engine.store.temporary import PREFIX
from microgpt.engine.trained.run import Run
from microgpt.errors import DataError, UsageError
from microgpt.files import sha256_of
from microgpt.model import GPT


def train(
    *overrides: str | Mapping[str, Any] | Sequence[str],
    config_dir: str | Path | None = None,
    began: float | None = None,
    **knobs: Any,
) -> Run | None:
    """Train like `microgpt-train`, from the same knobs in whichever form is handy.

        train("data.path=book.txt trainer.max_steps=200")
        train(["data.path=book.txt", "model.pos=alibi"])
        train({"data.path": "book.txt", "model": {"n_layer": 4}}, seed=3)
        train(data__path="book.txt", model__n_layer=4)
        train(model=GPTConfig(n_layer=4), optim="adamw")

    Args:
        overrides: strings, lists or mappings of knobs; the last value of a knob wins.
        config_dir: a folder of your own YAML.
        began: `time.perf_counter()` at the start, for `plan=true`; default: now.
        knobs: knobs by name, with `__` for a dot.

    Returns:
        The run: its best model, tokenizer and summary. None for `plan=true`.

    Raises:
        MicrogptError: the run fails; each kind of fault is a subclass, whose `exit_code` is the command's.
        KeyboardInterrupt: you interrupted the run; it is saved, and the same call with its folder goes on.
        signals.Stopped: another signal arrived; the run is saved.
    """
    with interrupts():
        return training.train(as_overrides(overrides, knobs), config_dir, began)


def fit(
    model: GPT,
    data: Any,
    tokenizer: Tokenizer | None = None,
    *,
    steps: int,
    folder: str | Path | None = None,
    val: Any = None,
    **knobs: Any,
) -> Run:
    """Train a GPT of your own on a text or array of your own, as exactly as `train` does.

        run = fit(GPT(GPTConfig(n_layer=2), tok.vocab_size), text, tok, steps=200, optim__lr=0.01)
        run = fit(model, ids, steps=200, folder="runs/mine")       # goes on if the folder holds a run of 100 steps

    Args:
        model: starts from its weights, and has the best weights afterwards.
        data: a text, or 1-D indices: a list, an array or a tensor.
        tokenizer: of the text; without one, tokens are numbers.
        steps: optimizer steps of the whole run.
        folder: the run folder; default: a temporary one, deleted with the run.
        val: text or indices to validate on; default: the end of `data`, by `data__val_fraction`.
        knobs: as for `train`, such as `optim="adamw"`, `optim__lr=0.01` or `data__batch_size=32`.

    Returns:
        The run: the model with its best weights, the tokenizer and the summary.

    Raises:
        DataError: the text is too short, or has an index outside the vocabulary.
        UsageError: the model and the tokenizer differ in vocabulary, or a knob asks for several devices.
        MicrogptError, KeyboardInterrupt, signals.Stopped: as for `train`.
    """
    tokenizer = tokenizer if tokenizer is not None else IdsTokenizer(model.vocab_size)
    if tokenizer.vocab_size != model.vocab_size:
        what = f"a tokenizer of {tokenizer.vocab_size} tokens for a model of {model.vocab_size}"
        raise UsageError(what, "fit", "build the model with vocab_size=tokenizer.vocab_size")
    path = Path(tempfile.mkdtemp(prefix=PREFIX)) if folder is None else Path(folder)
    given = {"trainer.max_steps": steps, "hydra.run.dir": path}
    config = compose_run(as_overrides(["experiment=null", given], knobs)).config
    config = replace(config, model=model.config)
    corpus = own_corpus(data, val, tokenizer, config)
    with interrupts(path):
        run = training.run(config, path, finder=lambda config: found(config, corpus, model))
    assert run is not None
    model.load_state_dict(run.model.state_dict())
    run.model = model.eval()
    if folder is None:
        weakref.finalize(run, shutil.rmtree, path, ignore_errors=True)
    return run


def found(config: RunConfig, corpus: Corpus, model: GPT) -> Found:
    """What `microgpt.engine.prepare.find` finds, with this text and a copy of this model.

    Raises:
        UsageError: the config asks for several devices.
        DataError: the text is shorter than a window, or a prompt has unknown characters.
        ConfigError: a knob exceeds the vocabulary.
    """
    accelerator = machine.resolve_accelerator(config.trainer.accelerator)
    world = find_world(config, accelerator)
    if world.size > 1:
        raise UsageError(f"{world.size} devices", "fit", "train with trainer__devices=1, or use train")
    machine.resolve_precision(config.trainer.precision, accelerator)
    check_uses(config, corpus)
    windows = corpus.windows(config.data, config.model.block_size, config.seed)
    start = Pretrained(copy.deepcopy(model).cpu(), corpus.tokenizer, "the model as given")
    return Found(config, config, accelerator, world, corpus, start, total_steps(config, len(windows)))


def own_corpus(data: Any, val: Any, tokenizer: Tokenizer, config: RunConfig) -> Corpus:
    """The corpus of a text or of indices: split by the config's fractions, or with a validation text of its own.

    Raises:
        DataError: a text has unknown characters, or an index is outside the vocabulary.
    """
    unknown = Counter[str]()

    def encoded(text: Any, where: str) -> torch.Tensor:
        if isinstance(text, str):
            ids, strange = tokenizer.with_unknown(config.data.unknown).encode_counted(text, where=where)
            unknown.update(strange)
            return as_ids(ids)
        given = as_ids(text)
        if len(given) and not 0 <= int(given.min()) <= int(given.max()) < tokenizer.vocab_size:
            what = f"indices from {int(given.min())} to {int(given.max())}"
            raise DataError(what, where, f"the model's vocabulary has 0 to {tokenizer.vocab_size - 1}")
        return given.cpu()

    train = encoded(data, "data")
    if val is None:
        bounds = split_bounds(len(train), config.data.val_fraction, config.data.test_fraction)
        parts = [train[low:high] for low, high in itertools.pairwise(bounds)]
    else:
        parts = [train, encoded(val, "val"), train[:0]]
    content = [part.to(torch.int64).numpy().tobytes() for part in parts]
    splits = {name: EncodedText(part, tokenizer, Counter()) for name, part in zip(SPLITS, parts, strict=True)}
    return Corpus("data", sha256_of(content), tokenizer, unknown, splits)


@contextmanager
def interrupts(folder: Path | None = None) -> Iterator[None]:
    """Turn an interrupt, which has saved the run, into the KeyboardInterrupt that Python users expect.

    Args:
        folder: the run folder, if the call names one.
    """
    try:
        yield
    except signals.Stopped as stopped:
        if stopped.number != signal.SIGINT:
            raise
        step = newest_step(folder) if folder is not None else 0
        where = f"saved at step {step} in {folder}; the same call with folder={str(folder)!r} goes on" if step else ""
        raise KeyboardInterrupt(where or "the run is saved as far as it went; see above how to go on") from None
