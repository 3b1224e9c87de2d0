"""The families that `logger=` and `callbacks.<name>=` choose from. No Lightning here: it is imported when one is built.

Adding a logger or callback takes one Python file: a subclass of `LoggerConfig` or `CallbackConfig` with a name. The
shipped ones stand in engine/fit/loggers/ and engine/fit/stock_callbacks/, a user's in a file that `imports` names.
"""

import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from microgpt.engine.store.run_folder import write_text
from microgpt.errors import MachineError
from microgpt.registry import Choice

SHIPPED = ("microgpt.engine.fit.loggers", "microgpt.engine.fit.stock_callbacks")
"""Packages whose modules register the shipped members. They are imported by name, as they stand above this file."""


def import_shipped() -> None:
    """Register the shipped loggers and callbacks."""
    for package in SHIPPED:
        importlib.import_module(package)


@dataclass(frozen=True)
class LoggedRun:
    """The run that a logger records.

    Attributes:
        folder: the run folder.
        resume_step: optimizer steps that the run has behind it; 0 for a new run.
    """

    folder: Path
    resume_step: int = 0

    @property
    def name(self) -> str:
        """The folder's name; for a point of a sweep, whose folder is a number, the sweep's too."""
        folder = self.folder.resolve()
        return f"{folder.parent.name}/{folder.name}" if folder.name.isdecimal() else folder.name

    def read_id(self, logger: str) -> str | None:
        """The id that the run was given by a tracking service when it began; None for a new run."""
        try:
            with (self.folder / f"{logger}.id").open(encoding="utf-8") as file:
                found = file.read(100).strip()
        except (OSError, ValueError):
            return None
        return found if self.resume_step and re.fullmatch(r"[\w-]{1,64}", found, re.ASCII) else None

    def write_id(self, logger: str, value: str) -> None:
        """Keep the id in the run folder, so that a resumed run continues the same record."""
        write_text(self.folder / f"{logger}.id", f"{value}\n")


class LoggerConfig(Choice, family="logger"):
    """Base of the loggers: where a run's metrics go besides metrics.csv."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Modules that the logger needs and microgpt does not bring."""
    install: ClassVar[str] = ""
    """What pip must install for them; by default the packages."""

    @classmethod
    def choose(cls, value: Any) -> Self:
        import_shipped()
        return super().choose(value)

    def build(self, run: LoggedRun) -> Any:
        """Make the `lightning.pytorch.loggers.Logger`; called on rank 0 alone, before training.

        It is given every metric of a run as `log_metrics(metrics, step)`, the flat configuration as
        `log_hyperparams(params)` when training begins, and `finalize("success" | "failed" | "aborted")` at the end. If
        it has a method `add_text(tag, text, step)` or `add_figure(tag, figure, step)`, it is given samples (Markdown)
        or figures (matplotlib) too.
        """
        raise TypeError(f"{type(self).__name__} builds no logger")


class CallbackConfig(Choice, family="callback"):
    """Base of the callbacks that a run may add to its own."""

    changes_training: ClassVar[bool] = False
    """Whether the callback changes weights, gradients or data. A run then resumes only with the same callback and
    knobs; callbacks that merely watch may be added, changed or dropped at any time."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Modules that the callback needs and microgpt does not bring."""
    install: ClassVar[str] = ""
    """What pip must install for them; by default the packages."""

    @classmethod
    def choose(cls, value: Any) -> Self:
        import_shipped()
        return super().choose(value)

    def build(self) -> Any:
        """Make the `lightning.Callback`; called on every rank, before training.

        Its hooks are called as Lightning calls them, before the run evaluates and saves. What `state_dict()` returns
        is saved with each checkpoint and given to `load_state_dict()` on resume, tensors on the CPU: it must be plain
        data (str, int, float, bool, None, list, tuple, dict, tensors). Drawing from torch's global generators changes
        nothing: dropout is seeded anew each step.
        """
        raise TypeError(f"{type(self).__name__} builds no callback")


def require_packages(knob: str, part: LoggerConfig | CallbackConfig) -> None:
    """Check that the packages that a logger or callback needs are installed.

    Args:
        knob: how the part was chosen, such as `logger.wandb`.

    Raises:
        MachineError: naming the missing package and what to install.
    """
    for package in part.packages:
        if importlib.util.find_spec(package) is None:
            install = part.install or " ".join(part.packages)
            raise MachineError(f"{knob} needs the package {package}", "this environment", f'pip install "{install}"')


def training_callbacks(parts: Any) -> dict[str, Any]:
    """The callbacks that change what is learnt, of the node `callbacks` as plain data; it may come from anyone.

    One whose class is not known here may change it.
    """
    import_shipped()
    found = parts.items() if isinstance(parts, Mapping) else ()
    return {key: part for key, part in found if _changes_training(part)}


def _changes_training(part: Any) -> bool:
    name = part.get("name") if isinstance(part, Mapping) else None
    member: type[CallbackConfig] | None = CallbackConfig.members.get(name) if isinstance(name, str) else None
    return member is None or member.changes_training
