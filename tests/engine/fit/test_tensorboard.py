"""TensorBoard: hyperparameters that were set come first, interrupted runs have theirs, samples name their prompt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import backend_context
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
    settings = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode().splitlines()
    order = [line.split(" | ")[0].lstrip("| ") for line in settings[2:]]
    assert set(order) == set(start)
    assert order.index("model.n_layer") < order.index("checkpoint.keep")
    assert session(events, "session_end_info").HasField("session_end_info")
    assert any(tag.startswith("custom_scalars") for tag in events.Tags()["tensors"])
    text = events.Tensors("samples/0/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.startswith("**prompt**\n\n    the cat\n\n**continued**\n\n    ")
    texts = sorted(tag for tag in events.Tags()["tensors"] if tag.endswith("text_summary"))
    assert texts == [
        "samples/0/text_summary",
        "samples/1/text_summary",
        "settings/text_summary",
        "weights/text_summary",
    ]


def test_the_table_of_several_runs_begins_with_what_differs(tiny: Tiny, tmp_path: Path) -> None:
    for name, words in {"a": ("model.pos=rope", "seed=1"), "b": ("model.pos=alibi", "seed=2")}.items():
        train(tiny(*words, "trainer.max_steps=1", f"hydra.run.dir={tmp_path / 'runs' / name}"))
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "runs"))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    context = backend_context.Context(TBContext(data_provider=provider))
    request = RequestContext()
    found = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(request, "", True, found, [])
    order = [info.name for info in experiment.hparam_infos]
    assert set(order[: order.index("checkpoint.every_n_steps")]) == {"model.pos.name", "seed"}
    assert {"val/loss", "val/bpc", "train/loss"} <= {info.name.tag for info in experiment.metric_infos}


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
