"""A text ends at the model's end token, wherever the model comes from, and what a checkpoint decides is its own."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from microgpt import load
from microgpt.data.tokenizer import Tokenizer, tokenizer_from_dict
from microgpt.data.tokenizer.bpe import BPETokenizer
from microgpt.engine.commands.generate import main
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.exchange.export import export
from microgpt.engine.fit.finetune import adopt
from microgpt.engine.trained.growing_text import GrowingText
from microgpt.engine.trained.run import Run
from microgpt.engine.trained.sample import GenerationParams, generate_texts
from microgpt.errors import CheckpointError
from microgpt.model import GPT, GPTConfig, save_model
from microgpt.model.files.hf.end_tokens import end_tokens
from microgpt.model.mlp.swiglu import SwiGLUConfig
from microgpt.model.norm.layernorm import LayerNormConfig
from microgpt.model.pos.learned import LearnedConfig
from microgpt.model.pos.rope import RoPEConfig

TEXT = "the cat sat on the mat, and the dog saw the cat. "
LLAMA = GPTConfig(
    n_layer=1, n_head=2, n_embd=16, block_size=12, dropout=0.3, norm_eps=1e-3, mlp=SwiGLUConfig(), pos=RoPEConfig()
)


class Letters:
    """A codec of one letter a token."""

    def encode(self, text: str) -> list[int]:
        return [ord(c) - 97 for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(97 + i) for i in ids)


@given(
    st.lists(st.integers(0, 4), max_size=30),
    st.sets(st.integers(0, 4), max_size=2),
    st.lists(st.text("abcde", min_size=1, max_size=3), max_size=2),
)
def test_a_text_ends_before_the_first_end_token_or_stop_string(
    tokens: list[int], ends: set[int], stop: list[str]
) -> None:
    growing = GrowingText(Letters(), [0], stop, ends)
    pieces = []
    for token in tokens:
        growing.add(token)
        pieces.append(growing.take())
    whole = Letters().decode(tokens)
    kept = whole[: min((i for i, token in enumerate(tokens) if token in ends), default=len(tokens))]
    found = [(kept.index(string) + len(string), kept.index(string)) for string in stop if string in kept]
    expected = kept[: min(found)[1]] if found else kept
    assert growing.finish() == expected
    assert "".join(pieces) + growing.rest() == expected
    assert growing.is_stopped == bool(found or len(kept) < len(whole))


@pytest.fixture
def run(tokenizers: Any, tmp_path: Path) -> Run:
    """A model of random weights that makes varied text, with subwords and without an end token."""
    torch.manual_seed(0)
    tokenizer = BPETokenizer.from_texts([TEXT * 9], 300)
    model = GPT(LLAMA, tokenizer.vocab_size)
    for parameter in model.parameters():
        parameter.data.mul_(4)
    save_model(tmp_path / "plain", model, tokenizer.to_dict())
    return load(tmp_path / "plain")


def generated(run: Run, **settings: Any) -> list[int]:
    """The tokens that a run generates after "the"."""
    drawn: list[int] = []
    tokenizer = run.tokenizer

    class Spy(GrowingText):
        def add(self, token: int) -> None:
            drawn.append(token)
            super().add(token)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("microgpt.engine.trained.sample.GrowingText", Spy)
        params = GenerationParams(max_new_tokens=40, seed=3, **settings)
        generate_texts(run.model, tokenizer, "the", params)
    return drawn


def test_generation_stops_at_the_end_token_unless_told_to_go_on(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = generated(run)
    end = tokens[17]
    at = tokens.index(end)
    whole = run.generate("the", max_new_tokens=40, seed=3)
    assert len(tokens) == 40
    assert run.tokenizer.end_tokens() == ()
    save_model(tmp_path / "ending", run.model, run.tokenizer.with_ends([end]).to_dict())
    ending = load(tmp_path / "ending")
    assert ending.tokenizer.end_tokens() == (end,)
    assert generated(ending) == tokens[: at + 1]
    pieces: list[str] = []
    text = ending.generate("the", max_new_tokens=40, seed=3, on_text=pieces.append)
    assert text == "".join(pieces) == "the" + run.tokenizer.decode(tokens[:at])
    assert ending.generate("the", max_new_tokens=40, seed=3, stop_at_end=False) == whole
    assert whole.startswith(text)
    words = [str(tmp_path / "ending"), "--prompt", "the", "--max-new-tokens", "40", "--seed", "3", "--json"]
    words += ["--temperature", "0.8"]
    for more, expected in (([], text), (["--no-stop"], whole)):
        assert main([*words, *more]) == 0
        assert json.loads(capsys.readouterr().out)["texts"] == [expected]


def test_texts_of_a_batch_end_each_on_its_own(run: Run) -> None:
    params = GenerationParams(max_new_tokens=30, seed=1, num_samples=4, stop_at_end=False)
    whole = generate_texts(run.model, run.tokenizer, "the", params)
    end = run.tokenizer.encode("e")[0]
    ending = run.tokenizer.with_ends([end])
    short = generate_texts(run.model, ending, "the", replace(params, stop_at_end=True))
    assert [text.startswith(cut) for text, cut in zip(whole, short, strict=True)] == [True] * 4
    assert len({len(text) for text in short}) > 1


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": 7}, {"eos_token_id": 3}, (7,)),
        ({"eos_token_id": [7, 9, 7]}, {}, (7, 9)),
        (None, {"eos_token_id": 3}, (3,)),
        ({}, {"eos_token_id": 3}, (3,)),
        (None, {}, ()),
        ({"eos_token_id": None}, {"eos_token_id": None}, ()),
        (None, {"eos_token_id": 50256}, ()),  # a default of transformers, beyond a small vocabulary
        ({"eos_token_id": "</s>"}, {"eos_token_id": [-1, True, 2.0]}, ()),
    ],
)
def test_a_hugging_face_folder_names_its_end_tokens(
    generation: Any, config: Any, expected: tuple[int, ...], run: Run, tmp_path: Path
) -> None:
    export(run, tmp_path / "hf", {"name": "hf", "card": False})
    written = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert written["eos_token_id"] is None
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**written, "eos_token_id": None, **config}))
    (tmp_path / "hf" / "generation_config.json").unlink()
    if generation is not None:
        (tmp_path / "hf" / "generation_config.json").write_text(json.dumps(generation))
    assert load(tmp_path / "hf").tokenizer.end_tokens() == expected
    assert tuple(dict.fromkeys(end_tokens(tmp_path / "hf", run.model.vocab_size))) == expected


@pytest.mark.parametrize("ends", [(5,), (5, 9)])
def test_end_tokens_survive_both_exports_and_fine_tuning(ends: tuple[int, ...], run: Run, tmp_path: Path) -> None:
    run.tokenizer = run.tokenizer.with_ends(ends)
    for name in ("hf", "safetensors"):
        export(run, tmp_path / name, name)
        assert load(tmp_path / name).tokenizer.end_tokens() == ends
    for file in ("generation_config.json", "config.json"):
        eos = json.loads((tmp_path / "hf" / file).read_text())["eos_token_id"]
        assert eos == (list(ends) if len(ends) > 1 else ends[0])
    assert json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())["eos_token"]
    _, pretrained = adopt(compose_run([f"model.pretrained={tmp_path / 'hf'}"]).config)
    assert pretrained is not None
    assert pretrained.tokenizer.end_tokens() == ends


@pytest.mark.parametrize("ends", [[300000], [-1], ["</s>"], 5, [True]])
def test_end_tokens_outside_the_vocabulary_are_damage(ends: Any, run: Run) -> None:
    with pytest.raises(CheckpointError, match="end tokens"):
        tokenizer_from_dict({**run.tokenizer.to_dict(), "ends": ends})


def test_a_tokenizer_without_end_tokens_is_written_as_before(run: Run) -> None:
    assert set(run.tokenizer.to_dict()) == {"type", "format", "size", "json"}
    same: Tokenizer = run.tokenizer.with_ends([])
    assert same == run.tokenizer


def decided(folder: Path, *typed: str) -> dict[str, Any]:
    """What fine-tuning makes of a pretrained folder, with these words typed."""
    words = ["experiment=finetune-gpt2", f"model.pretrained={folder}", *typed]
    config, _ = adopt(compose_run(words).config, words)
    return config.model.to_dict()


def test_what_a_checkpoint_decides_is_its_own_unless_typed(run: Run, tmp_path: Path) -> None:
    config = replace(LLAMA, pos=RoPEConfig(theta=777.0), logit_softcap=9.0)
    save_model(tmp_path / "ours", GPT(config, run.model.vocab_size), run.tokenizer.to_dict())
    model = decided(tmp_path / "ours")
    assert (model["dropout"], model["norm_eps"], model["logit_softcap"]) == (0.3, 1e-3, 9.0)
    assert model["pos"] == {"name": "rope", "theta": 777.0, "fraction": 1.0}
    assert decided(tmp_path / "ours", "model.dropout=0")["dropout"] == 0
    assert decided(tmp_path / "ours", "model.dropout=0.2")["dropout"] == 0.2
    model = decided(tmp_path / "ours", "model.norm_eps=1e-6", "model.logit_softcap=0", "model.pos=rope",
                    "model.pos.theta=5.0", "model.n_layer=7")  # fmt: skip
    assert (model["norm_eps"], model["logit_softcap"], model["pos"]["theta"]) == (1e-6, 0, 5.0)
    assert (model["n_layer"], model["dropout"]) == (1, 0.3)


def test_dropout_is_read_from_foreign_folders(run: Run, tmp_path: Path) -> None:
    gpt2 = replace(LLAMA, pos=LearnedConfig(), norm=LayerNormConfig(), mlp=GPTConfig().mlp, bias=True)
    for name, config, keys in (("llama", LLAMA, ["attention"]), ("gpt2", gpt2, ["resid", "embd", "attn"])):
        made = Run(tmp_path, GPT(config, run.model.vocab_size).eval(), run.tokenizer)
        export(made, tmp_path / name, {"name": "hf", "card": False})
        place = tmp_path / name / "config.json"
        written = json.loads(place.read_text())
        del written["microgpt"]  # as others write it
        for values, expected in ((0.3, 0.3), (0.0, 0.0)):
            written |= {f"{key}_{'dropout' if name == 'llama' else 'pdrop'}": values for key in keys}
            place.write_text(json.dumps(written))
            assert decided(tmp_path / name)["dropout"] == expected
