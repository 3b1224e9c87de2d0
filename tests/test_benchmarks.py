"""The benchmarks run: each with tiny sizes, so that they cannot rot. What they measure here means nothing."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts" / "bench"
TABLES = {
    "train": "grid, s/step",
    "generate": "1 streams of 15 tokens",
    "llama": "tiny, f32: 8 tokens",
    "peers": "training, 1x2x16 T16 B4",
    "overhead": "reliability in a default run",
    "data": "batches of 128 x 128",
    "scaling": "plan=true against a run",
    "growth": "growth of context",
    "page": "pages in Chromium",
    "startup": "seconds from start",
    "speed": "time to quality",
}


@pytest.fixture(autouse=True)
def _scripts_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def bench(name: str, out: Path, *words: str) -> dict[str, Any]:
    """Run a benchmark in this process and return the JSON that it writes."""
    import_module(f"bench_{name}").main(["--quick", "--device", "cpu", "--out", str(out), *words])
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["bench"] == name
    assert found["limits"]["fp32 FLOP/s"] > 0
    assert found["machine"]["torch"]
    return found


@pytest.mark.parametrize("name", TABLES)
def test_a_benchmark_runs_and_writes_its_figures(name: str, tmp_path: Path) -> None:
    words = ["--parts", "reference", "cpu", "grid"] if name == "train" else []
    found = bench(name, tmp_path / "out.json", *words)
    assert found["results"][TABLES[name]]
    assert name == "speed" or found["claims"]


def test_one_command_runs_them_and_holds_them_against_their_goals(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "run.py"), str(tmp_path), "--quick", "--only", "generate"]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    verdict, value, *_, what = done.stdout.splitlines()[-1].split(maxsplit=4)
    assert (verdict, value) == ("pass", "1")
    assert what == "generate: tokens equal to the uncached ones, fp32"
    assert (tmp_path / "generate.json").is_file()


def test_a_quick_run_that_is_out_of_time_says_what_has_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = import_module("run")
    monkeypatch.setattr(run, "QUICK_SECONDS", 0.5)
    assert run.main([str(tmp_path), "--quick", "--only", "data", "train", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["not", "run", f"{name}:", "out", "of", "time"] for name in ("data", "train")
    ]


def test_ratios_are_those_of_the_rounds_and_turns_alternate() -> None:
    rig = import_module("bench_rig")
    order: list[str] = []
    times = {"a": iter([1.0, 2.0, 9.0]), "b": iter([2.0, 2.0, 3.0])}

    def run(name: str) -> float:
        order.append(name)
        return next(times[name])

    found = rig.alternate({name: lambda name=name: run(name) for name in times}, rounds=3)
    assert "".join(order) == "ababab"
    assert found["a"].over(found["b"]) == 1.0  # the median of 1/2, 1 and 3
    assert (found["a"].median, found["a"].low, found["a"].high) == (2.0, 1.0, 9.0)


def test_a_claim_is_held_against_its_goal() -> None:
    rig = import_module("bench_rig")
    b = rig.Bench("x", "x")
    b.claim("fast", 3.0, at_least=2)
    b.claim("slow", 3.0, at_most=2)
    b.claim("between", 1.0, 0.95, 1.05)
    assert [claim["ok"] for claim in b.claims] == [True, False, True]


def test_the_naive_model_and_ours_are_the_same_maths() -> None:
    """A rival that computed something else would prove nothing."""
    import torch

    from microgpt import GPT, GPTConfig

    naive = import_module("bench_naive").NaiveGPT(2, 2, 16, 8, 11)
    ours = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, pos="rope"), 11)  # type: ignore[arg-type]
    assert sum(p.numel() for p in naive.parameters()) == ours.num_params()
    x, y = torch.randint(11, (2, 3, 8))
    heads = range(2)
    with torch.no_grad():
        ours.wte.weight.copy_(naive.embedding.weight)
        ours.head.weight.copy_(naive.head.weight)
        for mine, theirs in zip(ours.blocks, naive.blocks, strict=True):
            # Ours rotates the halves of a head against one another, the naive one its neighbours.
            order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
            q, k = (torch.cat([getattr(theirs.heads[h], n).weight[order] for h in heads]) for n in ("query", "key"))
            v = torch.cat([theirs.heads[h].value.weight for h in heads])
            mine.attn.qkv.weight.copy_(torch.cat([q, k, v]))  # type: ignore[operator]
            mine.attn.out.weight.copy_(theirs.out.weight)  # type: ignore[operator]
            mine.mlp.widen.weight.copy_(theirs.mlp[0].weight)  # type: ignore[operator]
            mine.mlp.out.weight.copy_(theirs.mlp[2].weight)  # type: ignore[operator]
        torch.testing.assert_close(naive(x, y), ours(x, targets=y)[1], rtol=1e-5, atol=1e-6)


def test_nanogpt_is_asked_for_by_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench("generate", tmp_path / "out.json", "--nanogpt", str(tmp_path))
    assert "no train.py" in capsys.readouterr().err
