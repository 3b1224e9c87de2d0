"""Training on a real SLURM: several nodes learn what one process learns, and whatever stops a job, no step is lost."""

import csv
import json
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mini_slurm import MiniSlurm

from microgpt import load, train
from microgpt.engine.store import checkpoint

pytestmark = pytest.mark.slurm
SCRIPT = Path(__file__).parents[2] / "scripts" / "train.slurm"
TINY = (
    "model=gpt-nano model.n_layer=1 model.block_size=16 data.batch_size=8 trainer.compile=false trainer.progress=none "
    "trainer.log_every_n_steps=1 eval.every_n_steps=0 eval.figures=never sample.every_n_steps=0 sample.max_new_tokens=8"
).split()
ENV = f"PYTHONPATH={SCRIPT.parents[1] / 'src'} OMP_NUM_THREADS=1"
Submit = Callable[..., str]


@pytest.fixture
def submit(cluster: MiniSlurm, tmp_path: Path, book: Path) -> Submit:
    """Submit scripts/train.slurm, as it is, with sbatch's options and a tiny run's overrides; returns the job's id."""
    command = tmp_path / "bin" / "microgpt-train"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m microgpt.engine.commands.train "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)

    def submit(*arguments: str, options: tuple[str, ...] = ()) -> str:
        env = f"export PATH={command.parent}:$PATH {ENV} MICROGPT_CACHE={tmp_path}/cache"
        words = " ".join([*TINY, f"data.path={book}", *arguments])
        script = f"{env}\ncd {tmp_path}\nbash {SCRIPT} {words}"
        flags = ("--requeue", "--signal=USR1@120", "--time=10", "--cpus-per-task=1")
        return cluster.submit(script, *flags, *options)

    return submit


def steps(run: Path) -> list[int]:
    if not (run / "metrics.csv").is_file():
        return []
    with (run / "metrics.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]


def wait_for_steps(cluster: MiniSlurm, job: str, run: Path, starts: int, started: str = "600 steps of") -> None:
    """Wait until a job that was started so many times trains: its newest start has logged a step."""
    end = time.monotonic() + 120
    while cluster.output(job).count(started) < starts:
        assert time.monotonic() < end, cluster.output(job)
        time.sleep(0.2)
    before = (run / "metrics.csv").stat().st_mtime_ns if starts > 1 else 0
    while not steps(run) or (run / "metrics.csv").stat().st_mtime_ns <= before:
        assert time.monotonic() < end, cluster.output(job)
        time.sleep(0.1)


@pytest.mark.parametrize(("precision", "within"), [("64-true", 1e-10), ("32-true", 1e-4)])
def test_two_nodes_of_two_tasks_learn_what_one_process_learns_in_a_job_named_bash(
    precision: str, within: float, cluster: MiniSlurm, submit: Submit, tmp_path: Path, book: Path
) -> None:
    exact = (f"trainer.precision={precision}", "optim=adamw", "trainer.max_steps=6")
    job = submit(*exact, options=("--nodes=2", "--ntasks-per-node=2", "--job-name=bash"))
    one = train([*TINY, *exact, f"data.path={book}", f"hydra.run.dir={tmp_path / 'one'}"])
    assert cluster.wait(job, timeout=150) == "COMPLETED", cluster.output(job)
    run = tmp_path / "runs" / f"slurm-{job}"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["world_size"] == 4
    assert one is not None
    assert abs(summary["val/loss"] - one.summary["val/loss"]) < within
    assert steps(run) == [1, 2, 3, 4, 5, 6]
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_job_stopped_five_times_ends_as_if_never_stopped(
    cluster: MiniSlurm, submit: Submit, tmp_path: Path, book: Path
) -> None:
    common = ("trainer.precision=32-true", "trainer.max_steps=600", "model.dropout=0.1")
    job = submit(*common, options=("--nodes=2", "--ntasks-per-node=1"))
    run = tmp_path / "runs" / f"slurm-{job}"
    stops: list[Callable[[], object]] = [
        lambda: cluster.wait(cluster.preempt(job), "COMPLETED", timeout=90),
        lambda: cluster.requeue(job),
        *[lambda: cluster.signal(job, "USR1")] * 3,  # what SLURM sends before the time limit
    ]
    for number, stop in enumerate(stops, start=1):
        wait_for_steps(cluster, job, run, number)
        stop()
        end = time.monotonic() + 60
        while cluster.restarts(job) < number:
            assert time.monotonic() < end, cluster.output(job)
            time.sleep(0.2)
    assert cluster.wait(job, timeout=180) == "COMPLETED", cluster.output(job)
    assert cluster.restarts(job) == 5
    assert steps(run) == list(range(1, 601))
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert cluster.output(job).count("saved at step") == 5
    assert cluster.output(job).count("it continues bit for bit") == 5
    folder = tmp_path / "reference"
    reference = train([*TINY, *common, "trainer.devices=2", f"data.path={book}", f"hydra.run.dir={folder}"])
    assert reference is not None
    weights = load(run).model.state_dict()
    assert all(weights[name].equal(tensor) for name, tensor in reference.model.state_dict().items())


LINGERING = """
import os, time
from microgpt.engine.schedule.linear import LinearConfig

class LingeringConfig(LinearConfig, name="lingering"):
    def factor(self, step, total_steps, warmup_steps):
        time.sleep(0.2 if "SLURM_JOB_ID" in os.environ else 0)
        return super().factor(step, total_steps, warmup_steps)
"""
"""A user's own schedule, which makes a job last whatever the machine: 2,000 steps take seven minutes."""


@pytest.mark.timeout(1500)
@pytest.mark.slow
def test_a_job_preempted_requeued_and_ended_by_its_time_limit_three_times_ends_as_if_never_stopped(
    cluster: MiniSlurm, submit: Submit, tmp_path: Path, book: Path
) -> None:
    schedules = tmp_path / "mine" / "optim.schedule"
    schedules.mkdir(parents=True)
    (schedules / "lingering.yaml").write_text("name: lingering\n")
    (tmp_path / "mine" / "lingering.py").write_text(LINGERING)
    own = (f"imports=[{tmp_path}/mine/lingering.py]", "optim.schedule=lingering", "trainer.log_every_n_steps=1")
    common = ("trainer.precision=32-true", "trainer.max_steps=2000", "model.dropout=0.1", *own)
    # sbatch takes the last of two equal options: SLURM's own signal comes 20 to 80 s before the end of two minutes.
    options = ("--nodes=2", "--ntasks-per-node=1", "--time=2", "--signal=USR1@20")
    job = submit(*common, "--config-dir", str(tmp_path / "mine"), options=options)
    run = tmp_path / "runs" / f"slurm-{job}"
    wait_for_steps(cluster, job, run, 1, "2000 steps of")
    cluster.wait(cluster.preempt(job), "COMPLETED", timeout=90)
    wait_for_steps(cluster, job, run, 2, "2000 steps of")
    cluster.requeue(job)
    assert cluster.wait(job, timeout=1200) == "COMPLETED", cluster.output(job)
    restarts, output = cluster.restarts(job), cluster.output(job)
    assert restarts >= 5
    assert output.count("SIGUSR1: stopping after this step") >= 3  # both ranks may say so
    assert output.count("it continues bit for bit") == output.count("saved at step") == restarts
    assert steps(run) == list(range(1, 2001))
    assert len(list((tmp_path / "runs").iterdir())) == 1
    folder = tmp_path / "reference"
    reference = train(
        [*TINY, *common, "trainer.devices=2", f"data.path={book}", f"hydra.run.dir={folder}"],
        config_dir=tmp_path / "mine",
    )
    assert reference is not None
    weights = load(run).model.state_dict()
    assert all(weights[name].equal(tensor) for name, tensor in reference.model.state_dict().items())


def test_a_cancelled_job_saves_says_how_to_go_on_and_is_not_requeued(
    cluster: MiniSlurm, submit: Submit, tmp_path: Path, book: Path
) -> None:
    common = ("trainer.precision=32-true", "trainer.max_steps=60000", "checkpoint.every_n_steps=50000")
    job = submit(*common, options=("--nodes=2", "--ntasks-per-node=1"))
    run = tmp_path / "runs" / f"slurm-{job}"
    while not steps(run):
        cluster.wait_output(job, "60000 steps of", timeout=120)
        time.sleep(0.1)
    cluster.run("scancel", job)  # SIGCONT and SIGTERM to every task, and SIGKILL after KillWait
    assert cluster.wait(job, "CANCELLED", timeout=60) == "CANCELLED"
    assert cluster.restarts(job) == 0
    output = cluster.output(job)
    (said,) = [line for line in output.splitlines() if line.startswith("saved at step ")]
    (saved,) = checkpoint.checkpoints(run / "checkpoints")
    checkpoint.verify(saved)
    step = int(saved.name[5:])
    assert said.startswith(f"saved at step {step}; go on with: microgpt-train trainer.num_nodes=2 trainer.devices=1 ")
    assert said.endswith(f" hydra.run.dir=runs/slurm-{job}")
    assert f"job {job} is " in output
    assert ": leaving it to SLURM" in output
    assert "is requeued" not in output
    assert "Traceback" not in output
    assert steps(run) == list(range(1, step + 1))
    longer = (*common[:1], f"trainer.max_steps={step + 2}", f"hydra.run.dir={run}")
    again = train([*TINY, *longer, f"data.path={book}"])
    assert again is not None
    assert steps(run) == list(range(1, step + 3))


def test_tasks_that_do_not_fit_the_devices_stop_with_one_clear_line(
    cluster: MiniSlurm, tmp_path: Path, book: Path
) -> None:
    words = " ".join([*TINY, "trainer.max_steps=2", f"data.path={book}", f"hydra.run.dir={tmp_path}/run"])
    command = f"{sys.executable} -m microgpt.engine.commands.train {words}"
    job = cluster.submit(
        f"export {ENV} MICROGPT_CACHE={tmp_path}/cache\nsrun -n1 -N1 {command} trainer.devices=2; echo one $?\n"
        f"srun -n2 {command}; echo two $?\n{command} trainer.num_nodes=2; echo three $?",
        "--ntasks-per-node=2",
    )
    assert cluster.wait(job, timeout=120) == "COMPLETED"
    output = cluster.output(job)
    asks = "but trainer.num_nodes=1 x trainer.devices"
    assert f"srun started 1 task (1 on each of 1 node), {asks}=2 asks for 2" in output
    assert f"srun started 2 tasks (2 on each of 1 node), {asks}=1 asks for 1" in output
    assert "trainer.num_nodes=2, but this process was not started on 2 nodes" in output
    assert output.count("microgpt: error:") == 3
    codes = [line for line in output.splitlines() if line.startswith(("one", "two", "three"))]
    assert codes == ["one 2", "two 2", "three 2"]
    assert not (tmp_path / "run").exists()
