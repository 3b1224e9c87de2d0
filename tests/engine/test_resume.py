"""What a continued run says before it goes on."""

from collections.abc import Callable

import pytest

from microgpt import train
from microgpt.engine.config import RunConfig
from microgpt.engine.optim.adamw import AdamWConfig
from microgpt.engine.resume import Start, rate_change
from microgpt.engine.schedule import ScheduleConfig

Tiny = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("schedule", "was", "now", "last"),
    [
        ("linear", "1.0%", "50.0%", "0.5%"),
        ("cosine", "10.0%", "55.0%", "10.0%"),
        ("constant", "100.0%", "100.0%", "100.0%"),
        ("wsd", "5.0%", "100.0%", "2.5%"),
    ],
)
def test_more_steps_say_what_the_rate_will_do(schedule: str, was: str, now: str, last: str) -> None:
    optim = AdamWConfig(warmup_steps=0, schedule=ScheduleConfig.members[schedule]())
    config = RunConfig(optim=optim)
    said = rate_change(config, Start(manifest={"step": 100, "fingerprint": {"total_steps": 100}}), 200)
    assert said == (
        f"100 steps were planned and 200 are now: the learning rate, at {was} of its peak in step 100, "
        f"goes on at {now} and ends at {last} (schedule {schedule})"
    )


@pytest.mark.parametrize("recorded", [{"total_steps": 200}, {}, {"total_steps": "200"}])
def test_the_same_or_an_unknown_number_of_steps_says_nothing(recorded: dict[str, object]) -> None:
    assert rate_change(RunConfig(), Start(manifest={"step": 100, "fingerprint": recorded}), 200) == ""


def test_a_run_that_goes_on_says_it(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny())
    train(tiny())
    assert "more with a higher trainer.max_steps, which stretches the learning-rate schedule" in capsys.readouterr().out
    train(tiny("trainer.max_steps=12"))
    assert "warning: 6 steps were planned and 12 are now: the learning rate, at " in capsys.readouterr().out
