"""lm-evaluation-harness scores an exported folder as our own model scores it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from microgpt.data.tokenizer import BPETokenizer
from microgpt.engine.exchange.export import export
from microgpt.engine.trained.run import Run
from microgpt.model import GPT, GPTConfig

TASK = """
task: tiny_cats
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc}}]
"""
DOCS = [{"text": f"{a} cat", "choices": ["sat", "ran", "saw"], "label": i % 3} for i, a in enumerate("abcdefghij")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of many libraries
def test_lm_eval_scores_an_export_as_we_do(transformers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="the extra exchange is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import lm_eval
    from lm_eval.tasks import TaskManager

    tokens = BPETokenizer.from_texts(["the cat sat, ran and saw a dog. " * 20], 270)
    torch.manual_seed(0)
    parts = {"norm": "rmsnorm", "pos": "rope", "mlp": "swiglu", "n_layer": 1, "n_head": 2, "n_embd": 32}
    model = GPT(GPTConfig.from_dict({**parts, "block_size": 32}), tokens.vocab_size).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    export(Run(tmp_path, model, tokens), tmp_path / "out", {"name": "hf", "card": False})
    (tmp_path / "docs.jsonl").write_text("\n".join(map(json.dumps, DOCS)))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "tiny.yaml").write_text(TASK.format(data=tmp_path / "docs.jsonl"))
    # The tokenizer has no end token, which lm-eval would put before a text.
    settings = f"pretrained={tmp_path / 'out'},trust_remote_code=False,device=cpu,dtype=float32,prefix_token_id=0"
    found = lm_eval.simple_evaluate(
        model="hf", model_args=settings,
        tasks=["tiny_cats"], batch_size=1, bootstrap_iters=0, log_samples=True,
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
    )  # fmt: skip
    right = 0
    samples = {sample["doc_id"]: sample for sample in found["samples"]["tiny_cats"]}
    for i, doc in enumerate(DOCS):
        ours = [score(model, tokens, str(doc["text"]), f" {choice}") for choice in doc["choices"]]  # type: ignore[attr-defined]
        theirs = [float(answer[0]) for answer in samples[i]["filtered_resps"]]
        assert ours == pytest.approx(theirs, abs=1e-4)
        right += max(range(3), key=ours.__getitem__) == doc["label"]
    assert found["results"]["tiny_cats"]["acc,none"] == pytest.approx(right / len(DOCS))


@torch.no_grad()
def score(model: GPT, tokens: BPETokenizer, before: str, after: str) -> float:
    """The log-probability of a text after another."""
    n, ids = len(tokens.encode(before)), tokens.encode(before + after)
    rows = model(torch.tensor([ids[:-1]]))[0][0].log_softmax(-1)
    return sum(float(rows[i - 1, ids[i]]) for i in range(n, len(ids)))
