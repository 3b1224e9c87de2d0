"""Low-rank adaptation and freezing: what is trained, what is not, and that merging changes nothing."""

from typing import Any

import pytest
import torch

from microgpt.errors import UsageError
from microgpt.model import GPT, GPTConfig
from microgpt.model.lora import LoRAConfig, attach, freeze, merge

X = torch.arange(24).view(2, 12)


def model(**knobs: Any) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig.from_dict({"n_layer": 2, "n_head": 4, "n_embd": 64, "block_size": 12, **knobs}), 50)


def trained(m: GPT) -> set[str]:
    return {name for name, p in m.named_parameters() if p.requires_grad}


def updated(m: GPT) -> GPT:
    """One optimizer step, so that the changes are no longer zero."""
    optimizer = torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=5.0)
    for _ in range(2):
        m(X, targets=X)[1].backward()
        optimizer.step()
        optimizer.zero_grad()
    return m.eval()


@pytest.mark.parametrize("bias", [False, True])
def test_it_starts_as_the_model_and_trains_its_changes_alone(bias: bool) -> None:
    plain, adapted = model(bias=bias).eval(), model(bias=bias)
    before = {name: p.clone() for name, p in plain.named_parameters()}
    attach(adapted, LoRAConfig(rank=2))
    assert torch.equal(adapted.eval()(X)[0], plain(X)[0])
    assert trained(adapted) == {
        f"blocks.{i}.attn.{matrix}.lora_{ab}" for i in (0, 1) for matrix in ("qkv", "out") for ab in "ab"
    }
    updated(adapted)
    after = dict(adapted.named_parameters())
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not torch.allclose(adapted(X)[0], plain(X)[0], atol=1e-3)


def test_merged_it_is_a_plain_model_with_the_same_logits() -> None:
    adapted = updated(attach(model(bias=True), LoRAConfig(rank=3, targets=("attn.*", "mlp.*"))))
    merged = merge(adapted)
    assert merged.state_dict().keys() == model(bias=True).state_dict().keys()
    assert (merged(X)[0] - adapted(X)[0]).abs().max() < 1e-5
    assert any("lora_a" in name for name, _ in adapted.named_parameters())  # the original goes on training
    assert merge(merged) is merged


def test_the_rank_and_the_targets_set_how_much_is_trained() -> None:
    m = attach(model(), LoRAConfig(rank=4, targets=("mlp.widen",)))
    assert sum(p.numel() for p in m.parameters() if p.requires_grad) == 2 * 4 * (64 + 256)


def test_a_target_that_names_no_matrix_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'attn.qvk' in lora.targets; did you mean 'attn.qkv'"):
        attach(model(), LoRAConfig(rank=2, targets=("attn.qvk",)))


def test_frozen_weights_are_those_that_match() -> None:
    m = model()
    freeze(m, ("wte.*", "blocks.0.*"))
    assert trained(m) == {name for name, _ in m.named_parameters() if not name.startswith(("wte.", "blocks.0."))}


def test_a_pattern_that_matches_nothing_and_a_model_all_frozen_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no weight 'wpe.weight' in trainer.freeze; did you mean 'wte.weight'"):
        freeze(model(), ("wpe.weight",))
    with pytest.raises(UsageError, match="every weight is frozen"):
        freeze(model(), ("*",))
