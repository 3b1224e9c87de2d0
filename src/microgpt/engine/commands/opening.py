"""Arguments and loading shared by the commands that take a RUN."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from microgpt.engine.process.waiting import Load, give_way_if_busy
from microgpt.engine.store.missing_run import missing_run
from microgpt.errors import UsageError

if TYPE_CHECKING:
    from microgpt.engine.trained.run import Run

LOAD = Load()
DEVICES = ("auto", "cpu", "cuda", "gpu", "mps")


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Add RUN, --device, --import, --json and --debug."""
    p.add_argument("run", metavar="RUN", type=Path, help="run folder, its model/ folder, or an exported model")
    p.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or mps")
    add_imports(p)
    p.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    p.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_imports(p: argparse.ArgumentParser) -> None:
    """Add --import, which `import_parts` reads."""
    p.add_argument("--import", dest="imports", action="append", default=[], metavar="FILE",
                   help="Python file or module that defines parts of your own")  # fmt: skip


def add_weights(p: argparse.ArgumentParser) -> None:
    """Add --weights, which `open_run` reads."""
    p.add_argument("--weights", default="stored", metavar="W",
                   help="stored, or int8: less exact, faster for large models on CPUs")  # fmt: skip


def import_parts(a: argparse.Namespace) -> None:
    """Import the files and modules that --import names.

    Raises:
        UsageError: a file does not exist or fails to import.
    """
    from microgpt.registry import import_part

    for name in a.imports:
        import_part(name)


def require_run(path: Path) -> None:
    """Check, before torch is loaded, that there is something at the path of a run.

    Raises:
        CheckpointError: there is nothing.
    """
    if not path.exists():
        raise missing_run(path)


def open_run(a: argparse.Namespace) -> "Run":
    """Import the user's parts and load the model onto the device that the arguments name.

    Raises:
        UsageError, MachineError: the device does not exist.
        CheckpointError: the model is missing or damaged.
    """
    if a.device not in DEVICES:
        raise UsageError(f"no such device {a.device!r}", "--device", f"one of {', '.join(DEVICES)}")
    require_run(a.run)
    give_way_if_busy(LOAD, watch=False)
    from microgpt.engine.machine.device import resolve_accelerator
    from microgpt.engine.trained.run import load

    import_parts(a)
    weights: str = getattr(a, "weights", "stored")
    # int8 is for CPUs: where nothing else is asked for, the model stays there.
    device = "cpu" if weights == "int8" and a.device == "auto" else resolve_accelerator(a.device)
    return load(a.run, device, weights)
