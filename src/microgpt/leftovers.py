"""Temporary names that tell who writes there, and the removal of what dead writers left.

`.tmp-NAME.PLACE-PID-START.RANDOM` names the writing process: PLACE stands for the boot of the machine and the namespace
of process numbers, START for the time at which the process began. Somebody who sees the name in the same place can thus
prove that the writer is dead: no process has the number, or one that began at another time. Whatever was left on
another machine, before a reboot, or by a system that does not tell (other than Linux) may live, and stays. Needs only
the standard library.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path

HIDDEN = ".tmp-"
"Prefix of temporary names."
_LONGEST = 150
"Most bytes of a temporary name that the final name takes; file systems allow 255 in all."
_OWNED = re.compile(r"\.tmp-.*\.([0-9a-f]{12}x\d+)-(\d+)-(\d+)\.[0-9a-f]{8}", re.DOTALL)


def hidden_beside(path: Path) -> Path:
    """A temporary name beside `path` that no other process uses; removes what dead processes left in that folder."""
    remove_dead(path.parent)
    name = os.fsencode(path.name)[:_LONGEST].decode(errors="ignore")
    return path.with_name(f"{HIDDEN}{name}{_owner()}.{os.urandom(4).hex()}")


def remove_dead(folder: Path) -> None:
    """Remove the temporary files and folders in `folder` whose writers are provably dead."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith(HIDDEN) and is_dead(entry.name):
                remove(Path(entry.path))


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, as far as the system allows; a link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def is_dead(name: str) -> bool:
    """Whether a temporary name is of a process that has provably ended."""
    owned = _OWNED.fullmatch(name)
    if owned is None or owned[1] != _place():
        return False
    try:
        os.kill(int(owned[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # somebody else's process
    start = _start(int(owned[2]))
    return start is not None and start != owned[3]


def _owner() -> str:
    """This process, as part of a name; empty where the system does not tell."""
    place, start = _place(), _start(os.getpid())
    return f".{place}-{os.getpid()}-{start}" if place and start else ""


def _place() -> str:
    """Where a process number has its meaning: this boot of this machine, and this namespace; empty if unknown."""
    try:
        boot = _read("/proc/sys/kernel/random/boot_id").replace("-", "")  # drawn anew at each boot
        namespace = re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
        return f"{boot[:12]}x{namespace}"
    except OSError:
        return ""


def _start(pid: int) -> str | None:
    """When a process began, in ticks since the boot; "ended" for one that only waits to be reaped, None if unknown."""
    try:
        stat = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return "ended" if state in "ZX" else fields[18]


def _read(path: str) -> str:
    """A short file of the system's."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 4096).decode(errors="replace")
    finally:
        os.close(descriptor)
