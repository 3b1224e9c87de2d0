"""`plan=true`: what is computed is exact, what is predicted is what then comes, and nothing is left behind."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from microgpt import GPT, train
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.config import RunConfig
from microgpt.engine.optim import OptimConfig
from microgpt.engine.plan.estimate import linear, sizes_to_try
from microgpt.engine.plan.footprint import LiveBytes, footprint
from microgpt.engine.plan.length import compiling_pays, total_steps
from microgpt.engine.plan.plan import scored_at_once, times
from microgpt.engine.plan.trial import Trial
from microgpt.model.kernels import hardware
from microgpt.model.pos import PositionConfig
from microgpt.text import seconds_text, step_text

Tiny = Callable[..., list[str]]
V = 65


def config(*overrides: str) -> RunConfig:
    return compose_run(["model=gpt-nano", "model.block_size=32", "data.batch_size=8", *overrides], None).config


def step(config: RunConfig, precision: str = "32-true", micro: int = 8, scored: int = 0) -> Trial:
    return Trial(config, V, "cpu", precision, False, 8, micro, scored)


def rows(out: str) -> dict[str, str]:
    return {line[:12].strip(): line[12:].strip() for line in out.splitlines()}


def real_peak(config: RunConfig, precision: str, n_micro: int) -> int:
    """The most bytes of tensors that live at once in a step that is really made, after one that makes the state."""
    bf16 = precision == "bf16-mixed"
    with LiveBytes() as live:
        model = GPT(config.model, V)
        optimizer = config.optim.build(model.named_parameters())
        average = [p.detach().clone() for p in model.parameters()] if config.trainer.ema_decay else []
        for _ in range(2):
            for _ in range(n_micro):
                ids = torch.zeros(2, config.data.batch_size // n_micro, config.model.block_size, dtype=torch.int64)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    loss = model.loss(ids[0], ids[1])
                loss.backward()
                del loss
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            optimizer.step()
            optimizer.zero_grad()
        del average
    return live.peak


@pytest.mark.parametrize("optim", sorted(OptimConfig.members))
def test_the_computed_memory_is_that_of_the_tensors_of_a_real_step(optim: str) -> None:
    run = config(f"optim={optim}")
    for precision in ("32-true", "bf16-mixed"):
        found = footprint(step(run, precision))
        assert found is not None
        assert found.peak == pytest.approx(real_peak(run, precision, 1), rel=1e-3)


@pytest.mark.parametrize(
    "knobs",
    [
        "trainer.ema_decay=0.9", "model.value_embed=true model.ngram_embed=500 model.prev_embed=2", "model=gpt2",
        "model.dropout=0.1", "trainer.micro_batch_size=2",
    ],
)  # fmt: skip
def test_the_computed_memory_counts_every_part(knobs: str) -> None:
    small = ["model.n_layer=2", "model.n_head=3", "model.n_embd=48", "model.block_size=32"]
    run = config(*knobs.split(), *small)
    micro = run.trainer.micro_batch_size or 8
    found = footprint(step(run, micro=micro))
    assert found is not None
    assert found.peak == pytest.approx(real_peak(run, "32-true", 8 // micro), rel=1e-3)


@pytest.mark.parametrize("pos", sorted(PositionConfig.members))
def test_weights_gradients_and_moments_are_counted_to_the_byte(pos: str) -> None:
    run = config(f"model.pos={pos}", "optim=adamw")
    params = GPT(run.model, V).num_params()
    found = footprint(step(run))
    assert found is not None
    assert found.gradients == 4 * params
    tables = sum(b.nbytes for b in GPT(run.model, V).buffers())
    assert found.weights == 4 * params + tables
    counters = 4 * len(list(GPT(run.model, V).parameters()))
    assert found.optimizer == 8 * params + counters
    averaged = footprint(step(config(f"model.pos={pos}", "optim=adamw", "trainer.ema_decay=0.9")))
    assert averaged is not None
    assert averaged.optimizer == found.optimizer + 4 * params


def test_precision_evaluation_and_sharding_are_counted() -> None:
    run = config("optim=adamw")
    full = footprint(step(run))
    half = footprint(step(run, "bf16-true"))
    assert full is not None
    assert half is not None
    tables = sum(b.nbytes for b in GPT(run.model, V).buffers())
    assert half.weights - tables == (full.weights - tables) // 2
    assert torch.get_default_dtype() is torch.float32
    scored = footprint(step(run, scored=512))
    assert scored is not None
    assert scored.peak > 512 * 32 * V * 4
    assert scored.peak > full.peak
    shared = full.sharded(4)
    assert full.peak - shared.peak == pytest.approx(0.75 * (full.weights + full.optimizer + full.gradients), abs=8)


RUN = """
import json, sys
import microgpt.engine.train as T
from microgpt.engine.machine import memory
from microgpt.engine.plan import estimate
if sys.argv.pop(1) == "parts":
    estimate.sizes_to_try = lambda share, micro, _: [(share // 8, share // 8), (share // 4, share // 4)]
make = T.make_plan
found = {}
def make_plan(*args):
    plan = make(*args)
    e = plan.estimate
    found.update(total=e.held + e.growth, tensors=e.tensors.peak)
    return plan
T.make_plan = make_plan
T.train(sys.argv[1:])
print(json.dumps({**found, "peak": memory.most_held("cpu")}))
"""


def in_a_process(tried: str, arguments: list[str]) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", RUN, tried, *arguments], capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' account of memory")
@pytest.mark.parametrize(
    ("tried", "knobs"),
    [
        ("whole", "data.batch_size=384 trainer.precision=32-true optim=adamw"),
        ("whole", "data.batch_size=640 model.value_embed=true trainer.precision=bf16-mixed"),
        ("parts", "data.batch_size=384 trainer.precision=32-true optim=adamw"),
    ],
)
def test_the_memory_of_a_run_is_what_the_plan_says(tried: str, knobs: str, tiny: Tiny) -> None:
    arguments = tiny("model.block_size=64", "trainer.max_steps=4", "eval.every_n_steps=0", *knobs.split())
    plan = in_a_process(tried, [*arguments, "plan=true"])
    run = in_a_process(tried, arguments)
    assert plan["tensors"] > 200 * 2**20
    assert plan["total"] == pytest.approx(run["peak"], rel=0.15)


def test_a_plan_prints_its_table_and_leaves_nothing(
    tiny: Tiny, book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before, state = sorted(tmp_path.rglob("*")), torch.random.get_rng_state()
    overrides = tiny("plan=true", "optim=adamw")
    assert train(overrides) is None
    table = rows(capsys.readouterr().out)
    assert sorted(tmp_path.rglob("*")) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    model = GPT(compose_run(overrides, None).config.model, len(set(book.read_text())))
    n, flops = model.num_params(), model.flops_per_token()
    assert table["parameters"].startswith(f"{n:,} ({model.num_params(non_embedding=True):,} outside")
    assert table["arithmetic"].startswith(f"{flops:,} FLOPs a token, {flops * 6 * 8 * 16:.3g} in all")
    assert table["tokens"].startswith("768, ")
    for row in ("tensors", "memory", "time", "to start", "to train", "beside it"):
        assert any(character.isdigit() for character in table[row]), row
    assert table["measured"] == "steps on random tokens"


def test_time_grows_with_the_number_of_steps(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny("plan=true", "trainer.max_steps=10"))
    short = rows(capsys.readouterr().out)
    train(tiny("plan=true", "trainer.max_steps=10000000"))
    long = rows(capsys.readouterr().out)
    assert short["to train"].split(":")[0].endswith(" s")
    assert long["to train"].split(":")[0].endswith((" h", " days"))
    assert long["time"].split(",")[0].endswith((" h", " days"))


def test_a_model_that_is_too_large_to_try_is_reckoned(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microgpt.engine.machine.memory.available", lambda accelerator: 1000)
    train(tiny("plan=true"))
    table = rows(capsys.readouterr().out)
    share = hardware.of("cpu").share_of_peak
    said = f"nothing: a step is too large to try here; the time assumes {share:.0%} of the peak"
    assert table["measured"].startswith(said)
    assert table["memory"] == "more than the tensors: a step was not tried"
    assert "at the peak" in table["tensors"]


def test_what_is_tried_is_the_batch_itself_or_two_parts_of_it() -> None:
    assert sizes_to_try(32, 32, 0.01) == [(32, 32)]
    assert sizes_to_try(32, 8, 0.01) == [(32, 8)]
    assert sizes_to_try(64, 4, 0.1) == [(4, 4), (8, 4)]
    assert sizes_to_try(64, 64, 0.1) == [(5, 5), (10, 10)]
    assert sizes_to_try(64, 16, 0.1) == [(16, 16), (32, 16)]
    assert sizes_to_try(8, 8, 0.9) == [(1, 1), (2, 2)]
    assert sizes_to_try(8, 8, 3.0) == [(1, 1)]
    assert sizes_to_try(8, 8, 30.0) == []
    assert linear([32], [1.5], 32) == 1.5
    assert linear([10, 20], [1.1, 2.1], 64) == pytest.approx(6.5)
    assert linear([10, 20], [2.0, 1.9], 40) == pytest.approx(3.8)  # noise: in proportion


def test_steps_and_times_are_counted() -> None:
    run = config("trainer.max_steps=null", "trainer.max_epochs=2.5")
    assert total_steps(run, 1001) == 313
    assert [times(600, 250), times(600, 200), times(600, 0), times(5, 10)] == [3, 3, 1, 1]
    assert [seconds_text(s) for s in (40, 719, 12600, 181440)] == ["40 s", "12.0 min", "3.5 h", "2.1 days"]
    assert [step_text(s) for s in (0.0084, 0.1049, 2.3)] == ["8.4 ms", "105 ms", "2.3 s"]


def test_an_evaluation_takes_no_more_windows_than_the_text_has() -> None:
    run = config("eval.batch_size=20")
    assert [scored_at_once(run, V, tokens) for tokens in (0, 1, 2, 33, 34, 640, 10_000)] == [0, 0, 1, 1, 2, 20, 20]


def test_compiling_pays_after_two_minutes() -> None:
    run = replace(config(), model=replace(config().model, block_size=100))
    for share in (1 / 3, 1 / 2):
        peak = 8 * 100 * 1e6 / share  # of 1e6 FLOPs a token, one step a second at this share of the peak
        assert compiling_pays(run, 121, 1e6, peak, share)
        assert not compiling_pays(run, 119, 1e6, peak, share)


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux counts")
def test_a_process_does_not_count_the_memory_of_the_one_that_started_it() -> None:
    code = "from microgpt.engine.machine import memory; print(memory.most_held('cpu'))"
    ballast = b"x" * (1 << 30)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < len(ballast)
