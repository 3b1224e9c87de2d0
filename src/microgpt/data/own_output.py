"""Recognise what microgpt itself writes, so that a folder's texts never include it. Needs only the standard library."""

import re
from collections.abc import Iterable
from pathlib import Path

_RUN = {"checkpoints", "config.yaml", "corpus.json", "metrics.csv", "model", "output.log", "summary.json", "train.log"}
_RUN_SIGNS = ({"train.log"}, {"metrics.csv"}, {"config.yaml", "checkpoints"})
_SWEEP = {".launch.json", "multirun.yaml"}
_MODEL = {"README.md", "config.json", "generation_config.json", "manifest.json", "state.json", "tokenizer.json",
          "tokenizer_config.json"}  # fmt: skip
_WEIGHTS = (".safetensors", ".safetensors.index.json")
_CACHED = re.compile(r"[0-9a-f]{32}\.(ids|json|tokenizer\.json)")
_LOGGERS = {"lightning_logs", "mlruns", "wandb"}
_EVENTS = "events.out.tfevents."


class OwnOutput:
    """What microgpt wrote below a folder: runs, sweeps, models, exports, checkpoints, caches and loggers' folders.

    A project may itself be the folder of a run: then only what a run writes there is its output.

    Args:
        base: the folder that the user named; what lies outside does not matter.
        cache: the cache in use, with its downloads.
    """

    def __init__(self, base: Path, cache: Path) -> None:
        self.base, self.cache = base, cache
        self._entries = own_entries(_names(base))
        self._is_own: dict[Path, bool] = {}

    def __contains__(self, path: Path) -> bool:
        if path in (self.base, path.parent):
            return False
        if path not in self._is_own:
            is_entry = path.parent == self.base and path.name in self._entries
            self._is_own[path] = is_entry or path.parent in self or self._is_own_folder(path)
        return self._is_own[path]

    def _is_own_folder(self, path: Path) -> bool:
        is_cache = path.absolute() in (self.cache / "corpora", self.cache / "encoded")
        return path.is_dir() and (is_cache or path.name in _LOGGERS or bool(own_entries(_names(path))))


def own_entries(names: Iterable[str]) -> set[str]:
    """Those names in a folder that microgpt wrote there; none unless several agree that it did."""
    held = set(names)
    found = {name for name in held if name in _SWEEP or name.startswith(_EVENTS) or _CACHED.fullmatch(name)}
    if len(run := held & _RUN) > 1 and any(sign <= run for sign in _RUN_SIGNS):
        found |= run
    weights = {name for name in held if name.endswith(_WEIGHTS)}
    if weights and (model := held & _MODEL):
        found |= weights | model
    return found


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:  # the texts in it cannot be read either
        return []
