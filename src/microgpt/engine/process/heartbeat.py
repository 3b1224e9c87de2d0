"""Notice a rank that is alive no more, or stopped. Imports the standard library alone.

The ranks of a run wait for one another in every step, and a rank that waits cannot tell a slow rank from a stopped one.
Each rank therefore touches a file in the run folder from a thread of its own, also while it computes or waits. A file
that rests for longer than `trainer.rank_timeout` belongs to a rank that is stopped or gone.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

BEAT = 5.0
"""Seconds between two signs of life, or a fifth of the timeout, if that is less."""


def beat_file(folder: Path, rank: int) -> Path:
    """The file that a rank touches."""
    return folder / f".alive-{rank}"


def forget_beats(folder: Path) -> None:
    """Remove the files of all ranks, while none of them runs."""
    for file in folder.glob(".alive-*"):
        with contextlib.suppress(OSError):
            file.unlink()


def beat_seconds(timeout: float) -> float:
    """Seconds between two signs of life."""
    return min(BEAT, timeout / 5)


class Watch:
    """Tell which ranks have given no sign of life for `timeout` seconds.

    It counts from the first sign of life that it sees, by its own clock. After a pause of its own, such as a machine
    that slept, it begins anew.
    """

    def __init__(self, folder: Path, ranks: int, timeout: float) -> None:
        self.timeout = timeout
        self.files = {rank: beat_file(folder, rank) for rank in range(ranks)}
        self._seen = {rank: _touched(file) for rank, file in self.files.items()}
        self._since: dict[int, float] = {}
        self._looked = time.monotonic()

    def silent(self) -> list[int]:
        """Look at the files; return the silent ranks."""
        now = time.monotonic()
        slept, self._looked = now - self._looked > max(1.0, self.timeout / 2), now
        for rank, file in self.files.items():
            touched = _touched(file)
            if touched != self._seen[rank]:
                self._seen[rank], self._since[rank] = touched, now
            elif slept and rank in self._since:
                self._since[rank] = now
        return sorted(rank for rank, since in self._since.items() if now - since > self.timeout)


@contextlib.contextmanager
def beating(folder: Path, rank: int, timeout: float, look: Callable[[], None] | None = None) -> Iterator[None]:
    """Give signs of life during the block; call `look` after each of them, in the same thread."""
    ended, file = threading.Event(), beat_file(folder, rank)

    def beat() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                file.touch()
            if look is not None:
                look()
            ended.wait(beat_seconds(timeout))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1.0)  # lest it makes the file again
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def _touched(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None
