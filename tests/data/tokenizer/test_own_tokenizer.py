"""A tokenizer of the user's, in a file of the user's: trained with, resumed, stored by name, opened elsewhere."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt import load, train
from microgpt.config import ConfigError
from microgpt.data import DataConfig, prepare
from microgpt.data.tokenizer import Tokenizer, tokenizer_from_dict
from microgpt.engine.commands import evaluate, export
from microgpt.errors import CheckpointError
from microgpt.registry import import_part

Tiny = Callable[..., list[str]]

WORDS = """
import re
from collections import Counter

import numpy as np

from microgpt.data.tokenizer import Tokenizer


class Words(Tokenizer, name="words"):
    spans_characters = True

    def __init__(self, words, unknown="error"):
        super().__init__(unknown)
        self.words = list(words)
        self.index = {word: i for i, word in enumerate(self.words)}

    @classmethod
    def fit(cls, chunks, config):
        counts = Counter(re.findall(PATTERN, "".join(chunks)))
        return cls(["?", *sorted(word for word, _ in counts.most_common(config.vocab_size - 1))], config.unknown)

    @property
    def vocab_size(self):
        return len(self.words)

    def encode_counted(self, text, *, where="", offset=0):
        ids = [self.index.get(word, 0) for word in re.findall(PATTERN, text)]
        return np.array(ids, self.dtype), Counter()

    def settled(self, text):
        return max(0, text.rfind(" "))

    def decode(self, ids):
        return "".join(self.words[i] for i in self._checked(ids).tolist())

    def token_lengths(self):
        sizes = [[len(word.encode()), len(word)] for word in self.words]
        return tuple(np.array(sizes, np.int64).T)

    def state(self):
        return {"words": self.words}

    @classmethod
    def from_dict(cls, values):
        return cls(map(str, values["words"]))
"""


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.py"
    path.write_text('PATTERN = r" ?\\w+|\\s|."\n' + WORDS)
    return path


def run_command(*command: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", f"microgpt.engine.commands.{command[0]}", *command[1:]]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def test_it_trains_resumes_and_generates_in_another_place(
    words: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = tiny("data.tokenizer=words", f"imports=[{words}]", "data.vocab_size=300")
    run = train(overrides)
    assert run is not None
    assert (type(run.tokenizer).__name__, run.tokenizer.name) == ("Words", "words")
    assert 20 < run.tokenizer.vocab_size < 60
    assert run.summary["val/bpc"] < run.summary["val/loss"] / 0.6931 / 2  # a token is more than two characters
    stored = json.loads((tmp_path / "run" / "model" / "tokenizer.json").read_text())
    assert (stored["type"], stored["format"]) == ("words", 1)
    assert stored["words"] == run.tokenizer.words  # type: ignore[attr-defined]

    train([*overrides, "trainer.max_steps=8"])
    assert "from step 6 it continues" in (tmp_path / "run" / "train.log").read_text()

    capsys.readouterr()
    assert evaluate.main([str(tmp_path / "run"), "--json"]) == 0
    again = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert json.loads(capsys.readouterr().out)["bpc"] == pytest.approx(again["val/bpc"], rel=1e-6)
    assert export.main([str(tmp_path / "run"), str(tmp_path / "hf"), "--format", "hf"]) == 2
    assert "a tokenizer of kind 'words', which has no tokenizer.json" in capsys.readouterr().err

    shutil.copytree(tmp_path / "run" / "model", tmp_path / "elsewhere")
    asked = ("generate", str(tmp_path / "elsewhere"), "--prompt", "the cat", "--seed", "1", "--max-new-tokens", "5")
    refused = run_command(*asked)
    assert refused.returncode == 4
    assert refused.stderr == (
        "microgpt: error: no tokenizer 'words' is known in tokenizer.json; "
        "import the file that defines it (--import FILE, or imports=[FILE] in training)\n"
    )
    done = run_command(*asked, "--import", str(words))
    assert done.returncode == 0, done.stderr
    assert done.stdout == load(tmp_path / "elsewhere").generate("the cat", seed=1, max_new_tokens=5) + "\n"


def test_a_choice_that_is_none_names_those_there_are(words: Path) -> None:
    with pytest.raises(ConfigError, match="no such choice 'word'; one of bpe, byte, char, ids, pretrained"):
        DataConfig(tokenizer="word")
    import_part(str(words))
    with pytest.raises(ConfigError, match="no such choice 'word'; did you mean 'words'"):
        DataConfig(tokenizer="word")
    with pytest.raises(ConfigError, match="no such choice 'hf'"):  # it comes with a model alone
        DataConfig(tokenizer="hf")


def test_a_model_folder_names_a_tokenizer_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(Tokenizer.members, "byte")
    with pytest.raises(CheckpointError, match=r"no tokenizer 'byte' is known in tokenizer.json; import the file"):
        tokenizer_from_dict({"type": "byte", "format": 1})


def test_a_change_of_its_code_is_seen_by_the_cache(words: Path, tiny: Tiny, tmp_path: Path) -> None:
    knobs = {"path": str(tmp_path / "book.txt"), "vocab_size": 300, "cache_dir": str(tmp_path / "cache")}
    import_part(str(words))
    first = prepare(DataConfig(tokenizer="words", **knobs))  # type: ignore[arg-type]
    kept = sorted((tmp_path / "cache" / "encoded").iterdir())
    assert len(kept) == 5  # a tokenizer, and two files each of the training and the validation split
    again = prepare(DataConfig(tokenizer="words", **knobs))  # type: ignore[arg-type]
    assert again.train.tolist() == first.train.tolist()
    assert sorted((tmp_path / "cache" / "encoded").iterdir()) == kept

    edited = tmp_path / "edited" / words.name
    edited.parent.mkdir()
    edited.write_text(words.read_text().replace(r'" ?\w+|\s|."', r'"\w|\s|."'))
    import_part(str(edited))
    changed = prepare(DataConfig(tokenizer="words", **knobs))  # type: ignore[arg-type]
    assert len(changed.train) > 2 * len(first.train)
    assert changed.tokenizer.decode(changed.train) == first.tokenizer.decode(first.train)
