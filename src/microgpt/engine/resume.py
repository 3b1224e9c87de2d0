"""Whether a run starts, continues or is done, and whether what is there belongs to it. No Lightning, no Hydra."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microgpt.engine import checkpoint
from microgpt.engine.config import RunConfig, science_differences
from microgpt.engine.rundir import RunDir
from microgpt.errors import CheckpointError, UsageError

log = logging.getLogger("microgpt")


@dataclass(frozen=True)
class Start:
    """Where training starts: from nothing (`checkpoint` is None), or from a verified checkpoint."""

    checkpoint: Path | None = None
    manifest: dict[str, Any] | None = None

    @property
    def step(self) -> int:
        return int(self.manifest["step"]) if self.manifest else 0

    def recorded(self, name: str, knob: Any) -> Any:
        """What the checkpoint was trained with, for a knob that is `auto`; else the knob."""
        fingerprint = (self.manifest or {}).get("fingerprint", {})
        return fingerprint.get(name, knob) if knob == "auto" else knob


def find_start(config: RunConfig, run_dir: RunDir) -> Start:
    """Decide by `resume` and what lies in the run folder. Damaged checkpoints are set aside, with a warning.

    Raises:
        UsageError: the folder is in use and `resume=never`, or holds another kind of run.
        CheckpointError: `resume=must` and there is no checkpoint, or all are damaged, or they are of another config.
    """
    used = bool(checkpoint.checkpoints(run_dir.checkpoints)) or run_dir.summary.is_file()
    if config.resume == "never":
        if used:
            fix = "choose another hydra.run.dir, or resume=auto to go on"
            raise UsageError("the folder holds a run and resume=never", str(run_dir.path), fix)
        return Start()
    damaged: list[str] = []
    for path, error in checkpoint.newest_valid(run_dir.checkpoints):
        if error is None:
            manifest = checkpoint.manifest(path)
            check_same_science(config, manifest, run_dir)
            return Start(path, manifest)
        aside = checkpoint.set_aside(path)
        damaged.append(path.name)
        log.warning("warning: %s; set aside as %s", error.what, aside.name)
    if damaged:
        fix = "take another hydra.run.dir to start afresh"
        raise CheckpointError(f"every checkpoint is damaged ({', '.join(damaged)})", str(run_dir.path), fix)
    if config.resume == "must":
        raise CheckpointError("no checkpoint to resume from", str(run_dir.path), "name its folder with hydra.run.dir=")
    return Start()


def check_same_science(config: RunConfig, manifest: dict[str, Any], run_dir: RunDir) -> None:
    """Refuse to continue a run with knobs that change what it learns.

    Raises:
        CheckpointError: showing each knob that differs as `old -> new`.
    """
    differences = science_differences(manifest.get("config", {}), config.to_dict())
    if differences:
        shown = ", ".join(differences[:6]) + (f" and {len(differences) - 6} more" if len(differences) > 6 else "")
        fix = "give the first values again, or another hydra.run.dir"
        raise CheckpointError(f"the run there was made with other knobs ({shown})", str(run_dir.path), fix)


def how_exactly(old: dict[str, Any], new: dict[str, Any], deterministic: bool) -> str:
    """Say whether a run continues bit for bit, given the fingerprints before and now."""
    differences = [f"{name}: {old.get(name)} -> {new[name]}" for name in new if old.get(name) != new[name]]
    if differences:
        return f"continues correctly, not bit for bit ({'; '.join(differences)})"
    if new["compiled"] and not deterministic:
        return "continues correctly, not bit for bit (compiled kernels; trainer.deterministic=true makes them exact)"
    return "continues bit for bit"
