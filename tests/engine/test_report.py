"""The last lines of a run: one unit, a sentence, and a sample as `sample.*` says."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt import load, train
from microgpt.engine.config import RunConfig
from microgpt.engine.report import closing_sample
from microgpt.engine.trained.sample import SampleConfig

Tiny = Callable[..., list[str]]


def test_the_closing_lines_have_one_unit_and_say_what_it_means(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tiny("trainer.max_steps=40", "eval.every_n_steps=10"))
    assert run is not None
    closing = capsys.readouterr().out.split("score on the validation split")[1]
    assert "nats" not in closing
    scores = {m[1].strip(): float(m[2]) for m in re.finditer(r"^  (\S.*?)  +([\d.]+)$", closing, re.MULTILINE)}
    assert scores["this model"] == pytest.approx(run.summary["val/bpc"], abs=1e-4)
    assert 3.5 < scores["token frequencies"] < 4.5  # bits; in nats it is 2.7
    assert scores["5-gram counts"] < scores["token frequencies"]
    assert re.search(r"^Better than token frequencies by .*; still falling .* trainer\.max_steps=80\.$",
                     closing, re.MULTILINE)  # fmt: skip


def test_the_closing_sample_is_the_likeliest_text_at_temperature_0(tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny("sample.temperature=0", "sample.prompts=[the]", "sample.max_new_tokens=40", "seed=3"))
    assert run is not None
    greedy = run.generate("the", max_new_tokens=40, temperature=0)
    log = (tmp_path / "run" / "train.log").read_text()
    assert greedy.strip() in log


@pytest.mark.parametrize("knob", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_every_knob_of_sample_holds_for_the_closing_sample(knob: dict[str, float], tiny: Tiny) -> None:
    run = train(tiny())
    assert run is not None
    config = RunConfig(sample=SampleConfig(prompts=("the",), max_new_tokens=60, **knob))  # type: ignore[arg-type]
    assert closing_sample(run, config) == run.generate("the", max_new_tokens=60, temperature=0)


def test_characters_that_fine_tuning_leaves_out_are_said_and_recorded(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny())
    other = tmp_path / "other.txt"
    other.write_text("the cat é sat.\n" * 400 + "ß" * 7, encoding="utf-8")
    capsys.readouterr()
    tuned = [f"data.path={other}", f"model.pretrained={tmp_path / 'run'}", f"hydra.run.dir={tmp_path / 'tuned'}"]
    for policy, said in (("skip", "were left out"), ("replace", "were replaced by a stand-in")):
        words = [word for word in tiny() if not word.startswith(("data.path", "hydra.run.dir", "model"))]
        train([*words, *tuned[:2], f"hydra.run.dir={tmp_path / policy}", f"data.unknown={policy}"])
        out = capsys.readouterr().out
        assert f"407 of 6,007 characters (6.8%) are not in the model's vocabulary and {said}: " in out
        assert "'é' U+00E9 x400, 'ß' U+00DF x7" in out
        summary = json.loads((tmp_path / policy / "summary.json").read_text())
        assert summary["unknown_characters"] == 407
        assert summary["unknown_most"] == {"é": 400, "ß": 7}
    assert load(tmp_path / "run").summary["unknown_characters"] == 0
    assert math.isfinite(summary["val/loss"])
