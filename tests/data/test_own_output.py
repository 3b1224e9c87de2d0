"""What microgpt writes is never its own corpus, wherever it lies below the folder or pattern that names the text."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt import load, train
from microgpt.data import corpus
from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare
from microgpt.data.own_output import own_entries
from microgpt.data.sources import find_source
from microgpt.engine.commands import train as train_command
from microgpt.engine.exchange.export import export
from microgpt.errors import DataError

Tiny = Callable[..., list[str]]
CACHE = "cache"


@pytest.fixture
def project(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three texts of the user's, and everything that microgpt writes into one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpus, "CACHED_FROM", 0)
    monkeypatch.setenv("MICROGPT_CACHE", str(tmp_path / CACHE))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.json").write_text("the cat wrote this by hand\n")
    (tmp_path / "notes" / "model").write_text("the cat is a model cat\n")
    knobs = [knob for knob in tiny() if not knob.startswith(("data.path", "hydra.run.dir"))]
    assert train([*knobs, "data.path=book.txt", "hydra.run.dir=runs/first"]) is not None
    shutil.copytree("runs/first", "deep/in/there")
    assert train_command.main([*knobs, "data.path=book.txt", "-m", "seed=1"]) == 0
    run = load("runs/first")
    for kind in ("hf", "safetensors"):
        export(run, tmp_path / f"export-{kind}", kind)
    (tmp_path / CACHE / "corpora").mkdir()
    (tmp_path / CACHE / "corpora" / "shakespeare-01234567.txt").write_text("to be or not to be\n")
    return tmp_path


def texts(path: str) -> list[str]:
    source = find_source(DataConfig(path=path), Path(os.environ["MICROGPT_CACHE"], "corpora"))
    return [os.path.relpath(str(part)) for part in source.parts]


def test_a_project_is_its_own_texts(project: Path) -> None:
    mine = ["book.txt", "notes/config.json", "notes/model"]
    written = {str(p.relative_to(project)) for p in project.rglob("*") if p.is_file()} - set(mine)
    assert {"train.log", "metrics.csv", "config.yaml", "summary.json", "state.json"} <= {Path(w).name for w in written}
    assert any(w.startswith("sweeps/") for w in written)
    assert any(w.startswith("cache/encoded/") for w in written)
    for path in (".", str(project), "**/*", "**", f"{project}/**/*.*", "*"):
        expected = [name for name in mine if "*.*" not in path or "." in Path(name).name]
        assert texts(path) == (["book.txt"] if path == "*" else expected), path
    assert texts("notes") == ["notes/config.json", "notes/model"]
    folders = "runs/first runs/first/model sweeps deep export-hf export-safetensors cache/encoded".split()
    patterns = "runs/*/* runs/first/* runs/first/** runs/*/train.log".split()
    saved = [str(path) for path in (project / "runs/first/checkpoints").iterdir()]
    for path in ("runs", *folders, *patterns, *saved):
        with pytest.raises(DataError, match="what runs write is no corpus"):
            texts(path)
    assert texts("runs/first/train.log") == ["runs/first/train.log"]  # a file that is named is meant


def test_a_run_in_the_projects_own_folder_is_resumed_with_the_same_text(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    knobs = [knob for knob in tiny() if not knob.startswith(("data.path", "hydra.run.dir"))]
    first = prepare(DataConfig(path=".")).sha256
    assert train([*knobs, "data.path=.", "hydra.run.dir=."]) is not None
    assert prepare(DataConfig(path=".")).sha256 == first
    run = train([*knobs, "data.path=.", "hydra.run.dir=.", "trainer.max_steps=8"])
    assert run is not None
    assert run.summary["step"] == 8


def test_a_single_file_of_a_name_that_runs_use_is_the_users() -> None:
    assert own_entries(["config.yaml", "model", "README.md"]) == set()  # of a program
    for name in ("config.yaml", "model", "summary.json", "config.json", "README.md", "tokenizer.json", "train.log"):
        assert own_entries([name, "book.txt"]) == set()
    assert own_entries(["README.md", "config.json", "tokenizer.json"]) == set()
    assert own_entries(["README.md", "config.json", "model.safetensors", "a.txt"]) == {
        "README.md", "config.json", "model.safetensors"
    }  # fmt: skip
