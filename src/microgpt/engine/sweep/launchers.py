"""Launch a sweep's points: several at a time on this machine, or as a SLURM job array.

Hydra looks for plugins in the package `hydra_plugins`, which every Hydra program in an environment imports. microgpt
registers its plugins under that name only when it runs a sweep.
"""

import contextlib
import importlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from microgpt import files
from microgpt.engine.process import launch, signals
from microgpt.engine.sweep.packages import require_package
from microgpt.engine.sweep.points import JOB, Point, Sweep, TrainPoint, sweep_of
from microgpt.engine.sweep.search import OptunaSweeper
from microgpt.engine.sweep.submitit_private import slurm_executor
from microgpt.errors import MachineError, UsageError
from microgpt.text import one_line

log = logging.getLogger("microgpt")


class PointLauncher(Launcher):
    """Compose every point, skip the finished ones, and call `train` for the others."""

    config: DictConfig
    hydra_context: HydraContext
    sweep: Sweep

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config, self.sweep = hydra_context, config, sweep_of(task_function)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        loader = self.hydra_context.config_loader
        points = [
            self.sweep.compose_point(self.config, loader, overrides, initial_job_idx + i)
            for i, overrides in enumerate(job_overrides)
        ]
        for point in points:
            if point.is_finished:
                self.say(point, "finished before")
        if todo := [point for point in points if not point.is_finished]:
            self.train(todo)
        return [point.result() for point in points]

    def train(self, points: list[Point]) -> None:
        """Train the points; a failing point leaves its error in its folder."""
        raise TypeError(f"{type(self).__name__} trains nothing")

    def say(self, point: Point, news: str) -> None:
        """Print news of a point."""
        print(f"{self.sweep.label(point)}: {news}", flush=True)


class LocalLauncher(PointLauncher):
    """Train `n_jobs` points at a time, each in a separate process that writes to `output.log` in the point's folder."""

    def __init__(self, n_jobs: int) -> None:
        if n_jobs < 1:
            raise UsageError(f"n_jobs={n_jobs}", "hydra.launcher", "it must be 1 or more")
        self.n_jobs = n_jobs

    def train(self, points: list[Point]) -> None:
        if any(point.config.sweep.detach for point in points):
            raise UsageError("sweep.detach=true needs SLURM", "", "add hydra/launcher=slurm")
        for point in points:
            point.write_down()
        waiting, running = list(points), dict[int, tuple[Point, subprocess.Popen[bytes]]]()
        with launch.processes() as started, contextlib.ExitStack() as outputs:
            while waiting or running:
                for slot in set(range(self.n_jobs)) - running.keys():
                    if waiting:
                        point = waiting.pop(0)
                        output = outputs.enter_context((point.path / "output.log").open("ab"))
                        process = launch.start(point.path, self.environment(slot, point), output)
                        started.append(process)
                        running[slot] = point, process
                        self.say(point, f"started, see {point.path}/output.log")
                for slot, (point, process) in list(running.items()):
                    if process.poll() is not None:
                        del running[slot]
                        score = point.score()
                        self.say(point, "failed" if score is None else f"val/loss {score:.4f}")
                time.sleep(0.05)

    def environment(self, slot: int, point: Point) -> dict[str, object]:
        """The environment of a point's process: its share of the cores, and its own GPUs."""
        import torch

        env: dict[str, object] = {}
        if "OMP_NUM_THREADS" not in os.environ:
            env["OMP_NUM_THREADS"] = max(1, (os.cpu_count() or 1) // self.n_jobs)
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = shown.split(",") if shown else [str(i) for i in range(torch.cuda.device_count())]
        each = len(gpus) // self.n_jobs if point.config.trainer.devices == "auto" else int(point.config.trainer.devices)
        if gpus and each:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[(slot * each + i) % len(gpus)] for i in range(each))
        return env


class SlurmLauncher(PointLauncher):
    """Submit the points as one SLURM job array through submitit.

    Args:
        submitit_folder: folder for submitit's files.
        gpus_per_device: 1 requests `trainer.devices` GPUs per node, 0 none.
        max_num_timeout: how often submitit itself may requeue a job; our jobs requeue themselves.
        parameters: sbatch parameters, under submitit's names.
    """

    COMMON = frozenset("name timeout_min mem_gb cpus_per_task gpus_per_node stderr_to_stdout".split())

    def __init__(self, submitit_folder: str, gpus_per_device: int, max_num_timeout: int, **parameters: Any) -> None:
        self.folder, self.gpus_per_device, self.max_num_timeout = submitit_folder, gpus_per_device, max_num_timeout
        self.parameters = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in parameters.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        require_package("submitit", "slurm")
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def train(self, points: list[Point]) -> None:
        shape = self.shape(points)
        refuse_queued(points)
        for point in points:
            point.write_down()
        try:
            jobs = self.submit(points, shape)
        except MachineError:
            for point in points:
                point.take_back()
            raise
        for point, job in zip(points, jobs, strict=True):
            files.write(point.path / JOB, f"{job.job_id} {job.paths.stdout}\n")
            self.say(point, f"job {job.job_id}, run folder {point.path}")
        array = jobs[0].job_id.split("_")[0]
        print(f"follow: squeue -j {array}; tail -f {points[0].path}/train.log; end: scancel {array}", flush=True)
        if points[0].config.sweep.detach:
            return
        try:
            while not all(job.done() for job in jobs):
                time.sleep(1.0)
        except (signals.Stopped, KeyboardInterrupt):
            print(f"\nmicrogpt: the jobs go on without this; scancel {array} ends them", flush=True)
            raise

    def shape(self, points: list[Point]) -> tuple[int, int]:
        """The number of nodes and of tasks per node, one rank per task. An array has one shape.

        Raises:
            UsageError: the points need different shapes, or do not specify one.
        """
        shapes = {(point.config.trainer.num_nodes, point.config.trainer.devices) for point in points}
        if len(shapes) > 1:
            fix = "sweep one shape at a time"
            raise UsageError("points of different trainer.num_nodes or trainer.devices in one array of jobs", "", fix)
        ((nodes, devices),) = shapes
        if devices == "auto":
            fix = "say how many devices each node has"
            raise UsageError("trainer.devices=auto does not tell SLURM how many to give", "", fix)
        return nodes, int(devices)

    def submit(self, points: list[Point], shape: tuple[int, int]) -> list[Any]:
        """Submit the array.

        Raises:
            MachineError: SLURM refuses the job or is not available.
        """
        given = dict(self.parameters)
        if self.gpus_per_device:
            given["gpus_per_node"] = self.gpus_per_device * shape[1]
        named = {key if key in self.COMMON else f"slurm_{key}": value for key, value in given.items()}
        try:
            executor = slurm_executor(self.folder, self.max_num_timeout)
            executor.update_parameters(nodes=shape[0], tasks_per_node=shape[1], **named)
            return list(executor.map_array(TrainPoint(), [str(point.path.resolve()) for point in points]))
        except (RuntimeError, OSError, ValueError, NameError) as error:  # submitit's own errors are RuntimeErrors
            said = one_line(error, 4000)[-400:]
            fix = "see sinfo, and hydra.launcher.partition, .timeout_min, .mem_gb, .additional_parameters"
            raise MachineError(f"SLURM takes no jobs ({said})", "", fix) from None


def refuse_queued(points: list[Point]) -> None:
    """Refuse to submit points that are queued or running already.

    Raises:
        UsageError: some are; the error names their jobs.
    """
    known = {point: point.path / JOB for point in points}
    jobs = [file.read_text(encoding="utf-8").split()[0] for file in known.values() if file.is_file()]
    if not jobs:
        return
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={','.join(jobs)}"]
    with contextlib.suppress(OSError):
        queue = subprocess.run(command, capture_output=True, text=True).stdout.split()
        if queue:
            arrays = ", ".join(sorted({job.split("_")[0] for job in jobs}))
            raise UsageError(
                f"{len(queue)} points are still {queue[0].lower()}", f"job {arrays}", "wait for them, or scancel them"
            )


def register() -> None:
    """Register our launchers and sweeper with Hydra as `hydra_plugins.microgpt.<name>`."""
    try:
        importlib.import_module("hydra_plugins")
    except ImportError:  # no other plugin is installed
        package = ModuleType("hydra_plugins")
        package.__path__ = []  # Hydra looks for plugins along it
        sys.modules["hydra_plugins"] = package
    sys.modules["hydra_plugins.microgpt"] = sys.modules[__name__]
    for plugin in (LocalLauncher, SlurmLauncher, OptunaSweeper):
        plugin.__module__ = "hydra_plugins.microgpt"
        Plugins.instance().register(plugin)
