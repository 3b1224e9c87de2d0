"""Train in several processes on this machine, one per device."""

import os
from collections.abc import Sequence

from microgpt.engine.config import RunConfig
from microgpt.engine.process import cluster, signals
from microgpt.engine.process.launch import free_port, processes, start, wait_together
from microgpt.engine.process.stopping import said_for_us
from microgpt.engine.store.launch_file import Launch, forget_launch, read_error, write_launch
from microgpt.engine.store.run_folder import RunDir
from microgpt.errors import MicrogptError
from microgpt.registry import portable_imports


def train_in_ranks(config: RunConfig, run_dir: RunDir, arguments: Sequence[str], count: int) -> None:
    """Train with `count` ranks on this machine; the other arguments are as for `microgpt.engine.train.run`.

    Args:
        run_dir: the folder, claimed by this process; the ranks hold it too, until the last of them has ended.

    Raises:
        MicrogptError: a rank failed; this is the error that the first of them left in the folder.
        signals.Stopped: a signal arrived; the ranks have saved and exited.
    """
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    if "OMP_NUM_THREADS" not in os.environ:  # the ranks share the cores
        common["OMP_NUM_THREADS"] = max(1, (os.cpu_count() or 1) // count)
    path = run_dir.path
    write_launch(path, Launch(config.to_dict(), portable_imports(config.imports), arguments))
    try:
        with processes() as ranks:
            for rank in range(count):
                env = {**common, cluster.OURS: 1, "RANK": rank, "LOCAL_RANK": rank}
                ranks.append(start(path, env, lock=run_dir.lock))
            failed = wait_together(ranks)
        if failed is not None:
            code = ranks[failed].returncode
            raise read_error(path, failed) or MicrogptError(f"rank {failed} ended with exit code {code}", str(path))
    except signals.Stopped as stopped:
        if ranks and ranks[0].returncode == 128 + stopped.number:
            said_for_us()
        raise
    finally:
        if run_dir.is_new and not run_dir.config.exists():  # the run has not begun: leave no trace
            forget_launch(path)
