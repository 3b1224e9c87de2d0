"""Find run folders and read them as plain data: knobs, summary, curves.

A run folder holds `config.yaml`, and `summary.json` once the run has finished. Folders are untrusted: files are limited
in size, and YAML is read without aliases and tags. Imports neither torch nor Lightning.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from microgpt.engine.store import metrics_file
from microgpt.engine.store.config_file import read_config
from microgpt.engine.store.left_error import read_error
from microgpt.engine.store.metrics_file import finite
from microgpt.errors import CheckpointError
from microgpt.files import read_json
from microgpt.text import cut, escaped, one_line

SUMMARY_LIMIT = 4 << 20
"""Maximum size of a summary in bytes."""
MAX_DEPTH = 3
"""Maximum depth of a run below a given folder: `sweeps/<date>/<number>` is 2."""


@dataclass(frozen=True)
class RunRecord:
    """A run folder's config and summary.

    Attributes:
        knobs: dotted key -> value, without `IGNORED`. A part chosen by name is listed under its node: `model.pos`, not
            `model.pos.name`.
        summary: the content of `summary.json`; empty if the run has not finished.
        missing: the missing files, or another reason to exclude the run; empty for an included run.
        name, tags, notes: what the user wrote about the run.
    """

    path: Path
    knobs: Mapping[str, Any] = field(default_factory=dict)
    seed: Any = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    missing: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""

    def number(self, key: str) -> float | None:
        """A finite number in the summary; None if it is absent or not finite."""
        value = self.summary.get(key)
        return finite(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


IGNORED = ("seed", "name", "tags", "notes", "resume", "plan", "html", "imports", "hydra", "sweep")
"""Nodes that do not distinguish experiments: groups average over the seed; the others are marked START where they
are declared, which a test holds, as reading the marks would import torch."""


def find_runs(paths: Iterable[str | Path]) -> list[RunRecord]:
    """Read every run in `paths`: run folders, or folders of runs such as a sweep's.

    A sweep's numbered folders count as runs even when empty, so that a failed point does not vanish.

    Raises:
        CheckpointError: a path does not exist, holds no run, or a file of a run cannot be read.
    """
    runs: dict[Path, RunRecord] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            raise CheckpointError("no such folder", str(path), "give a run folder or a sweep's folder")
        found = list(_run_folders(path, MAX_DEPTH))
        if not found:
            fix = "a run folder holds config.yaml and summary.json, a sweep's numbered run folders"
            raise CheckpointError("no run", str(path), fix)
        for folder in found:
            runs.setdefault(folder.resolve(), _read_run(folder))
    return list(runs.values())


def read_curves(run: RunRecord) -> dict[str, metrics_file.Curve]:
    """Read the finite values in a run's `metrics.csv`: column -> [(step, value), ...].

    Raises:
        CheckpointError: the file cannot be read.
    """
    return metrics_file.read_curves(run.path / "metrics.csv")


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    if _is_run(folder):
        yield folder
        return
    try:
        children = sorted((c for c in folder.iterdir() if c.is_dir() and not c.name.startswith(".")), key=_natural)
    except OSError as error:
        raise CheckpointError(f"unreadable folder ({error.strerror})", str(folder)) from error
    for child in children:
        inside = list(_run_folders(child, depth - 1)) if depth > 0 else []
        if inside:
            yield from inside
        elif child.name.isdigit():
            yield child


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() or (folder / "summary.json").is_file()


def _natural(path: Path) -> tuple[int, str]:
    return (int(path.name) if path.name.isdecimal() else -1, path.name)


def _read_run(folder: Path) -> RunRecord:
    config = _read(folder / "config.yaml", read_config)
    summary = _read(folder / "summary.json", _read_summary)
    absent = [name for name, found in (("config.yaml", config), ("summary.json", summary)) if found is None]
    missing = f"no {' and no '.join(absent)}" if absent else ""
    if summary is None and (error := read_error(folder)) is not None:
        missing = f"failed: {escaped(cut(error.what, 120))}"
    knobs = dict(_flatten({k: v for k, v in (config or {}).items() if k not in IGNORED}))
    said = config or {}
    tags = tuple(map(str, found)) if isinstance(found := said.get("tags"), list) else ()
    return RunRecord(
        folder, knobs, said.get("seed"), summary or {}, missing,
        str(said.get("name") or ""), tags, str(said.get("notes") or ""),
    )  # fmt: skip


def _read(path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
    """Read the mapping in a file; None if the file does not exist."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except (OSError, ValueError) as error:
        what = f"unreadable file ({one_line(error, 200)})"
        raise CheckpointError(what, str(path), "repair it or leave the run out") from error


def _read_summary(path: Path) -> dict[str, Any]:
    return read_json(path, SUMMARY_LIMIT, allow_nan=True)  # a loss may have been NaN


def _flatten(tree: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping):
            yield from _flatten(value, path)
        elif key == "name" and above:
            yield above, value
        else:
            yield path, _number_or_same(value)


def _number_or_same(value: Any) -> Any:
    """Convert numbers that YAML 1.1 reads as text, such as 1e-4, so that they equal 0.0001."""
    number = finite(value) if isinstance(value, str) and value[:1] in "+-.0123456789" else None
    return value if number is None else number
