"""Make a run's missing model folder again, from the checkpoint of its best evaluation."""

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.config import RunConfig
from microgpt.engine.fit.finetune import Pretrained, starting_model
from microgpt.engine.fit.restore import unfit
from microgpt.engine.fit.weight_average import WeightAverage
from microgpt.engine.resume import Start
from microgpt.engine.store import checkpoint
from microgpt.engine.store.run_folder import RunDir
from microgpt.errors import CheckpointError
from microgpt.model import GPT, save_model
from microgpt.model.files.folder import CONFIG, TOKENIZER, WEIGHTS
from microgpt.model.lora import merge
from microgpt.text import printable

log = logging.getLogger("microgpt")


def remake_model(
    config: RunConfig, tokenizer: Tokenizer, pretrained: Pretrained | None, run_dir: RunDir, start: Start
) -> None:
    """Make the model folder again if a file of it is missing and the run had saved it.

    Raises:
        CheckpointError: the checkpoint that the run resumes from does not fit the model.
    """
    is_whole = all((run_dir.model / name).is_file() for name in (WEIGHTS, CONFIG, TOKENIZER))
    if is_whole or start.checkpoint is None:
        return
    if pretrained is not None:  # adapters are added in place
        pretrained = replace(pretrained, model=copy.deepcopy(pretrained.model))
    model = starting_model(config, tokenizer.vocab_size, pretrained)
    weights, state = read(start.checkpoint, model)
    best = best_step(state)
    if not best and not start.finished:
        return  # no evaluation has saved a model yet
    if best and checkpoint.step_name(best) != start.checkpoint.name:
        path = run_dir.checkpoints / checkpoint.step_name(best)
        try:
            weights, state = read(path, model)
        except CheckpointError as error:
            log.warning("warning: the best step, %d, is lost (%s)", best, printable(error.what))
            best = start.step
    fill(model, weights, state, config.trainer.ema_decay)
    save_model(run_dir.model, merge(model), tokenizer.to_dict())
    log.info("%s was missing: made again from the checkpoint of step %d", run_dir.model, best or start.step)


def read(path: Path, model: GPT) -> tuple[dict[str, Tensor], Any]:
    """Read a checkpoint of this model."""
    return checkpoint.read(path, {f"model.{name}": tuple(value.shape) for name, value in model.state_dict().items()})


def best_step(state: Any) -> int:
    """The step of the best evaluation so far, in an untrusted state; 0 before the first."""
    try:
        step = state["callbacks"]["Evaluate"]["best_step"]
    except (KeyError, TypeError):
        raise unfit("callbacks has other entries") from None
    if type(step) is not int or step < 0:
        raise unfit("best_step is no number")
    return step


def fill(model: GPT, weights: dict[str, Tensor], state: Any, ema_decay: float) -> None:
    """Give a model the weights of a checkpoint, in their own dtype, or their average if the run keeps one."""
    model.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()}, assign=True)
    average = WeightAverage(model, ema_decay)
    saved = state.get("microgpt", {}).get("average") if isinstance(state.get("microgpt"), dict) else None
    if fault := average.fault(saved):
        raise unfit(fault)
    with torch.no_grad():
        for parameter, tensor in zip(model.parameters(), saved or (), strict=False):
            parameter.copy_(tensor)
