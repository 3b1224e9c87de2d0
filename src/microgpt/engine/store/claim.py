"""Claim a folder: of the processes that start in it together one holds it, and the others learn who does.

The holder has an flock on the file `.lock` in the folder, which names it and goes when it ends. The lock ends with the
processes that inherited it, however they end; a `.lock` that a killed process left is free. Folders are removed only
under their lock, so nobody loses one that it has claimed.
"""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from microgpt import files
from microgpt.errors import MachineError, UsageError
from microgpt.text import printable

LOCK = ".lock"
TRIES = 1000
"Most attempts at a folder that others create and remove at the same time, and most folders of one name."
_INFO_BYTES = 4096


@dataclass(frozen=True)
class Claim:
    """A folder that this process holds.

    Attributes:
        descriptor: the open lock; None on Windows. A child process that inherits it holds the folder too.
        made: the folders that were missing before, outermost first.
    """

    path: Path
    descriptor: int | None
    made: list[Path]


@contextlib.contextmanager
def claimed(path: Path, must_be_new: bool = False, knob: str = "hydra.run.dir") -> Iterator[Claim]:
    """Create, lock and check a folder for the block. If the block fails, remove the folders made and still empty.

    Args:
        must_be_new: if the folder exists, take the first free one of `path-2`, `path-3` and so on.
        knob: names the folder in errors.

    Raises:
        MachineError: the folder cannot be created or written.
        UsageError: another process holds the folder; the error names it.
    """
    claim = _claim(path, must_be_new, knob)
    try:
        _probe(claim.path, knob)
        files.remove_leftovers(claim.path)
        yield claim
    except BaseException:
        _release(claim)
        remove_empty(claim.made)
        raise
    else:
        _release(claim)
    finally:
        if claim.descriptor is not None:
            os.close(claim.descriptor)


def remove_empty(folders: list[Path]) -> None:
    """Remove the empty ones among `folders`, which are listed outermost first."""
    with contextlib.suppress(OSError):
        for folder in reversed(folders):
            folder.rmdir()


def _claim(path: Path, must_be_new: bool, knob: str) -> Claim:
    number, failure = 1, OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    for _ in range(TRIES):
        folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
        made = [place for place in (*reversed(folder.parents), folder) if not place.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=not must_be_new)
            return Claim(folder, _lock(folder, knob), made)
        except (FileExistsError, UsageError) as error:
            if must_be_new:
                number += 1
                continue
            if isinstance(error, UsageError):
                raise
            failure = error
        except FileNotFoundError as error:
            failure = error
        except OSError as error:
            remove_empty(made)
            raise _unwritable(error, path, knob) from None
        time.sleep(0.001)  # a process that failed was just removing the folder
    raise _unwritable(failure, path, knob)


def _lock(folder: Path, knob: str) -> int | None:
    """Lock the folder; return the open lock file.

    Raises:
        FileNotFoundError: the folder or its lock was removed meanwhile.
        UsageError: another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None

    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fix = f"wait for it to end, or choose another {knob}"
            raise UsageError(f"{_holder(descriptor)} is training", str(folder), fix) from None
        except OSError:  # a file system without locks
            pass
        if not _is_at(descriptor, folder / LOCK):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        info = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, info.encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _holder(descriptor: int) -> str:
    """Name the process that holds a lock; it writes its name right after locking."""
    for _ in range(50):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            info = files.parse_object(os.pread(descriptor, _INFO_BYTES, 0))
            return f"process {int(info['pid'])} on {printable(str(info['host']))[:60]}"
        time.sleep(0.01)
    return "another process"


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has this path."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False


def _release(claim: Claim) -> None:
    """Remove the lock file, while the lock is held."""
    lock = claim.path / LOCK
    if claim.descriptor is not None and _is_at(claim.descriptor, lock):
        with contextlib.suppress(OSError):
            lock.unlink()


def _probe(folder: Path, knob: str) -> None:
    """Check that the folder can be written."""
    probe = folder / ".probe"
    try:
        files.write(probe, b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        raise _unwritable(error, folder, knob) from None


def _unwritable(error: OSError, folder: Path, knob: str) -> MachineError:
    fix = "free some space or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    fix += f"choose a folder that you can write with {knob}=..."
    return MachineError(f"cannot write ({error.strerror})", str(folder), fix)
