"""No knob is silently without effect: where one depends on another that is off, it is refused, warned of, or meant."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from microgpt import train
from microgpt.config import ConfigError
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.config import RunConfig, flatten
from microgpt.engine.fit.idle_knobs import IDLE, idle_knobs
from microgpt.engine.prepare import find, set_up
from microgpt.engine.resume import Start
from microgpt.engine.store.run_folder import RunDir

Tiny = Callable[..., list[str]]

NO_VAL = "data.val_fraction=0"
WARNED = {
    ("trainer.early_stopping_patience=2", NO_VAL): "there is no validation split; set data.val_fraction",
    ("trainer.early_stopping_patience=2", "eval.every_n_steps=0"): "eval.every_n_steps=0 evaluates at the end alone; "
    "set it",
    ("trainer.early_stopping_patience=2", "eval.every_n_steps=2"): "it needs 3 evaluations before the last of 6 steps; "
    "lower eval.every_n_steps from 2",
    ("eval.figures=always", NO_VAL): "figures are drawn at an evaluation, and there is no validation split; set "
    "data.val_fraction",
    ("eval.figures=always", "logger=csv"): "no logger takes figures; choose one that does, such as logger=tensorboard",
    ("eval.protocol=sliding", NO_VAL): "there is no split to score; set data.val_fraction or data.test_fraction",
    ("eval.batch_size=4", NO_VAL): "there is no split to score; set data.val_fraction or data.test_fraction",
    ("sample.top_k=3", "sample.temperature=0"): "sample.temperature=0 takes the likeliest token; raise it",
    ("sample.top_p=0.5", "sample.temperature=0"): "sample.temperature=0 takes the likeliest token; raise it",
    ("sample.min_p=0.1", "sample.temperature=0"): "sample.temperature=0 takes the likeliest token; raise it",
    ("trainer.compile_mode=max-autotune",): "the run is not compiled; set trainer.compile=true",
    ("trainer.strategy=ddp",): "the run has one process; raise trainer.devices",
    ("lora.alpha=8",): "lora.rank=0 trains the weights themselves; set it",
    ("lora.targets=[attn.out]",): "lora.rank=0 trains the weights themselves; set it",
    ("data.document_windows=across",): "the text is not read as documents; set data.documents",
    ("data.separator=x", "data.documents=lines"): "it is for data.documents=separator alone",
    ("data.jsonl_key=body",): "it is for data.documents=jsonl alone",
    ("data.dtype=uint8",): "it is for .bin files alone",
    ("data.vocab_size=300",): "the tokenizer has a vocabulary of its own; it is for data.tokenizer=bpe",
}
"""A knob and what makes it idle -> the reason that is given."""
HEARD = (
    ("trainer.early_stopping_patience=2", "eval.every_n_steps=1"),
    ("eval.figures=always", "logger=tensorboard"),
    ("eval.protocol=sliding", NO_VAL, "data.test_fraction=0.1"),
    ("sample.top_k=3",),
    ("trainer.compile_mode=max-autotune", "trainer.compile=true"),
    ("lora.alpha=8", "lora.rank=2"),
    ("data.document_windows=across", "data.documents=lines"),
    ("data.separator=dog", "data.documents=separator"),
    ("data.vocab_size=300", "data.tokenizer=bpe"),
)
"""The same knobs where they have an effect."""
REFUSED: dict[tuple[str, ...], str] = {
    ("data.path=a.txt", "data.url=https://example.org/a"): "data.url: data.path decides",
    ("data.path=a.txt", "data.sha256=" + 64 * "0"): "data.sha256: data.path decides",
    ("data.path=a.txt", "data.size=5"): "data.size: data.path decides",
    ("data.path=a.txt", "data.corpus=manual"): "data.corpus: data.path decides",
    ("trainer.max_epochs=2", "trainer.max_steps=3"): "trainer.max_epochs: trainer.max_steps decides",
    ("model.pretrained=gpt2", "data.tokenizer=byte"): "data.tokenizer: model.pretrained decides",
    ("trainer.micro_batch_size=3", "data.batch_size=4"): "trainer.micro_batch_size: 3 does not divide",
}
REFUSED_ELSEWHERE = {
    "data.tokenizer": "pretrained without model.pretrained, in RunConfig.check",
    "sweep.detach": "without SLURM, in sweep/launchers.py, and without -m, in commands/train.py",
    "trainer.freeze": "a pattern that matches nothing, in model/lora.py",
    "inspect.every_n_steps": "where nothing can repeat, in fit/checks.py",
}
MEANT = {
    "data.encoding data.unknown data.documents data.batch_size data.val_fraction data.test_fraction data.sampling "
    "data.cache_dir": "describe every text, or leave nothing to do where there is nothing unknown",
    "lora.rank": "off is its own 0",
    "trainer.gradient_clip_val trainer.on_nonfinite trainer.ema_decay trainer.find_lr trainer.precision "
    "trainer.float32_matmul_precision trainer.accelerator trainer.devices trainer.num_nodes trainer.compile "
    "trainer.threads trainer.deterministic trainer.progress": "have an effect on every run",
    "trainer.rank_timeout": "a limit, which one process cannot reach",
    "trainer.log_every_n_steps checkpoint.every_n_steps": "the last step is logged and saved in any case",
    "eval.every_n_steps": "without a validation split the run says that nothing is scored",
    "checkpoint.keep": "holds without a best checkpoint too",
    "sample.every_n_steps sample.prompts": "no prompts: no samples",
    "sample.max_new_tokens sample.temperature": "the run's last sample follows them",
}


def said(words: Sequence[str], run_dir: Path) -> list[str]:
    config = compose_run(list(words)).config
    setup = set_up(find(config), RunDir(run_dir), Start())
    return list(idle_knobs(setup, draws="tensorboard" in config.logger))


@pytest.mark.parametrize("words", WARNED, ids=" ".join)
def test_an_idle_knob_is_said_with_the_reason(words: tuple[str, ...], tiny: Tiny, tmp_path: Path) -> None:
    knob = words[0].partition("=")[0]
    (sentence,) = said(tiny(*words), tmp_path)
    assert sentence.startswith(f"{knob}=")
    assert sentence.endswith(f" has no effect: {WARNED[words]}")


@pytest.mark.parametrize("words", [(), *HEARD], ids=" ".join)
def test_a_knob_with_an_effect_is_not_said(words: tuple[str, ...], tiny: Tiny, tmp_path: Path) -> None:
    assert said(tiny(*words), tmp_path) == []


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_a_knob_that_another_silences_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        compose_run(list(words))
    assert str(error.value).startswith(REFUSED[words])


def test_every_knob_of_a_run_was_asked_whether_it_can_be_idle() -> None:
    nodes = ("data", "lora", "trainer", "eval", "sample", "inspect", "checkpoint", "sweep")
    knobs = {knob for knob in flatten(RunConfig().to_dict()) if knob.partition(".")[0] in nodes}
    warned = {knob for idle in IDLE for knob in idle.knobs}
    assert warned == {words[0].partition("=")[0] for words in WARNED}
    refused = {word.partition("=")[0] for words in REFUSED for word in words} | set(REFUSED_ELSEWHERE)
    meant = {knob for line in MEANT for knob in line.split()}
    assert knobs - warned - refused - meant == set()
    assert meant.isdisjoint(warned)
    assert meant <= knobs


def test_several_idle_knobs_of_one_reason_are_one_sentence(tiny: Tiny, tmp_path: Path) -> None:
    words = tiny("sample.temperature=0", "sample.top_k=3", "sample.top_p=0.5")
    (sentence,) = said(words, tmp_path)
    assert sentence.startswith("sample.top_k=3, sample.top_p=0.5 have no effect: sample.temperature=0 ")


@pytest.mark.parametrize(("warmup", "is_said"), [(5, False), (6, True), (7, True), (0.9, False)])
def test_a_peak_that_the_warm_up_never_reaches_is_said(
    warmup: float, is_said: bool, tiny: Tiny, tmp_path: Path
) -> None:
    sentences = said(tiny(f"optim.warmup_steps={warmup}", "optim.lr=0.02"), tmp_path)
    wanted = f"optim.lr=0.02 is never reached: the warm-up takes {warmup} of 6 steps; lower optim.warmup_steps, "
    assert [sentence.startswith(wanted) for sentence in sentences] == [True] * is_said


def test_it_is_said_before_training_and_in_the_runs_log(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(NO_VAL, "trainer.early_stopping_patience=2"))
    shown = capsys.readouterr()
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    for text in (shown.out + shown.err, log):
        assert "warning: trainer.early_stopping_patience=2 has no effect: there is no validation split" in text
        assert "no validation split: nothing is scored on the way, and the last step's weights are kept" in text
        assert text.index("has no effect") < text.index("steps, ")


def test_inspecting_where_nothing_can_repeat_is_refused_before_training(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"inspect\.every_n_steps: a context of 3 with \d+ tokens has no room"):
        find(compose_run(tiny("inspect.every_n_steps=1", "model.block_size=3")).config)
    assert find(compose_run(tiny("inspect.every_n_steps=1", "model.block_size=4")).config).steps == 6
