"""Nothing that fails once the steps are made loses them, and what can be known is checked before the first."""

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import microgpt.engine.train as engine
from microgpt import load, train
from microgpt.engine import report
from microgpt.engine.commands.train import main
from microgpt.engine.fit.callbacks import evaluate, sample
from microgpt.engine.fit.tensorboard import TensorBoardLog
from microgpt.engine.store import checkpoint
from microgpt.engine.trained import figures
from microgpt.errors import DataError, NonFiniteError, UsageError
from microgpt.files import sha256

Tiny = Callable[..., list[str]]
ENDINGS = {
    "the attention maps": (figures, "attention_maps", "drawing the figures"),
    "the loss by position": (figures, "loss_by_position", "drawing the figures"),
    "the sample": (sample, "generate_texts", "the sample"),
    "the figures in TensorBoard": (TensorBoardLog, "add_figure", "drawing the figures"),
    "the texts in TensorBoard": (TensorBoardLog, "add_text", "the sample"),
    "the metrics in TensorBoard": (TensorBoardLog, "log_metrics", "logging the last step"),
    "closing TensorBoard": (TensorBoardLog, "finalize", "closing the loggers"),
    "the test score": (engine, "score_test", "the score of the test split"),
    "the yardsticks": (engine, "yardsticks", "the scores of counting"),
    "the last sample": (report, "generate_texts", "the sample"),
    "the picture of the run": (engine, "draw_report", "report.png"),
}
"""What fails: the place and name of a function of the end, and what the warning calls it."""
ERRORS: list[Exception] = [RuntimeError("of no use"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]


def identity(run: Path) -> dict[str, str]:
    """The hashes of the last checkpoint's and of the model's files."""
    newest = run / "checkpoints" / checkpoint.step_name(6)
    files = [*(newest / name for name in checkpoint.FILES[:2]), run / "model" / "model.safetensors"]
    return {path.name: sha256(path) for path in files}


@pytest.fixture
def whole(tiny: Tiny, tmp_path: Path) -> list[str]:
    """Overrides with everything that a run does at its end, after a run of them in `tmp_path/reference`."""
    words = tiny("data.test_fraction=0.1", "eval.figures=end", "eval.every_n_steps=6", "sample.every_n_steps=6")
    train([*words, f"hydra.run.dir={tmp_path / 'reference'}"])
    return words


def test_whatever_fails_after_the_last_step_loses_nothing_and_the_score_is_shown(
    whole: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reference = json.loads((tmp_path / "reference" / "summary.json").read_text())
    for number, (name, (owner, method, said)) in enumerate(ENDINGS.items()):
        error, run = ERRORS[number % 2], tmp_path / f"run-{number}"

        def fail(*args: Any, error: Exception = error, **kwargs: Any) -> Any:
            raise error

        capfd.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            if method in ("add_text", "log_metrics"):  # what comes before the last step is not of the end
                real = getattr(TensorBoardLog, method)
                patch.setattr(owner, method, lambda *a, real=real, fail=fail: real(*a) if a[-1] < 6 else fail())
            else:
                patch.setattr(owner, method, fail)
            assert main([*whole, f"hydra.run.dir={run}"]) == 0, name
        out, err = capfd.readouterr()
        assert f"warning: {said} failed (" in out, name
        assert "Traceback" not in out + err, name
        assert re.search(rf"this model +{reference['val/bpc']:.4f}", out), name
        assert "microgpt-generate" in out, name
        summary = json.loads((run / "summary.json").read_text())
        lost = {"score_test": "test/", "yardsticks": "baselines"}.get(method, "-")
        missing = {key for key in reference if key.startswith(lost)}
        assert summary.keys() == reference.keys() - missing, name
        assert summary["val/loss"] == reference["val/loss"], name
        assert identity(run) == identity(tmp_path / "reference"), name
        assert load(run).summary["step"] == 6, name


@pytest.mark.parametrize("error", [ValueError("of no use"), UsageError("no such thing")], ids=["bug", "ours"])
def test_an_evaluation_that_fails_is_made_good_when_the_run_is_resumed(
    error: Exception, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = tiny("eval.every_n_steps=6")
    train([*words, f"hydra.run.dir={tmp_path / 'reference'}"])
    real, calls = evaluate.score_text, [0]  # type: ignore[attr-defined]

    def fails_late(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        calls[0] += 1
        raise error

    monkeypatch.setattr(evaluate, "score_text", fails_late)
    assert main(words) == getattr(error, "exit_code", 1)
    assert calls == [1]
    assert "warning: failed after step 6, which is saved" in capfd.readouterr().out
    assert checkpoint.checkpoints(tmp_path / "run" / "checkpoints")[0].name == "step-00000006"
    monkeypatch.undo()
    assert main(words) == 0
    assert "from step 6 it continues bit for bit" in capfd.readouterr().out
    for folder, name in (("model", "model.safetensors"), ("checkpoints/step-00000006", checkpoint.WEIGHTS)):
        assert sha256(tmp_path / "run" / folder / name) == sha256(tmp_path / "reference" / folder / name)


def test_a_loss_that_is_not_finite_saves_no_more(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError):
        train(tiny("optim=sgd", "optim.lr=1e38", "trainer.gradient_clip_val=0", "checkpoint.every_n_steps=1000"))
    assert checkpoint.checkpoints(tmp_path / "run" / "checkpoints") == []


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["sample.top_k=1000"], UsageError, "sample.top_k: 1000 of a vocabulary of 23 tokens; take 23 at most"),
        (["sample.prompts=['§']"], DataError, "sample.prompts, '§'"),
        (["eval.protocol=random", "model.block_size=700", "data.val_fraction=0.05"], DataError, "700"),
        (["eval.protocol=random", "model.block_size=700", "data.test_fraction=0.05"], DataError, "700"),
        (["eval.protocol=blocksy"], UsageError, "eval.protocol"),
    ],
)
def test_what_the_config_the_tokenizer_and_the_text_tell_is_checked_before_there_is_a_folder(
    words: list[str], kind: type[Exception], said: str, tiny: Tiny, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        train(tiny(*words))
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()
