"""What Unix or Linux alone has is never needed: a run trains, resumes and generates where it is taken away.

Nobody has tried Windows. This takes from Python what it lacks there, once the other libraries are imported.
"""

import json
import subprocess
import sys
from pathlib import Path

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "posix")
NAMES = {
    "os": "getuid geteuid getpgid killpg fork sched_getaffinity sysconf pread pwrite getloadavg O_NOFOLLOW O_CLOEXEC "
    "O_DIRECTORY O_NONBLOCK posix_fadvise sendfile",
    "signal": "SIGHUP SIGALRM SIGCHLD SIGQUIT pthread_sigmask setitimer",
}
PROGRAM = """
import builtins, json, multiprocessing, os, pathlib, signal, subprocess, sys, tempfile
import lightning.pytorch, numpy, tensorboard, torch, yaml
modules, names, knobs = json.loads(sys.argv[1])
import torch.utils.tensorboard, hydra, matplotlib.pyplot, rich.progress
for name in modules:
    sys.modules[name] = None
for module, missing in names.items():
    for name in missing.split():
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
reads, opens = builtins.open, os.open
def elsewhere(way):
    def opened(path, *rest, **more):
        if str(path).startswith(("/proc/", "/sys/")):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return way(path, *rest, **more)
    return opened
builtins.open, os.open = elsewhere(reads), elsewhere(opens)
import io
io.open = builtins.open
from microgpt import load, train
train([*knobs, "trainer.max_steps=2"])
run = train(knobs)
assert run.summary["step"] == 4, run.summary
print(load(run.folder).generate("a", max_new_tokens=5))
"""


def test_a_run_needs_nothing_that_windows_lacks(tmp_path: Path, book: Path) -> None:
    knobs = [
        f"data.path={book}", "model=gpt-nano", "model.block_size=16", "data.batch_size=4", "trainer.max_steps=4",
        "trainer.compile=false", "trainer.precision=32-true", "optim.schedule=constant", "optim.warmup_steps=0",
        "trainer.progress=none", "eval.figures=always", f"hydra.run.dir={tmp_path / 'run'}",
    ]  # fmt: skip
    given = json.dumps([MODULES, NAMES, knobs])
    done = subprocess.run([sys.executable, "-c", PROGRAM, given], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "summary.json").is_file()
