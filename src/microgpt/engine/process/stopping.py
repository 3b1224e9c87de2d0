"""The command that resumes a stopped run or sweep, ready to type. Imports the standard library alone.

`signals.handled` prints it once, however a signal ended the run or the sweep.
"""

import contextlib
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from microgpt.engine.process import cluster, signals
from microgpt.engine.process.logs import Screen
from microgpt.engine.process.notebook import is_notebook
from microgpt.text import quoted

log = logging.getLogger("microgpt")
Knob = Literal["hydra.run.dir", "hydra.sweep.dir"]


@dataclass(frozen=True)
class ResumeHint(signals.Farewell):
    """The farewell of a run or a sweep: print the command that resumes it, and requeue its SLURM job.

    Args:
        arguments: the arguments of `microgpt-train`.
        folder: the folder of the run or the sweep, once known.
        knob: the knob that names the folder; it tells a run from a sweep.
    """

    arguments: Sequence[str]
    folder: Path | None = None
    knob: Knob = "hydra.run.dir"

    def __str__(self) -> str:
        command = resume_command(self.arguments, self.folder, self.knob)
        if is_notebook():
            command = resume_call(self.arguments, self.folder)
        if self.knob == "hydra.sweep.dir":
            return f"go on with: {command}"
        step = newest_step(self.folder) if self.folder else 0
        return f"saved at step {step}; go on with: {command}" if step else f"nothing to save; start with: {command}"

    def say(self, stopped: signals.Stopped) -> None:
        if cluster.this_rank().is_first:
            if any(isinstance(handler, Screen) for handler in log.handlers):  # then train.log is open too
                log.info("%s", self)
            else:
                with contextlib.suppress(OSError, ValueError):  # the reader is gone
                    print(self, flush=True)
        cluster.leave_job(stopped.number, every_rank=not stopped.by_all)


def located(folder: Path, knob: Knob) -> None:
    """Add the folder of the run or sweep to the resume hint, once it is known."""
    farewell = signals.farewell()
    if isinstance(farewell, ResumeHint):
        signals.at_stop(replace(farewell, folder=folder, knob=knob))


def said_for_us() -> None:
    """Drop the resume hint, because rank 0, another process, has already printed one."""
    farewell = signals.farewell()
    if isinstance(farewell, ResumeHint) and farewell.knob == "hydra.run.dir":
        signals.at_stop(None)


def newest_step(folder: Path) -> int:
    """Return the step of a run folder's newest checkpoint; 0 without a checkpoint."""
    names = (path.name for path in (folder / "checkpoints").glob("step-*"))
    return max((int(name[5:]) for name in names if name[5:].isdecimal()), default=0)


def resume_command(arguments: Sequence[str], folder: Path | None, knob: Knob = "hydra.run.dir") -> str:
    """Build the command that resumes: the same arguments with the existing folder instead of a new one."""
    if folder is None:
        return shlex.join(["microgpt-train", *arguments])
    dropped = (f"{knob}=", "resume=never", "resume='never'")
    kept = [argument for argument in arguments if not argument.lstrip("+").startswith(dropped)]
    return shlex.join(["microgpt-train", *kept, f"{knob}={quoted(str(folder))}"])


def resume_call(arguments: Sequence[str], folder: Path | None) -> str:
    """Build the Python call that resumes, for a notebook."""
    words = shlex.split(resume_command(arguments, folder))[1:]
    if "--config-dir" in words:
        at = words.index("--config-dir")
        words, config_dir = words[:at] + words[at + 2 :], f", config_dir={words[at + 1]!r}"
        return f"train({words!r}{config_dir})"
    return f"train({words!r})"
