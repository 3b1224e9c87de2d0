"""Resolve a configuration's interpolations, but for secrets: these stay references to environment variables."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from microgpt.config import Config, Fault, flatten
from microgpt.engine.process.secret_variables import is_secret, reference, references

_READERS = ("logger.", "callbacks.")
"""The knobs that may take a secret: their parts get the value when they are built."""


@contextlib.contextmanager
def secrets_unresolved() -> Iterator[None]:
    """Let `${oc.env:NAME}` yield itself inside the block, where NAME is the name of a secret that is set."""
    OmegaConf.register_new_resolver("oc.env", _resolve, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _resolve(name: str, *default: Any) -> Any:
    return reference(name) if is_secret(name) and name in os.environ else oc.env(name, *default)


def secret_faults(config: Config) -> list[Fault]:
    """The knobs that would write a secret into the run's files, or need its value to be composed."""
    fix = "a logger or callback may have it; a variable that is no secret needs another name"
    return [
        Fault(knob, f"the environment variable {name} holds a secret by its name", fix)
        for knob, value in flatten(config.to_dict()).items()
        if not knob.startswith(_READERS)
        for name in references(value)
    ]
