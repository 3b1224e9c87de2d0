"""Build the loggers and callbacks that a run's configuration names."""

import logging
from collections.abc import Mapping, Sequence
from typing import TypeVar

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger

from microgpt.config import Config, fields
from microgpt.engine.addons import CallbackConfig, LoggedRun, LoggerConfig
from microgpt.engine.process.secret_variables import filled, references
from microgpt.errors import MachineError, UsageError

log = logging.getLogger("microgpt")
AnyPart = TypeVar("AnyPart", bound=Config)


def build_loggers(parts: Mapping[str, LoggerConfig], run: LoggedRun) -> list[Logger]:
    """Build the loggers named in the node `logger`, in its order.

    Raises:
        MachineError: a package is missing or too old.
        UsageError: a part does not build a logger.
    """
    loggers: list[Logger] = []
    for name, part in parts.items():
        try:
            logger = with_secrets(part, f"logger.{name}").build(run)
        except ImportError as error:
            raise MachineError(f"logger.{name} cannot be used ({error})", "this environment") from error
        if not isinstance(logger, Logger):
            what = f"{type(part).__name__}.build made a {type(logger).__name__}"
            raise UsageError(what, f"logger.{name}", "return a lightning.pytorch.loggers.Logger")
        loggers.append(logger)
    return loggers


def build_callbacks(parts: Mapping[str, CallbackConfig], own: Sequence[L.Callback] = ()) -> list[L.Callback]:
    """Build the callbacks named in the node `callbacks`, in its order.

    Args:
        own: the callbacks that every run has; a state key must not repeat one of theirs.

    Raises:
        UsageError: a part does not build a callback, or two callbacks save their states under the same key.
    """
    callbacks: list[L.Callback] = []
    keys = {callback.state_key: type(callback).__name__ for callback in own if keeps_state(callback)}
    for name, part in parts.items():
        where = f"callbacks.{name}"
        callback = with_secrets(part, where).build()
        if not isinstance(callback, L.Callback):
            what = f"{type(part).__name__}.build made a {type(callback).__name__}"
            raise UsageError(what, where, "return a lightning.Callback")
        if isinstance(callback, Checkpoint):
            what = f"{type(callback).__name__} saves checkpoints that a run cannot resume from"
            raise UsageError(what, where, "set checkpoint.every_n_steps and checkpoint.keep instead")
        if keeps_state(callback):
            key = callback.state_key
            if key in keys:
                raise UsageError(f"its state has the key {key!r}, as that of {keys[key]}", where,
                                 "give the class a state_key of its own")  # fmt: skip
            keys[key] = where
        callbacks.append(callback)
    return callbacks


def with_secrets(part: AnyPart, where: str) -> AnyPart:
    """The part with the values of the secret environment variables to which its knobs refer.

    Raises:
        UsageError: a variable is not set.
    """
    values = {key: getattr(part, key) for key in fields(type(part))}
    secret = {key: value for key, value in values.items() if any(references(value))}
    for key, value in secret.items():
        names = ", ".join(references(value))
        log.info("%s.%s is kept out of the run's files, which say %s", where, key, names)
    return type(part)(**(values | filled(secret, where))) if secret else part


def keeps_state(callback: L.Callback) -> bool:
    """Whether a callback has state to save."""
    return type(callback).state_dict is not L.Callback.state_dict
