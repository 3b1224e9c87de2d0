"""Evaluation: known values, every token once, the same each time, no trace."""

import math

import numpy as np
import pytest
import torch

from microgpt.data.tokenizer import CharTokenizer
from microgpt.engine.trained.evaluate import evaluate, yardsticks
from microgpt.model import GPT, GPTConfig

V = 7


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, dropout=0.2), V)


def ids(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(V, (n,), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def naive(model: GPT, text: torch.Tensor, stride: int) -> float:
    """Token by token: token i is scored in the earliest window (start a multiple of `stride`) that has its target."""
    T = model.config.block_size
    model.eval()
    total = 0.0
    last = len(text) - 1 - T
    starts = sorted({min(s, last) for s in range(0, last + stride, stride)})
    for target in range(1, len(text)):
        start = next(s for s in starts if s < target <= s + T)
        logits, _ = model(text[None, start : start + T])
        total -= float(torch.log_softmax(logits[0, target - 1 - start].double(), -1)[text[target]])
    return total / (len(text) - 1)


@pytest.mark.parametrize(("protocol", "stride"), [("blocks", 8), ("sliding", 2)])
@pytest.mark.parametrize("length", [9, 25, 60])
def test_a_protocol_scores_each_token_once_with_its_context(
    protocol: str, stride: int, length: int, model: GPT
) -> None:
    text = ids(length)
    score = evaluate(model, text, protocol=protocol, batch_size=3)
    assert score.tokens == length - 1
    assert score.protocol == protocol
    assert score.loss == pytest.approx(naive(model, text, stride), abs=1e-5)


def test_a_model_that_knows_nothing_scores_the_entropy_of_guessing(model: GPT) -> None:
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    score = evaluate(model, ids(100), chars_per_token=2.0, bytes_per_token=4.0)
    assert score.loss == pytest.approx(math.log(V), rel=1e-6)
    assert score.bpc == pytest.approx(math.log2(V) / 2, rel=1e-6)
    assert score.bpb == pytest.approx(math.log2(V) / 4, rel=1e-6)
    assert score.perplexity == pytest.approx(V, rel=1e-6)
    assert score.loss_by_position == pytest.approx([math.log(V)] * 8, rel=1e-6)


@pytest.mark.parametrize("protocol", ["random", "blocks", "sliding"])
def test_evaluation_repeats_and_leaves_no_trace(protocol: str, model: GPT) -> None:
    text = ids(200)
    model.train()
    before = torch.get_rng_state()
    first = evaluate(model, text, protocol=protocol, batch_size=4)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    torch.manual_seed(99)
    assert evaluate(model, text, protocol=protocol, batch_size=4) == first


def test_random_is_two_hundred_batches(model: GPT) -> None:
    assert evaluate(model, ids(100), protocol="random", batch_size=2).tokens == 200 * 2 * 8


def test_accuracy_counts_the_likeliest_token(model: GPT) -> None:
    text = ids(40)
    logits, _ = model.eval()(text[None, :8])
    right = (logits[0].argmax(-1) == text[1:9]).float().mean()
    assert evaluate(model, text[:9]).accuracy == pytest.approx(float(right))


def test_yardsticks_know_a_source_of_known_entropy() -> None:
    """A coin that shows heads with probability 0.9 has an entropy of 0.325 nats."""
    rng = np.random.default_rng(0)
    text = torch.from_numpy((rng.random(200_000) < 0.9).astype(np.uint8))
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    scores = yardsticks(text[:150_000], text[150_000:], 2)
    for loss in scores.values():
        assert loss == pytest.approx(entropy, rel=0.02)


def test_unknown_characters_of_another_file_are_counted(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    from microgpt.engine.commands.evaluate import main
    from microgpt.model import save_model

    torch.manual_seed(0)
    tokenizer = CharTokenizer.from_text("abc \n")
    save_model(tmp_path / "model", GPT(GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8), 5), tokenizer.to_dict())
    (tmp_path / "other.txt").write_text("abc cab xyz xa\n" * 20, encoding="utf-8")
    assert main([str(tmp_path), "--data", str(tmp_path / "other.txt")]) == 0
    out = capsys.readouterr().out
    assert "80 characters outside the vocabulary were left out" in out
    assert "'x' U+0078 x40" in out
    assert "protocol blocks" in out
