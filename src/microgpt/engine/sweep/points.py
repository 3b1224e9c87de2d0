"""The points of a sweep: their configurations, states and results.

A point is a run folder with a recorded configuration (`store.launch_file`). A sweep restarted in its folder finds the
points there: it skips the finished ones and continues or repeats the others.
"""

import contextlib
import copy
import logging
import math
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from microgpt import streams
from microgpt.engine.config import RunConfig, science_differences
from microgpt.engine.process import signals
from microgpt.engine.process.stopping import located
from microgpt.engine.store.launch_file import Launch, forget_launch, launched_config, write_launch
from microgpt.engine.store.left_error import read_error
from microgpt.engine.store.run_folder import RunDir
from microgpt.engine.sweep.submitit_private import submit_again
from microgpt.engine.worker import run_launched
from microgpt.errors import CheckpointError, MachineError, MicrogptError
from microgpt.registry import portable_imports

log = logging.getLogger("microgpt")

JOB = ".job"
"""File in a point's folder: the id of the SLURM job that trains it, and its output path."""


@dataclass(frozen=True, eq=False)
class Point:
    """One run of a sweep."""

    number: int
    overrides: tuple[str, ...]
    path: Path
    config: RunConfig
    is_finished: bool = False
    "Whether the point was finished when the sweep started."

    def write_down(self) -> None:
        """Record the configuration as composed: a job trains this one, however long it is queued."""
        arguments = [*self.overrides, f"hydra.run.dir={self.path}"]
        write_launch(self.path, Launch(self.config.to_dict(), portable_imports(self.config.imports), arguments))

    def take_back(self) -> None:
        """Undo `write_down` for a point that was never started: a folder with nothing else goes."""
        forget_launch(self.path)
        with contextlib.suppress(OSError):  # it holds what an earlier start has trained
            self.path.rmdir()

    def score(self) -> float | None:
        """The best val/loss, which sweepers minimise; None if the run has not finished."""
        summary = RunDir(self.path).read_summary()
        return None if summary is None else float(summary.get("val/loss", math.nan))

    def result(self) -> JobReturn:
        """The point's result for Hydra. A failed point has no value; `Sweep.report` reports all failures."""
        result = JobReturn(overrides=list(self.overrides), working_dir=str(self.path), status=JobStatus.COMPLETED)
        result.return_value = self.score()
        return result

    def failure(self) -> MicrogptError:
        """The error that kept the point from finishing."""
        left = read_error(self.path)
        if left is not None:
            return left
        job = self.path / JOB
        where = f"; see {job.read_text(encoding='utf-8').split()[-1]}" if job.is_file() else ""
        return MachineError(f"its process ended without a word{where}")


class Sweep:
    """The points that this process has started, in order.

    Hydra takes the method `train_point` as its task function and passes it to the launcher, which uses it to find the
    sweep (`sweep_of`).
    """

    def __init__(self) -> None:
        self.points: list[Point] = []

    def train_point(self, tree: DictConfig) -> float | None:
        """Train one point in this process, for Hydra's own launcher. Return the score that sweepers minimise."""
        hydra = HydraConfig.get()
        located(Path(hydra.sweep.dir), "hydra.sweep.dir")
        point = self.add(tree, list(hydra.overrides.task), Path(hydra.runtime.output_dir), hydra.job.num)
        if point.is_finished:
            log.info("%s is finished", self.label(point))
        else:
            point.write_down()
            TrainPoint()(str(point.path))
        return point.score()

    def compose_point(self, tree: DictConfig, loader: Any, overrides: Sequence[str], number: int) -> Point:
        """Compose a point as Hydra's own launcher does, and add it.

        Args:
            tree: the sweep's configuration, with its hydra node.
            loader: Hydra's config loader.
        """
        tree = loader.load_sweep_config(tree, list(overrides))
        OmegaConf.set_struct(tree, False)
        tree.hydra.job.id, tree.hydra.job.num = str(number), number
        folder = Path(str(OmegaConf.select(tree, "hydra.sweep.dir")))
        located(folder, "hydra.sweep.dir")
        return self.add(tree, overrides, folder / str(OmegaConf.select(tree, "hydra.sweep.subdir")), number)

    def add(self, tree: DictConfig, overrides: Sequence[str], path: Path, number: int) -> Point:
        """Add a composed point, after checking it against its folder.

        Raises:
            ConfigError: the point cannot be trained.
            CheckpointError: the folder holds a point with other knobs.
        """
        from microgpt.engine.compose.compose import decode, drop_hydra_node, run_config
        from microgpt.engine.compose.words import as_typed

        tree = copy.deepcopy(tree)
        drop_hydra_node(tree, run_config(), overrides)
        config = decode(tree, run_config(), overrides)
        old, finished = launched_config(path), RunDir(path).read_summary() is not None
        if finished and old is not None:
            if differences := science_differences(old, config.to_dict()):
                fix = "start the sweep as before, or take another hydra.sweep.dir"
                raise CheckpointError(f"the point there has other knobs ({', '.join(differences[:4])})", str(path), fix)
            finished = {**old, "sweep": 0} == {**config.to_dict(), "sweep": 0}
        self.points.append(Point(number, tuple(map(as_typed, overrides)), path, config, finished and old is not None))
        return self.points[-1]

    def label(self, point: Point) -> str:
        """A point's label: its number and the overrides that distinguish it."""
        others = [other.overrides for other in self.points if other is not point]
        telling = [word for word in point.overrides if not others or any(word not in other for other in others)]
        return f"#{point.number} {' '.join(telling)}"

    def report(self) -> None:
        """Print a table of the points, what to do next, and the failed ones.

        Raises:
            MicrogptError: some points failed; the error has the first failure's class.
        """
        from microgpt.engine.compare.compare import summarise
        from microgpt.engine.compare.tables import FORMATS
        from microgpt.engine.report import next_commands

        done = [point for point in self.points if point.score() is not None]
        if done:
            print()
            sys.stdout.write(FORMATS["table"](summarise([point.path for point in done])))
            best = min(done, key=lambda point: (math.isnan(point.score() or 0.0), point.score()))
            compare = f"microgpt-compare {best.path.parent} --figures figures"
            print("\n  ".join(["next:", compare, *next_commands(best.path)]))
        failed = [(point, point.failure()) for point in self.points if point not in done]
        for point, error in failed:
            streams.warn(f"microgpt: error: point {self.label(point)}: {error} (run folder {point.path})")
        if failed:
            folder = self.points[0].path.parent
            kind = type(failed[0][1])
            fix = f"start the sweep again with hydra.sweep.dir={folder} to repeat these alone"
            raise kind(f"{len(failed)} of {len(self.points)} points failed", str(folder), fix)


def sweep_of(task: Any) -> Sweep:
    """The sweep whose `train_point` is Hydra's task function."""
    sweep = getattr(task, "__self__", None)
    if not isinstance(sweep, Sweep):
        raise TypeError(f"{task!r} is not the method train_point of a Sweep")
    return sweep


class TrainPoint:
    """Train the point in a folder; submitit calls this in a job.

    It reports an error and leaves it in the folder instead of raising it, so that the other points continue.
    """

    def __call__(self, path: str) -> float | None:
        try:
            with signals.handled():
                run = run_launched(Path(path))
        except signals.Stopped as stopped:
            signals.last_words(stopped)
            raise
        except MicrogptError as error:
            streams.warn(f"microgpt: error: {error} (run folder {path})")
            return None
        except Exception:
            traceback.print_exc()
            return None
        return None if run is None else run.summary.get("val/loss")

    def checkpoint(self, path: str) -> Any:
        """The job that submitit requeues if a signal arrives before our handlers are installed: the same call."""
        return submit_again(self, path)
