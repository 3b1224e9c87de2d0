"""Training from Python: knobs in any form, one's own model and text, and a run that shows and keeps itself."""

import gc
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import microgpt
from microgpt import GPT, CharTokenizer, GPTConfig, Run, fit, load, train
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.compose.given import as_overrides, literal
from microgpt.engine.notebook import interrupts
from microgpt.engine.optim.lion import LionConfig
from microgpt.engine.process import notebook, signals
from microgpt.engine.process.progress import Progress
from microgpt.engine.process.stopping import ResumeHint
from microgpt.errors import DataError, UsageError

Tiny = Callable[..., list[str]]
QUICK: dict[str, Any] = {
    "data__batch_size": 8, "trainer__compile": False, "trainer__precision": "32-true", "trainer__progress": "none",
    "eval__figures": "never", "eval__every_n_steps": 3, "sample__max_new_tokens": 4, "optim": "adamw",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "knobs", "overrides"),
    [
        (["data.path=my book.txt  trainer.max_steps=3"], {}, ["data.path=my book.txt", "trainer.max_steps=3"]),
        ([["a=1", "b=c d"]], {}, ["a=1", "b=c d"]),
        ([], {"model__n_layer": 4, "seed": 3}, ["model.n_layer=4", "seed=3"]),
        ([{"model": {"pos": {"theta": 5.0, "name": "rope"}, "n_layer": 4}}], {},
         ["model.pos=rope", "model.pos.theta=5.0", "model.n_layer=4"]),
        (["a=1", {"a": 2}], {"a": 3}, ["a=1", "a=2", "a=3"]),
    ],
)  # fmt: skip
def test_knobs_come_in_any_form(given: list[Any], knobs: dict[str, Any], overrides: list[str]) -> None:
    assert as_overrides(given, knobs) == overrides


@pytest.mark.parametrize(
    "text",
    ["book.txt", "my book.txt", "it's", "a,b=c", "[x]", "back\\", "\\'", "1", "null", "true", "é", ""],
)
def test_a_text_arrives_as_it_was_given(text: str) -> None:
    config = compose_run(as_overrides([], {"sample__prompts": [text, "x"]})).config
    assert config.sample.prompts == (text, "x")
    if text:
        assert compose_run(as_overrides([{"data.path": text}], {})).config.data.path == text


def test_values_of_every_kind_arrive_as_they_were_given() -> None:
    given = {
        "model": {"n_layer": 3, "pos": "alibi"},
        "trainer.freeze": ["wte.*"],
        "optim.lr": 1e-3,
        "data.path": Path("a b/c.txt"),
        "trainer.micro_batch_size": None,
        "trainer.deterministic": True,
    }
    config = compose_run(as_overrides([given], {"optim": "lion", "trainer__precision": "32-true"})).config
    assert (config.model.n_layer, config.model.pos.name, config.trainer.freeze) == (3, "alibi", ("wte.*",))
    assert (config.optim.name, config.optim.lr, config.data.path) == ("lion", 1e-3, "a b/c.txt")
    assert (config.trainer.deterministic, config.trainer.precision) == (True, "32-true")
    assert literal(torch.tensor(3)) == "3"


def test_a_config_of_the_model_or_of_a_part_is_a_form_of_its_knobs() -> None:
    sizes = {"n_layer": 3, "n_embd": 24, "n_head": 2}
    model = GPTConfig.from_dict({**sizes, "pos": {"name": "rope", "theta": 5.0}, "mlp": "swiglu"})
    config = compose_run(as_overrides([{"optim": LionConfig(lr=0.5)}], {"model": model})).config
    assert config.model == model
    assert config.optim == LionConfig(lr=0.5)


def test_what_is_no_knob_is_refused_with_the_forms() -> None:
    with pytest.raises(UsageError, match=r"int 3 in train; give \"knob=value\""):
        train(3)  # type: ignore[arg-type]


@pytest.fixture
def text(book: Path) -> str:
    return book.read_text()


@pytest.fixture
def tok(text: str) -> CharTokenizer:
    return CharTokenizer.from_text(text)


def new_gpt(size: int) -> GPT:
    torch.manual_seed(5)
    return GPT(GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=16, dropout=0.1), size)


def test_ones_own_model_and_text_are_trained_exactly(text: str, tok: CharTokenizer, tmp_path: Path) -> None:
    model = new_gpt(tok.vocab_size)
    before = model.wte.weight.detach().clone()
    whole = fit(model, text, tok, steps=6, folder=tmp_path / "whole", **QUICK)
    assert whole.model is model
    assert not torch.equal(model.wte.weight, before)
    assert whole.summary["step"] == 6
    parts = tmp_path / "parts"
    fit(new_gpt(tok.vocab_size), text, tok, steps=3, folder=parts, optim__schedule="constant", **QUICK)
    again = fit(new_gpt(tok.vocab_size), text, tok, steps=6, folder=parts, optim__schedule="constant", **QUICK)
    straight = fit(new_gpt(tok.vocab_size), text, tok, steps=6, optim__schedule="constant", **QUICK)
    for a, b in zip(again.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert load(tmp_path / "whole").generate("the", max_new_tokens=9, seed=1) == whole.generate(
        "the", max_new_tokens=9, seed=1
    )


def test_indices_train_without_a_tokenizer_and_leave_nothing_behind(tok: CharTokenizer, text: str) -> None:
    ids = tok.encode(text)
    run = fit(new_gpt(tok.vocab_size), ids, steps=6, **QUICK)
    same = fit(new_gpt(tok.vocab_size), torch.tensor(ids), tok, steps=6, **QUICK)
    assert run.summary["val/loss"] == same.summary["val/loss"]
    assert run.summary["val/bpc"] == pytest.approx(run.summary["val/loss"] / math.log(2))
    assert run.generate("3 1 4 ", max_new_tokens=3, seed=0).startswith("3 1 4 ")
    folder = run.path
    assert folder.is_dir()
    del run
    gc.collect()
    assert not folder.exists()


def test_a_temporary_run_says_how_to_keep_it(
    text: str, tok: CharTokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, says, is_silent_of in (
        (None, 'run.save("runs/mine")   # its folder is temporary', "microgpt-generate"),
        (tmp_path / "kept", f"microgpt-generate {tmp_path / 'kept'}", "run.save"),
    ):
        fit(new_gpt(tok.vocab_size), text, tok, steps=2, folder=folder, **QUICK)
        out = capsys.readouterr().out
        assert says in out
        assert is_silent_of not in out


def test_a_prompt_that_the_tokenizer_cannot_read_is_refused_before_training(text: str, tok: CharTokenizer) -> None:
    with pytest.raises(DataError, match=r"U\+00DF.*in sample\.prompts"):
        fit(new_gpt(tok.vocab_size), text, tok, steps=2, sample__prompts=["Gruß"], **QUICK)


def test_a_validation_text_of_ones_own_is_scored(text: str, tok: CharTokenizer) -> None:
    run = fit(new_gpt(tok.vocab_size), text, tok, steps=3, val="the cat sat on the mat" * 9, **QUICK)
    assert run.summary["train_tokens"] == len(text)


@pytest.mark.parametrize(
    ("data", "size", "error", "said"),
    [([0, 1, 99] * 50, 30, DataError, "indices from 0 to 99"), ("abc", 30, UsageError, "for a model of 30")],
)
def test_what_does_not_fit_the_model_is_refused(
    data: Any, size: int, error: type[Exception], said: str, tok: CharTokenizer
) -> None:
    with pytest.raises(error, match=said):
        fit(new_gpt(size), data, tok if isinstance(data, str) else None, steps=3, **QUICK)


def test_a_run_shows_streams_plots_and_saves_itself(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tiny(), {"trainer.max_steps": 6}, seed=2)
    assert isinstance(run, Run)
    assert len(repr(run)) < 300
    assert "6 steps" in repr(run)
    html = run._repr_html_()
    assert html.startswith("<table>")
    assert f"{run.summary['val/bpc']:.4f}" in html
    monkeypatch.setitem(sys.modules, "pandas", None)
    columns = run.metrics
    assert columns["step"] == [1, 2, 3, 4, 5, 6]
    assert columns["val/loss"][:3] == [None, None, pytest.approx(columns["val/loss"][2])]
    assert {len(column) for column in columns.values()} == {6}
    pieces = list(run.stream("the ", max_new_tokens=12, seed=4))
    assert pieces[0] == "the "
    assert len(pieces) > 3
    assert "".join(pieces) == run.generate("the ", max_new_tokens=12, seed=4)
    assert run.plot()._repr_png_().startswith(b"\x89PNG")
    copy = load(run.save(tmp_path / "copy"))
    assert copy.summary == run.summary
    assert copy.metrics == columns
    assert copy.generate("the", max_new_tokens=9, seed=1) == run.generate("the", max_new_tokens=9, seed=1)
    with pytest.raises(UsageError, match="not empty"):
        run.save(tmp_path / "copy")
    table = microgpt.compare([run.path]).frame()
    assert table["n"] == [1]
    assert table["val/loss mean"] == [run.summary["val/loss"]]


def test_a_frame_is_pandas_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from microgpt.engine.store.metrics_file import frame

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda columns: ("frame", columns)))
    assert frame({"a": [1]}) == ("frame", {"a": [1]})


def test_an_interrupt_is_a_keyboard_interrupt_that_saved(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-00000040").mkdir(parents=True)
    with (
        pytest.raises(KeyboardInterrupt, match=r"saved at step 40 in .*; the same call with folder="),
        interrupts(tmp_path),
    ):
        raise signals.Stopped(signal.SIGINT)
    with pytest.raises(signals.Stopped), interrupts(tmp_path):
        raise signals.Stopped(signal.SIGTERM)


@pytest.fixture
def in_notebook(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A notebook's kernel, as far as this package looks at it; what it displays."""
    shown: list[Any] = []
    handle = SimpleNamespace(update=lambda html: shown.append(html))

    def display(html: str, display_id: bool) -> Any:
        shown.append(html)
        return handle

    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))
    return shown


def test_a_notebook_has_a_bar_and_its_own_words(
    in_notebook: list[Any], tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert notebook.is_notebook()
    words = [word for word in tiny() if not word.startswith("trainer.progress")]
    train(words)
    out = capsys.readouterr().out
    assert "microgpt-" not in out
    assert "run.generate(" in out
    assert 'value="6" max="6"' in in_notebook[-1]
    assert str(ResumeHint(["data.path=a b", "--config-dir", "mine"], tmp_path / "run")).endswith(
        f"go on with: train(['data.path=a b', 'hydra.run.dir={tmp_path / 'run'}'], config_dir='mine')"
    )


def test_without_progress_a_notebook_stays_empty(
    in_notebook: list[Any], tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny())
    assert capsys.readouterr().out == ""
    assert in_notebook == []


def test_outside_a_notebook_nothing_changes() -> None:
    assert not notebook.is_notebook()
    assert Progress("auto", 3, 4).style == "lines"
