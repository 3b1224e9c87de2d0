"""A run is scored on the text that it was trained on and on no other of the same name, from wherever it is asked."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from microgpt import load, train
from microgpt.data.tokenizer import CharTokenizer
from microgpt.engine.commands.evaluate import main
from microgpt.engine.store.corpus_file import CorpusRecord, read_record, write_record
from microgpt.engine.store.run_folder import RunDir
from microgpt.errors import DataError, UsageError
from microgpt.model import GPT, GPTConfig, save_model

TEXT, OTHER = "the cat sat on the mat. " * 40, "the mat sat on the cat. " * 40
Scored = Callable[..., tuple[int, str, str]]


def sha256(*texts: str) -> str:
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def made(project: Path, path: str | None, record: CorpusRecord | None) -> Path:
    """A run folder in `project`, trained on the text at `path`."""
    torch.manual_seed(0)
    tokenizer, run = CharTokenizer.from_text(TEXT), project / "runs" / "mine"
    run.mkdir(parents=True)
    config = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8)
    save_model(run / "model", GPT(config, tokenizer.vocab_size), tokenizer.to_dict())
    RunDir(run).write_config({"data": {"path": path, "val_fraction": 0.25}})
    if record is not None:
        write_record(run, record)
    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text and a run that was trained on it by its relative name."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    book = Path("book.txt").absolute()
    book.write_text(TEXT)
    made(tmp_path / "project", "book.txt", CorpusRecord(sha256(TEXT), len(TEXT), str(book)))
    return tmp_path / "project"


@pytest.fixture
def scored(capsys: pytest.CaptureFixture[str]) -> Scored:
    """Run the command: its exit code, output and errors."""

    def scored(*arguments: object) -> tuple[int, str, str]:
        code = main(list(map(str, arguments)))
        said = capsys.readouterr()
        return code, said.out, said.err

    return scored


def test_training_records_where_its_text_is(tiny: Callable[..., list[str]], book: Path, tmp_path: Path) -> None:
    train(tiny())
    record = read_record(tmp_path / "run")
    assert record == CorpusRecord(hashlib.sha256(book.read_bytes()).hexdigest(), book.stat().st_size, str(book))
    again = book.rename(tmp_path / "moved.txt")
    train([*tiny(), f"data.path={again}", "trainer.max_steps=8"])
    assert read_record(tmp_path / "run") == CorpusRecord(record.sha256, record.bytes, str(again))


def test_another_text_of_the_same_name_is_not_scored(project: Path, scored: Scored) -> None:
    assert scored("runs/mine")[0] == 0
    for text, how in ((OTHER, "its SHA-256 is now"), (TEXT + "x", f"{len(TEXT) + 1} bytes instead of {len(TEXT)}")):
        Path("book.txt").write_text(text)
        code, out, err = scored("runs/mine", "--json")
        assert (code, out) == (3, "")
        assert err.count("\n") == 1
        assert f"{project}/book.txt is not the one that the run was trained on ({how}" in err
        assert "put the old text back, or score a text of your own: --data FILE" in err
    assert scored("runs/mine", "--data", "book.txt")[0] == 0


def test_it_is_found_from_another_folder_and_named_in_full(
    project: Path, scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, here, _ = scored("runs/mine")
    assert code == 0
    assert here.startswith(f"{project}/book.txt (val): ")
    monkeypatch.chdir(tmp_path)
    assert scored("project/runs/mine") == (0, here, "")
    assert scored("project/runs/mine/model") == (0, here, "")
    Path("book.txt").write_text(OTHER)  # one of the same relative name here does not count
    assert scored("project/runs/mine") == (0, here, "")
    assert json.loads(scored("project/runs/mine", "--json")[1])["data"] == f"{project}/book.txt (val)"


def test_a_project_that_was_moved_has_its_text_by_its_relative_name(
    project: Path, scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project, tmp_path / "copy")
    (project / "book.txt").write_text(OTHER)
    monkeypatch.chdir(tmp_path / "copy")
    assert scored("runs/mine")[1].startswith(f"{tmp_path}/copy/book.txt (val): ")
    Path("book.txt").unlink()
    (project / "book.txt").unlink()
    code, out, err = scored("runs/mine")
    assert (code, out) == (3, "")
    assert f"is not at {project}/book.txt any more (no such file or folder)" in err


def test_python_scores_what_the_command_scores(project: Path, scored: Scored) -> None:
    run, printed = load("runs/mine"), json.loads(scored("runs/mine", "--json", "--protocol", "sliding")[1])
    assert printed["loss"] == run.evaluate(protocol="sliding").loss
    assert printed["bpb"] == load("runs/mine/model").evaluate(protocol="sliding", batch_size=2).bpb
    Path("other.txt").write_text("Der Müller " + OTHER)
    left_out = json.loads(scored("runs/mine", "--json", "--data", "other.txt")[1])
    assert left_out["loss"] == run.evaluate(Path("other.txt")).loss
    assert run.evaluate(OTHER).tokens == len(OTHER) - 1
    for split, said in (("test", "the run has no test split"), ("vla", "no split 'vla'.*did you mean 'val'")):
        with pytest.raises(UsageError, match=said):
            run.evaluate(split=split)
    with pytest.raises(DataError, match=r"U\+00FC"):
        run.evaluate("Der Müller")


@pytest.mark.parametrize("path", ["texts", "texts/*.txt"])
def test_a_change_in_any_of_several_files_is_seen(project: Path, scored: Scored, path: str) -> None:
    for name in "ab":
        Path("texts").mkdir(exist_ok=True)
        Path("texts", f"{name}.txt").write_text(TEXT)
    shutil.rmtree("runs")
    made(project, path, CorpusRecord(sha256(TEXT, TEXT), 2 * len(TEXT), str(project / path)))
    assert scored("runs/mine")[1].startswith(f"{project}/{path} (val)")
    Path("texts", "c.txt").write_text("a third")
    assert scored("runs/mine")[0] == 3
    Path("texts", "c.txt").unlink()
    assert scored("runs/mine")[0] == 0
    Path("texts", "b.txt").write_text(OTHER)
    assert scored("runs/mine")[0] == 3


def test_a_corpus_that_is_known_by_name_is_checked_too(project: Path, scored: Scored) -> None:
    shutil.rmtree("runs")
    made(project, None, CorpusRecord(sha256(TEXT), len(TEXT), None))
    code, _, err = scored("runs/mine")
    assert code == 3
    assert "the text manual is not the one" in err


def test_older_runs_have_their_hash_elsewhere_or_a_warning(
    project: Path, scored: Scored, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "runs/mine/corpus.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert scored("runs/mine")[0] == 0
    assert "runs/mine does not record the hash of its text, which may have changed" in caplog.text
    caplog.clear()
    summary = {"step": 1, "val/loss": 1.0, "corpus": sha256(TEXT)}
    (project / "runs/mine/summary.json").write_text(json.dumps(summary))
    with caplog.at_level(logging.WARNING):
        assert scored("runs/mine")[0] == 0
        Path("book.txt").write_text(OTHER)
        assert scored("runs/mine")[0] == 3
    assert caplog.text == ""


def test_an_older_run_that_is_not_finished_has_the_hash_in_its_checkpoints(
    tiny: Callable[..., list[str]], book: Path, tmp_path: Path
) -> None:
    train(tiny())
    for name in ("corpus.json", "summary.json"):
        (tmp_path / "run" / name).unlink()
    assert read_record(tmp_path / "run") == CorpusRecord(hashlib.sha256(book.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "\0", '{"sha256": 3, "bytes": 1, "path": null}', '{"sha256": "0", "bytes": 1, "path": null}',
     json.dumps({"sha256": "0" * 64, "bytes": True, "path": None}),
     json.dumps({"sha256": "0" * 64, "bytes": 1, "path": ["a"]}), " " * 100_000],
)  # fmt: skip
def test_a_damaged_record_counts_as_none(project: Path, content: str) -> None:
    (project / "runs/mine/corpus.json").write_text(content)
    assert read_record(project / "runs/mine") is None
