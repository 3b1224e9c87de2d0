"""A text's trace: what the analyses compute, and what is refused."""

import doctest
import importlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import TEXT, small_run

from microgpt import Run
from microgpt.errors import CheckpointError, DataError, NonFiniteError, UsageError
from microgpt.inspect import inspect
from microgpt.model import GPT, GPTConfig


def test_surprisal_is_the_loss_in_nats_and_in_bits_per_character() -> None:
    run = small_run()
    found = run.inspect(TEXT).surprisal()
    ids = torch.tensor([run.tokenizer.encode(TEXT)])
    _, loss = run.model(ids[:, :-1], ids[:, 1:], reduction="none")
    assert math.isnan(found.nats[0])
    np.testing.assert_allclose(found.nats[1:], loss[0].detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.bits, found.nats / math.log(2))
    assert found.bits_per_character == pytest.approx(float(loss.detach().mean()) / math.log(2), rel=1e-5)
    assert math.isnan(run.inspect("t").surprisal().bits_per_character)


def test_bits_are_per_character_where_tokens_span_several(tokenizers: Any) -> None:
    from microgpt.data.config import DataConfig
    from microgpt.data.tokenizer import Tokenizer

    tokenizer = Tokenizer.named("bpe").fit(["the cat and the dog and the cat " * 20], DataConfig(vocab_size=280))
    model = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=16), tokenizer.vocab_size).eval()
    text = "the cat and the dog"
    trace = Run(Path("runs/bpe"), model, tokenizer).inspect(text)
    assert "".join(trace.tokens) == text
    assert len(trace.tokens) < len(text)
    found = trace.surprisal()
    characters = len(text) - len(trace.tokens[0])
    assert found.bits_per_character == pytest.approx(np.nansum(found.bits) / characters)


def test_the_likeliest_tokens_are_those_of_the_logits() -> None:
    trace = small_run().inspect(TEXT)
    found = trace.top(3)
    p = trace["logits"].softmax(-1)
    assert found.ids[:, 0].tolist() == p.argmax(-1).tolist()
    np.testing.assert_allclose(found.probabilities, np.take_along_axis(p.numpy(), found.ids, 1), rtol=1e-5)
    assert (np.diff(found.probabilities) <= 0).all()


@pytest.mark.parametrize("knobs", [{}, {"norm_place": "post"}, {"tie_weights": True, "logit_softcap": 3.0}])
def test_the_logit_lens_ends_in_the_models_own_prediction(knobs: dict[str, Any]) -> None:
    run = small_run(**knobs)
    trace = run.inspect(TEXT)
    found = trace.logit_lens()
    assert found.stages == ("embed", "layer 0", "layer 1")
    assert found.ids[-1].tolist() == trace["logits"].argmax(-1).tolist()
    np.testing.assert_allclose(found.nats[-1, :-1], trace.surprisal().nats[1:], rtol=1e-4)
    first = run.model.logits(run.model.norm(trace["embed"])).softmax(-1).amax(-1)
    np.testing.assert_allclose(found.probabilities[0], first.detach().numpy(), rtol=1e-5)


def test_attention_is_the_models() -> None:
    run = small_run(n_kv_head=2)
    found = run.inspect(TEXT).attention(1, 3)
    assert run.inspect(TEXT).attention(np.int64(1), torch.tensor(3)).head == 3
    _, _, attention = run.model(torch.tensor([run.tokenizer.encode(TEXT)]), return_attention=True)
    np.testing.assert_allclose(found.weights, attention[1][0, 3].detach().numpy(), atol=1e-6)


def test_the_model_keeps_its_mode_and_its_random_state() -> None:
    run = small_run(dropout=0.5)
    run.model.train()
    state = torch.get_rng_state()
    first, second = run.inspect(TEXT), run.inspect(TEXT)
    assert run.model.training
    assert torch.equal(first["logits"], second["logits"])
    assert torch.equal(torch.get_rng_state(), state)
    assert not first["logits"].requires_grad


def test_tokens_may_be_a_list_an_array_or_a_tensor() -> None:
    model = small_run().model
    texts: list[Any] = [[3, 1, 4], np.array([3, 1, 4], np.uint8), torch.tensor([3, 1, 4]), torch.tensor([[3, 1, 4]])]
    found = [inspect(model, ids)["logits"] for ids in texts]
    assert all(torch.equal(other, found[0]) for other in found)
    assert inspect(model, [3, 1, 4]).tokens == ("3 ", "1 ", "4 ")


def test_long_and_unknown_and_empty_texts_are_refused_in_one_line() -> None:
    run = small_run()
    for text, kind, said in [
        ("a" * 17, UsageError, r"17 tokens for a context of 16 in inspect; give at most 16 tokens.*text\[-16:\]"),
        ("naïve", DataError, "character outside the vocabulary: 'ï' U.00EF, the first at position 2"),
        ("", UsageError, "an empty text in inspect; give it at least one token"),
    ]:
        with pytest.raises(kind, match=said) as caught:
            run.inspect(text)
        assert "\n" not in str(caught.value)


def test_ids_outside_the_vocabulary_and_of_wrong_shape_are_refused() -> None:
    model = small_run().model
    for ids, said in [
        ([3, 99], "token 99 of a vocabulary of 36 in inspect; tokens are 0 to 35"),
        ([-1], "token -1 of a vocabulary"),
        ([[1, 2], [3, 4]], r"tokens of shape \(2, 2\) and type torch.int64 in inspect; give the tokens of one text"),
        ([0.5], r"tokens of shape \(1,\) and type torch.float32"),
        ([], "an empty text"),
    ]:
        with pytest.raises(UsageError, match=said):
            inspect(model, ids)


def test_names_layers_heads_and_positions_that_do_not_exist_are_refused_with_near_ones() -> None:
    trace = small_run().inspect(TEXT)
    wrong = [
        (
            lambda: trace["blocks.0.attn.probs"],
            r"no activation 'blocks.0.attn.probs' in the trace; did you mean 'blocks",
        ),
        (lambda: trace["blocks.5.mlp"], "no layer 5: 'blocks.5.mlp' in the trace; layers are 0 to 1"),
        (lambda: trace["blocks.0.attn.head.9"], "no head '9': .* heads are 0 to 3"),
        (lambda: trace["pos.bias"], "no activation 'pos.bias' in the trace"),
        (lambda: trace.attention(2, 0), "no layer 2 in the trace; layers are 0 to 1"),
        (lambda: trace.attention("0", 1), "no layer '0' in the trace; layers are 0 to 1"),
        (lambda: trace.attention(0, -1), "no head -1 in the trace; heads are 0 to 3"),
        (lambda: trace.attribution(position=13), "position 13 of 13 tokens in attribution; positions are -13 to 12"),
        (lambda: trace.attribution(token=99), "no token 99 in the trace; tokens are 0 to 35"),
        (lambda: trace.attribution(token="no"), "'no' is 2 tokens in the trace; name one token, or give its index"),
        (lambda: trace.top(0), "k 0 in top; it must be from 1 to 36"),
        (lambda: trace.top(37), "k 37 in top"),
    ]
    for call, said in wrong:
        with pytest.raises(UsageError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 250


def test_damaged_weights_and_missing_runs_are_named(tmp_path: Path) -> None:
    from microgpt import load

    run = small_run()
    with torch.no_grad():
        run.model.wte.weight[:] = math.nan
    with pytest.raises(NonFiniteError, match="the model's logits are not finite in inspect; its weights are damaged"):
        run.inspect("abcd")
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(CheckpointError, match="the run has saved no model yet"):
        load(tmp_path).inspect(TEXT)


@pytest.mark.parametrize("module", ["trace"])
def test_the_examples_of_the_docstrings_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(f"microgpt.inspect.{module}"))
    assert found.failed == 0
    assert found.attempted > 0


def test_inspecting_imports_neither_lightning_nor_hydra_nor_matplotlib() -> None:
    code = (
        "import sys; from microgpt import GPT, GPTConfig; from microgpt.inspect import inspect; "
        "inspect(GPT(GPTConfig(), 5), [1, 2]).attribution()._repr_html_(); "
        "bad = {'lightning', 'hydra', 'matplotlib', 'transformers', 'torch._dynamo'} & set(sys.modules); "
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
