"""TensorBoard (https://www.tensorflow.org/tensorboard), in the run folder."""

from typing import Any

from microgpt.engine.addons import LoggedRun, LoggerConfig


class TensorBoardConfig(LoggerConfig, name="tensorboard"):
    """Curves, samples and figures in `events.out.*`: `tensorboard --logdir runs`."""

    def build(self, run: LoggedRun) -> Any:
        from microgpt.engine.fit.tensorboard import TensorBoardLog

        return TensorBoardLog(run.folder, run.resume_step)
