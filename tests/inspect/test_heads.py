"""Scores of heads find the head that a task needs: one that training made, and one that was planted."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import TEXT, small_run

from microgpt import CharTokenizer, Run
from microgpt.errors import DataError, UsageError
from microgpt.inspect import head_importance, induction_score, inspect, mean, zero
from microgpt.model import GPT, GPTConfig

V, N = 20, 16
LETTERS = "abcdefghijklmnopqrst"


def trained() -> Run:
    """Two layers that learn to continue a random text that repeats, which takes a head of the first layer that looks
    back by one and an induction head in the second. Its head 0 is held at zero, so that head 1 must be the one."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=64, block_size=2 * N), V)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    with model.patched({"blocks.1.attn.head.0": zero}):
        for _ in range(130):
            half = torch.stack([torch.randperm(V)[:N] for _ in range(32)])
            x = torch.cat((half, half), 1)
            optimizer.zero_grad()
            losses = model(x[:, :-1], x[:, 1:], reduction="none")[1]
            (losses[:, N - 1 :].mean() + 0.05 * losses[:, : N - 1].mean()).backward()
            optimizer.step()
    return Run(Path("runs/induction"), model.eval(), CharTokenizer(LETTERS))


def repeated() -> str:
    half = np.random.default_rng(3).permutation(V)[:N]
    return "".join(LETTERS[i] for i in [*half, *half])


@pytest.mark.slow
def test_the_head_that_an_induction_task_needs_is_found_by_both_scores() -> None:
    run = trained()
    text = repeated()
    trace = run.inspect(text)
    assert np.nanmean(trace.surprisal().bits[N + 1 :]) < 0.5
    scores = induction_score(run)
    assert scores.ranked()[0][:2] == (1, 1)
    assert scores.values[1, 1] > 0.9
    assert np.delete(scores.values, 3).max() < 0.2
    importance = head_importance(run, text)
    assert importance.values[1, 1] > 1.0  # bits per character
    assert abs(importance.values[1, 0]) < 0.1
    assert (1, 1) in [head[:2] for head in importance.ranked()[:2]]
    stripe = [trace.attention(1, 1).weights[N + i, i + 1] for i in range(N - 1)]
    assert np.mean(stripe) > 0.9


def planted() -> Run:
    """Attention by hand: head 0 of layer 0 looks at the token before and writes it beside the present one; head 1 of
    layer 1 looks for the place before which the present token stood, and head 0 of layer 1 does nothing."""
    C, D = 4 * V, 2 * V
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": C, "block_size": 2 * N}
    model = GPT(GPTConfig.from_dict({**sizes, "pos": "none", "norm": "none", "attention": "reference"}), V)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        eye = torch.eye(V)
        model.wte.weight[:, :V] = eye
        second = model.blocks[1].attn
        q, k, v = (second.qkv.weight[i * C + D : (i + 1) * C] for i in range(3))  # type: ignore[index]
        q[:V, :V] = 100 * math.sqrt(D) * eye  # the present token
        k[:V, V : 2 * V] = eye  # meets the token before
        v[:V, :V] = eye  # and brings the token there
        second.out.weight[2 * V : 3 * V, D : D + V] = eye  # type: ignore[operator]
        model.head.weight[:, 2 * V : 3 * V] = 8 * eye
    return Run(Path("runs/planted"), model.eval(), CharTokenizer(LETTERS))


def test_a_planted_induction_head_has_the_score_of_a_perfect_one() -> None:
    run = planted()

    def shifted(x: torch.Tensor) -> torch.Tensor:
        """What a previous-token head would write: the token before, beside the present one."""
        y = x.clone()
        y[:, 1:, V : 2 * V] = x[:, :-1, :V]
        return y

    distinct = "".join(LETTERS[:N]) * 2
    with run.model.patched({"blocks.1.resid.pre": shifted}):
        trace = run.inspect(distinct)
        assert all(trace.attention(1, 1).weights[N + i, i + 1] > 0.99 for i in range(N - 1))
        assert np.nansum(trace.surprisal().bits[N + 1 :]) < 0.5
        scores = induction_score(run, length=4, rows=32)
        importance = head_importance(run, distinct)
    assert importance.ranked()[0][:2] == (1, 1)
    assert importance.values[0].tolist() == [0, 0]
    assert importance.values[1, 0] == 0
    assert scores.ranked()[0][:2] == (1, 1)
    assert scores.values[1, 1] > 0.99
    assert scores.values[1, 0] < 0.3


def test_importance_is_the_rise_of_the_whole_texts_loss_over_windows() -> None:
    run, text = small_run(), "to be or not to be, that is the question"  # three windows of 16, the last one short
    ids = run.tokenizer.encode(text)

    def loss() -> float:
        total = 0.0
        for start in range(0, len(ids) - 1, 16):
            part = ids[start : start + 17]
            total += float(np.nansum(inspect(run.model, part[:-1]).surprisal().nats[1:]))
            x = torch.tensor([part[:-1]])
            with torch.no_grad():
                logits = run.model(x)[0][0]
            total += float(-logits.log_softmax(-1)[-1, part[-1]])
        return total

    whole = loss()
    for layer, head in ((0, 0), (1, 3)):
        for patch, found in ((0.0, head_importance(run, text)), (mean, head_importance(run, text, mean))):
            with run.model.patched({f"blocks.{layer}.attn.head.{head}": patch}):
                rise = (loss() - whole) / math.log(2) / (len(text) - 1)
            if patch == 0.0:
                assert found.values[layer, head] == pytest.approx(rise, abs=1e-4)
            else:
                assert found.values[layer, head] != 0


def test_scores_read_no_random_state_and_depend_on_the_seed_alone() -> None:
    model = small_run().model.train()
    state = torch.get_rng_state()
    first, again, other = (induction_score(model, seed=seed).values for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert ((first > 0) & (first < 1)).all()


def test_what_cannot_be_scored_is_refused_in_one_line() -> None:
    run = small_run()
    with pytest.raises(UsageError, match="a text of 1 tokens in head_importance; give it two or more"):
        head_importance(run, "a")
    with pytest.raises(DataError, match="outside the vocabulary"):
        head_importance(run, TEXT + "é")
    with pytest.raises(UsageError, match="9 tokens to repeat in a context of 16 with 36 different ones in induct"):
        induction_score(run, length=9)
    with pytest.raises(UsageError, match="1 tokens to repeat in a context of 3"):
        induction_score(small_run(block_size=3))
    with pytest.raises(UsageError, match="40 tokens to repeat in a context of 128 with 36 different ones"):
        induction_score(small_run(block_size=128), length=40)
    with pytest.raises(UsageError, match="rows 0 in induction_score"):
        induction_score(run, rows=0)
