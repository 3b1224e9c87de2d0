"""Interpolations are resolved when a run is composed, but for secrets, whose values land in no file."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from microgpt import train
from microgpt.engine.commands.train import main
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.process.secret_variables import is_secret
from microgpt.errors import CheckpointError, UsageError

Tiny = Callable[..., list[str]]
LOGGER = """
    from pathlib import Path

    from lightning.pytorch.loggers import CSVLogger
    from microgpt.engine.addons import LoggerConfig

    class Mine(LoggerConfig, name="mine"):
        address: str = ""
        "Where to log."
        headers: tuple[str, ...] = ()
        "What to send."

        def build(self, run):
            Path(run.folder).with_name("seen.txt").write_text(f"{self.address} {self.headers}")
            return CSVLogger(run.folder.with_name("logs"))
"""


@pytest.mark.parametrize(
    ("word", "knob", "value"),
    [
        ("data.path=${oc.env:BOOK}", ("data", "path"), "/books/a.txt"),
        ("data.path=${oc.env:NO_SUCH_BOOK,b.txt}", ("data", "path"), "b.txt"),
        ("data.path=${oc.env:NO_SUCH_KEY,b.txt}", ("data", "path"), "b.txt"),
        ("data.path=${oc.env:TOKENIZER_TEXT}", ("data", "path"), "c.txt"),
        ("model.n_embd='${oc.decode:${oc.env:WIDTH}}'", ("model", "n_embd"), 96),
        ("data.batch_size=${model.n_embd}", ("data", "batch_size"), 48),
        ("data.path=${hydra:job.name}.txt", ("data", "path"), "train.txt"),
        ("data.path=${oc.select:no.such,d.txt}", ("data", "path"), "d.txt"),
    ],
)
def test_every_interpolation_is_a_value_in_the_run_s_files(
    word: str, knob: tuple[str, str], value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"BOOK": "/books/a.txt", "TOKENIZER_TEXT": "c.txt", "WIDTH": "96"}.items():
        monkeypatch.setenv(name, text)
    tree = compose_run(["model=gpt-nano", word]).config.to_dict()
    assert tree[knob[0]][knob[1]] == value
    assert "${" not in yaml.safe_dump(tree)


def test_a_run_composed_from_variables_goes_on_where_they_are_not_set(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDTH", "48")
    train(tiny("model.n_embd='${oc.decode:${oc.env:WIDTH}}'", "trainer.max_steps=2"))
    monkeypatch.setenv("WIDTH", "96")
    with pytest.raises(CheckpointError, match=r"model\.n_embd: 48 -> 96"):
        train(tiny("model.n_embd='${oc.decode:${oc.env:WIDTH}}'", "trainer.max_steps=3"))
    monkeypatch.delenv("WIDTH")
    run = train(tiny("model.n_embd=48", "trainer.max_steps=3"))
    assert run is not None
    assert run.summary["step"] == 3


def test_a_secret_reaches_the_logger_and_no_file(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(textwrap.dedent(LOGGER))
    monkeypatch.setenv("MY_PASSWORD", "hunter2")
    monkeypatch.setenv("API_TOKEN", "xyzzy")
    words = tiny(
        f"imports=[{tmp_path / 'mine.py'}]", "logger.mine=mine",
        "logger.mine.address='https://me:${oc.env:MY_PASSWORD}@host'", "logger.mine.headers=['${oc.env:API_TOKEN}']",
        "trainer.devices=2", "trainer.max_steps=2",
    )  # fmt: skip
    assert main(words) == 0
    assert (tmp_path / "seen.txt").read_text() == "https://me:hunter2@host ('xyzzy',)"
    out, err = capfd.readouterr()
    assert "logger.mine.address is kept out of the run's files, which say MY_PASSWORD" in out
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name not in ("seen.txt", "mine.py")]
    assert len(written) > 12
    for path in written:
        assert b"hunter2" not in path.read_bytes(), path
        assert b"xyzzy" not in path.read_bytes(), path
    assert "hunter2" not in out + err
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["logger"]["mine"]
    assert kept["address"] == "https://me:${oc.env:MY_PASSWORD}@host"
    monkeypatch.delenv("API_TOKEN")
    assert main([*words, "trainer.max_steps=3"]) == 2
    assert "'API_TOKEN' not found" in capfd.readouterr().err


@pytest.mark.parametrize("word", ["data.path=", "sample.prompts=[a,'", "hydra.run.dir=runs/", "model.pretrained="])
def test_a_secret_anywhere_else_is_refused(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    end = "']" if "[" in word else ""
    with pytest.raises(UsageError, match="AWS_SECRET_ACCESS_KEY holds a secret by its name") as caught:
        train([f"{word}${{oc.env:AWS_SECRET_ACCESS_KEY}}{end}"])
    assert "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_passes_through_another_knob_is_still_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    with pytest.raises(UsageError, match=r"data\.path: the environment variable MY_SECRET"):
        compose_run(["model.pretrained=${oc.env:MY_SECRET}", "data.path=${model.pretrained}"])


def test_names_of_secrets() -> None:
    secret = "HF_TOKEN WANDB_API_KEY MLFLOW_TRACKING_PASSWORD my_secret PASSWD GOOGLE_CREDENTIALS apikey"
    assert [is_secret(name) for name in secret.split()] == [True] * 7
    assert [is_secret(name) for name in "HOME TOKENIZER TOKENIZERS_PARALLELISM DATA WIDTH".split()] == [False] * 5
