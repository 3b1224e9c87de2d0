"""Stop after a set time (Lightning's Timer)."""

import logging
from datetime import timedelta
from typing import Any

from microgpt.config import Positive
from microgpt.engine.addons import CallbackConfig

log = logging.getLogger("microgpt")


class TimerConfig(CallbackConfig, name="timer"):
    """Stops training at the end of a step once the time is up, then evaluates and saves. A resumed run counts its
    earlier time too: give it more minutes to continue."""

    minutes: Positive = 60.0
    "Minutes of training, summed over all sessions of a resumed run."

    def build(self) -> Any:
        from lightning.pytorch.callbacks import Timer

        minutes = self.minutes

        class RunTimer(Timer):
            """Lightning's timer, which also reports the stop in the run's log."""

            @property
            def state_key(self) -> str:
                return Timer.__qualname__

            def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
                was_stopping = trainer.should_stop
                super().on_train_batch_end(trainer, *args, **kwargs)
                if trainer.should_stop and not was_stopping:
                    log.info("%g minutes of training are over: stopping at step %d", minutes, trainer.global_step)

        return RunTimer(duration=timedelta(minutes=minutes))
