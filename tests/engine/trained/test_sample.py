"""Text generation: one implementation, whose seeds, stop strings and streams keep their word."""

import json
from pathlib import Path

import pytest
import torch

from microgpt import CharTokenizer, load
from microgpt.engine.commands.generate import main
from microgpt.engine.trained import sample
from microgpt.engine.trained.sample import GenerationParams, generate_texts
from microgpt.model import GPT, GPTConfig, save_model

ALPHABET = "abcdefgh \n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with random weights that make varied text."""
    torch.manual_seed(0)
    tokenizer = CharTokenizer.from_text(ALPHABET)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=12), tokenizer.vocab_size)
    for parameter in model.parameters():
        parameter.data.mul_(4)
    save_model(tmp_path / "model", model, tokenizer.to_dict())
    return tmp_path / "model"


def test_a_seed_gives_the_same_text_and_another_seed_another(folder: Path) -> None:
    run = load(folder)
    texts = [run.generate("abc", max_new_tokens=40, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert all(text.startswith("abc") and len(text) == 43 for text in texts)


def test_the_stream_is_the_text(folder: Path) -> None:
    run = load(folder)
    for stop in ((), ("a",), ("zz", "bc")):
        pieces: list[str] = []
        text = run.generate("ab", max_new_tokens=60, seed=5, stop=stop, on_text=pieces.append)
        assert "".join(pieces) == text
        assert len(pieces) > 2 or stop


def test_a_text_ends_before_the_first_stop_string(folder: Path) -> None:
    run = load(folder)
    whole = run.generate("ab", max_new_tokens=60, seed=5)
    new = whole[2:]
    stop = new[20:23]
    assert run.generate("ab", max_new_tokens=60, seed=5, stop=[stop]) == "ab" + new[: new.index(stop)]
    assert run.generate("ab", max_new_tokens=60, seed=5, stop=["never there"]) == whole


def test_samples_of_one_batch_differ_and_each_keeps_the_prompt(folder: Path) -> None:
    run = load(folder)
    texts = generate_texts(run.model, run.tokenizer, "abc", GenerationParams(num_samples=4, max_new_tokens=30, seed=0))
    assert len(set(texts)) == 4
    assert all(text.startswith("abc") for text in texts)


def test_temperature_zero_is_greedy_and_needs_no_seed(folder: Path) -> None:
    run = load(folder)
    assert run.generate("a", temperature=0, max_new_tokens=30) == run.generate("a", temperature=0, max_new_tokens=30)
    assert run.generate("a", temperature=0, max_new_tokens=30) == run.generate("a", top_k=1, max_new_tokens=30, seed=9)


def test_the_command_is_the_function(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = load(folder).generate("abc", max_new_tokens=30, seed=4, temperature=0.5, top_k=3, top_p=0.9)
    arguments = [str(folder), "--prompt", "abc", "--max-new-tokens", "30", "--seed", "4", "--temperature", "0.5"]
    arguments += ["--top-k", "3", "--top-p", "0.9", "--device", "cpu"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == expected + "\n"
    assert main([*arguments, "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == {"prompt": "abc", "texts": [expected], "seed": 4}
    assert output.err == ""
    assert main([*arguments, "--num-samples", "2"]) == 0
    assert capsys.readouterr().out.count("--- ") == 2


def test_an_empty_prompt_starts_at_a_new_line(folder: Path) -> None:
    run = load(folder)
    assert "\n" + run.generate("", max_new_tokens=20, seed=3) == run.generate("\n", max_new_tokens=20, seed=3)


def test_what_is_written_to_a_terminal_cannot_drive_it() -> None:
    from microgpt.text import printable

    assert printable("a\x1b]0;title\x07b\x9b31m\u202e\ud800\tc\n") == "a�]0;title�b�31m��\tc\n"
    assert printable("naïve 日本 🙂 e\u0301") == "naïve 日本 🙂 e\u0301"


@pytest.mark.parametrize(("device", "order"), [
    ("cpu", ["made 0", "read 0", "made 1", "read 1", "made 2", "read 2"]),
    ("cuda", ["made 0", "made 1", "read 0", "made 2", "read 1", "read 2"]),
])  # fmt: skip
def test_a_gpu_makes_the_next_token_while_one_is_read(
    device: str, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Tokens:
        def __init__(self, number: int) -> None:
            self.number, self.device = number, torch.device(device)
            seen.append(f"made {number}")

        def read(self) -> list[int]:
            seen.append(f"read {self.number}")
            return [self.number]

    monkeypatch.setattr(sample, "Pending", lambda tokens: tokens)
    assert list(sample.read(Tokens(number) for number in range(3))) == [[0], [1], [2]]  # type: ignore[misc]
    assert seen == order
