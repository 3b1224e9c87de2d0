"""TensorBoard: hyperparameters that were set come first, interrupted runs have theirs, samples name their prompt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from microgpt import train
from microgpt.engine.config import RunConfig
from microgpt.engine.fit.callbacks.sample import Sample
from microgpt.engine.fit.hyperparameters import hyperparameters
from microgpt.model.config import GPTConfig

Tiny = Callable[..., list[str]]


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return events


def session(events: EventAccumulator, name: str) -> Any:
    data = HParamsPluginData()
    data.ParseFromString(events.SummaryMetadata(f"_hparams_/{name}").plugin_data.content)
    return data


def test_knobs_that_were_set_come_first_and_the_corpus_is_the_one_read() -> None:
    knobs = list(hyperparameters(RunConfig(seed=5, model=GPTConfig(n_layer=7)), "book.txt").items())
    assert dict(knobs[:3]) == {"seed": 5, "data.corpus": "book.txt", "model.n_layer": 7}
    assert len(knobs) == len(dict(knobs)) > 50


def test_a_finished_run_has_its_hyperparameters_groups_and_prompts(tiny: Tiny, tmp_path: Path, book: Path) -> None:
    train(tiny("sample.every_n_steps=6", "sample.prompts=[the cat,'']"))
    events = read(tmp_path / "run")
    start = session(events, "session_start_info").session_start_info.hparams
    assert start["data.corpus"].string_value == str(book)
    assert start["model.n_layer"].number_value == 2
    experiment = session(events, "experiment").experiment
    order = [info.name for info in experiment.hparam_infos]
    assert order.index("model.n_layer") < order.index("optim.lr") or "optim.lr" not in order[:40]
    assert {"val/loss", "val/bpc"} <= {info.name.tag for info in experiment.metric_infos}
    assert session(events, "session_end_info").HasField("session_end_info")
    assert any(tag.startswith("custom_scalars") for tag in events.Tags()["tensors"])
    text = events.Tensors("samples/0/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.startswith("**prompt**\n\n    the cat\n\n**continued**\n\n    ")
    texts = sorted(tag for tag in events.Tags()["tensors"] if tag.endswith("text_summary"))
    assert texts.index("samples/0/text_summary") < texts.index("weights/text_summary")


def test_an_interrupted_run_has_its_hyperparameters_too(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("interrupted")

    monkeypatch.setattr(Sample, "on_step_end", fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        train(tiny())
    events = read(tmp_path / "run")
    assert session(events, "session_start_info").session_start_info.hparams["seed"].number_value == 1337
    with pytest.raises(KeyError):
        session(events, "session_end_info")
