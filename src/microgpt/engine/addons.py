"""The families that `logger=` and `callbacks.<name>=` choose from. Only building a member imports Lightning.

To add a logger or callback, subclass `LoggerConfig` or `CallbackConfig` with a name, in one Python file. The shipped
ones are in engine/fit/loggers/ and engine/fit/stock_callbacks/, a user's in a file that `imports` names.
"""

import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from microgpt.engine.store.run_folder import run_title, write_text
from microgpt.errors import MachineError
from microgpt.registry import Choice

SHIPPED = ("microgpt.engine.fit.loggers", "microgpt.engine.fit.stock_callbacks")
"""Packages whose modules register the shipped members; imported by name, because they are in a higher layer."""


def import_shipped() -> None:
    """Register the shipped loggers and callbacks."""
    for package in SHIPPED:
        importlib.import_module(package)


@dataclass(frozen=True)
class LoggedRun:
    """The run that a logger records.

    Attributes:
        folder: the run folder.
        resume_step: optimizer steps already made; 0 for a new run.
    """

    folder: Path
    resume_step: int = 0

    @property
    def name(self) -> str:
        """The folder's name; for a sweep's point, whose folder is a number, the sweep's name too."""
        return run_title(self.folder)

    def read_id(self, logger: str) -> str | None:
        """The id that a tracking service gave the run when it began; None for a new run."""
        try:
            with (self.folder / f"{logger}.id").open(encoding="utf-8") as file:
                found = file.read(100).strip()
        except (OSError, ValueError):
            return None
        return found if self.resume_step and re.fullmatch(r"[\w-]{1,64}", found, re.ASCII) else None

    def write_id(self, logger: str, value: str) -> None:
        """Store the id in the run folder, so that a resumed run continues the same record."""
        write_text(self.folder / f"{logger}.id", f"{value}\n")


class Addon(Choice):
    """What loggers and callbacks share: the packages they need, and the shipped members, registered on first use."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Modules that the part needs and microgpt does not install."""
    install: ClassVar[str] = ""
    """Requirements to pip install for them; by default the packages."""

    @classmethod
    def choose(cls, value: Any) -> Self:
        import_shipped()
        return super().choose(value)


class LoggerConfig(Addon, family="logger"):
    """Base of the loggers, which record a run's metrics besides metrics.csv."""

    def build(self, run: LoggedRun) -> Any:
        """Make the `lightning.pytorch.loggers.Logger`; called before training, on rank 0 only.

        The run calls `log_metrics(metrics, step)` with every metric, `log_hyperparams(params)` with the flat
        configuration when training begins, and `finalize("success" | "failed" | "aborted")` at the end. If the logger
        has a method `add_text(tag, text, step)` or `add_figure(tag, figure, step)`, it also gets samples (Markdown) or
        figures (matplotlib).
        """
        raise TypeError(f"{type(self).__name__} builds no logger")


class CallbackConfig(Addon, family="callback"):
    """Base of the callbacks that a user can add to a run."""

    changes_training: ClassVar[bool] = False
    """Whether the callback changes weights, gradients or data. If so, a run resumes only with the same callback and
    knobs; callbacks that only observe may be added, changed or dropped at any time."""

    def build(self) -> Any:
        """Make the `lightning.Callback`; called before training, on every rank.

        Lightning calls its hooks as usual, before the run evaluates and saves. Each checkpoint saves the result of
        `state_dict()`, and resuming passes it to `load_state_dict()`, with tensors on the CPU. It must be plain data
        (str, int, float, bool, None, list, tuple, dict, tensors). Drawing from torch's global generators is safe: each
        step reseeds dropout.
        """
        raise TypeError(f"{type(self).__name__} builds no callback")


def require_packages(knob: str, part: Addon) -> None:
    """Check that a logger's or callback's packages are installed.

    Args:
        knob: the knob that chose the part, such as `logger.wandb`.

    Raises:
        MachineError: a package is missing; the error names it and the command to install it.
    """
    for package in part.packages:
        if importlib.util.find_spec(package) is None:
            install = part.install or " ".join(part.packages)
            raise MachineError(f"{knob} needs the package {package}", "this environment", f'pip install "{install}"')


def training_callbacks(parts: Any) -> dict[str, Any]:
    """The callbacks that change training, from the node `callbacks` as untrusted plain data.

    A callback of an unknown class counts as changing it.
    """
    import_shipped()
    found = parts.items() if isinstance(parts, Mapping) else ()
    return {key: part for key, part in found if _changes_training(part)}


def _changes_training(part: Any) -> bool:
    name = part.get("name") if isinstance(part, Mapping) else None
    member: type[CallbackConfig] | None = CallbackConfig.members.get(name) if isinstance(name, str) else None
    return member is None or member.changes_training
