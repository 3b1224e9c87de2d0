"""Decide whether a run starts, continues or is finished, and check its folder. Imports neither Lightning nor Hydra."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from microgpt.data.corpus import Corpus
from microgpt.engine.config import Precision, RunConfig, science_differences
from microgpt.engine.machine import device as machine
from microgpt.engine.process import cluster
from microgpt.engine.store import checkpoint
from microgpt.engine.store.run_folder import RunDir
from microgpt.errors import CheckpointError, UsageError
from microgpt.text import brief, number_of, printable

log = logging.getLogger("microgpt")


@dataclass(frozen=True)
class Start:
    """Where training starts: from scratch (`checkpoint` is None), from a verified checkpoint, or not at all.

    Attributes:
        finished: the reason, if there is nothing to do.
    """

    checkpoint: Path | None = None
    manifest: dict[str, Any] | None = None
    finished: str = ""

    @property
    def step(self) -> int:
        """The number of updates already made."""
        return int(self.manifest["step"]) if self.manifest else 0

    def recorded(self, name: str, knob: Any) -> Any:
        """The checkpoint's value for a knob that is `auto`; else the knob."""
        value = (self.manifest or {}).get("fingerprint", {}).get(name)
        is_possible = {
            "precision": value in get_args(Precision),
            "compiled": isinstance(value, bool),
            "threads": isinstance(value, int) and 1 <= value <= machine.cores(),
        }
        return value if knob == "auto" and is_possible[name] else knob


def find_start(config: RunConfig, run_dir: RunDir, corpus: Corpus, steps: int) -> Start:
    """Decide where to start, from `resume` and the run folder. Set damaged checkpoints aside, with a warning.

    Args:
        steps: the requested steps of the whole run.

    Raises:
        UsageError: the folder is in use and `resume=never`.
        CheckpointError: `resume=must` without a checkpoint, or all checkpoints are damaged or belong to another config.
    """
    if config.resume == "never":
        if checkpoint.checkpoints(run_dir.checkpoints) or run_dir.summary.exists():
            fix = "choose another hydra.run.dir, or resume=auto to go on"
            raise UsageError("the folder holds a run and resume=never", str(run_dir.path), fix)
        return Start()
    damaged: list[str] = []
    finished = why_finished(config, run_dir.read_summary(), steps)
    for path, error in checkpoint.newest_valid(run_dir.checkpoints):
        if error is None:
            manifest = checkpoint.manifest(path)
            check_same_science(config, manifest, run_dir, corpus)
            return Start(path, manifest, finished)
        damaged.append(path.name)
        if cluster.this_rank().is_first:  # one rank renames the folder, the others see the result
            aside = checkpoint.set_aside(path)
            log.warning("warning: %s; set aside as %s", printable(error.what), aside.name)
    if finished:
        return Start(finished=finished)
    if damaged:
        fix = "take another hydra.run.dir to start afresh"
        raise CheckpointError(f"every checkpoint is damaged ({', '.join(damaged[:6])})", str(run_dir.path), fix)
    if config.resume == "must":
        raise CheckpointError("no checkpoint to resume from", str(run_dir.path), "name its folder with hydra.run.dir=")
    if run_dir.summary.exists():
        fix = "take another hydra.run.dir, or fewer steps"
        raise CheckpointError("a finished run without a checkpoint to go on from", str(run_dir.path), fix)
    return Start()


def why_finished(config: RunConfig, summary: dict[str, Any] | None, steps: int) -> str:
    """Why a run with this summary has nothing left to do; empty if it has."""
    if summary is None:
        return ""
    patience = config.trainer.early_stopping_patience
    score = f"val/loss {summary['val/loss']:.4f}" if "val/loss" in summary else "no validation split"
    if summary["step"] >= steps:
        return (
            f"{number_of(summary['step'], 'step')}, {score}; more with a higher trainer.max_steps, "
            "which stretches the learning-rate schedule"
        )
    if patience is not None and summary.get("stopped_early") == patience:
        return f"stopped early at step {summary['step']}, {score}; more with a higher trainer.early_stopping_patience"
    return ""


def check_same_science(config: RunConfig, manifest: dict[str, Any], run_dir: RunDir, corpus: Corpus) -> None:
    """Refuse to continue a run with another text, or with knobs that change what it learns.

    Raises:
        CheckpointError: something differs; the error shows each difference as `old -> new`.
    """
    differences = science_differences(manifest["config"], config.to_dict())
    old, new = manifest["fingerprint"], {"corpus": corpus.sha256, "vocab_size": corpus.tokenizer.vocab_size}
    differences += [
        f"{name}: {brief(old.get(name))} -> {brief(new[name])}" for name in new if old.get(name) != new[name]
    ]
    if differences:
        shown = ", ".join(differences[:6]) + (f" and {len(differences) - 6} more" if len(differences) > 6 else "")
        fix = "give the first values again, or another hydra.run.dir"
        what = f"the run there was made with other knobs or another text ({printable(shown)})"
        raise CheckpointError(what, str(run_dir.path), fix)


def how_exactly(old: dict[str, Any], new: dict[str, Any], deterministic: bool) -> str:
    """Say whether a run continues bit for bit, given the fingerprints before and now."""
    differences = [f"{name}: {brief(old.get(name))} -> {new[name]}" for name in new if old.get(name) != new[name]]
    if differences:
        return f"continues correctly, not bit for bit ({printable('; '.join(differences))})"
    if new["compiled"] and not deterministic:
        return "continues correctly, not bit for bit (compiled kernels; trainer.deterministic=true makes them exact)"
    return "continues bit for bit"


def rate_change(config: RunConfig, start: Start, steps: int) -> str:
    """Say what the learning rate will do if a continued run has another number of steps than before.

    A schedule is a function of the step and the total, so another total changes the rate at once.

    Args:
        steps: optimizer steps of the whole run now.

    Returns:
        One line; empty if the total is the same or not recorded.
    """
    before = (start.manifest or {}).get("fingerprint", {}).get("total_steps")
    if type(before) is not int or before in (0, steps) or not 0 < start.step < steps:
        return ""
    updates = ((start.step - 1, before), (start.step, steps), (steps - 1, steps))
    was, now, last = (f"{config.optim.lr_factor(*update):.1%}" for update in updates)
    return (
        f"{before} steps were planned and {steps} are now: the learning rate, at {was} of its peak in step "
        f"{start.step}, goes on at {now} and ends at {last} (schedule {config.optim.schedule.name})"
    )
