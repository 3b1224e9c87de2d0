"""The least memory that a configuration needs is below what it takes, and what cannot fit is refused at once."""

import pytest

from microgpt.engine.compose.compose import compose_run, run_config
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.engine.compose.schema import families
from microgpt.engine.machine import host_memory
from microgpt.engine.plan.footprint import footprint
from microgpt.engine.plan.least_memory import least_memory, least_weights, memory_of_run, require_memory
from microgpt.engine.plan.trial import Trial
from microgpt.errors import MachineError
from microgpt.model import GPT
from microgpt.model.files.without_weights import without_weights

PARTS = [f"{path}={name}" for path, family in families(run_config()).items()
         if path in ("model.pos", "model.norm", "model.mlp") for name in family.members]  # fmt: skip
EXTRAS = ("model.bias=true", "model.n_kv_head=2", "model.tie_weights=true model.init=gpt2", "model.ngram_embed=100",
          "model.prev_embed=3", "model.value_embed=true", "model.resid_scale=true", "model.mlp_hidden=7",
          "model.qk_norm=true", "model.norm_place=sandwich", "model.norm_place=post",
          "model.residual=parallel",
          "model.norm_affine=false")  # fmt: skip


def real_weights(*words: str) -> tuple[int, int]:
    model = compose_run(words).config.model
    with without_weights():
        return least_weights(model), sum(p.numel() for p in GPT(model, 1).parameters())


@pytest.mark.parametrize("model", config_groups(shipped_yaml())["model"])
def test_the_least_weights_of_a_shipped_model_are_nearly_all_of_its_weights(model: str) -> None:
    least, real = real_weights(f"model={model}")
    assert 0.97 * real <= least + compose_table(model) <= real


def compose_table(model: str) -> int:
    """The trained rows of a position scheme, which the bound counts among the tables."""
    config = compose_run([f"model={model}"]).config.model
    is_trained = config.pos.name == "learned"
    return config.pos.table_numbers(config.n_embd, config.n_head, config.block_size) if is_trained else 0


@pytest.mark.parametrize("words", [*PARTS, *EXTRAS])
def test_the_least_weights_never_exceed_the_real_ones(words: str) -> None:
    for size in ("model.n_layer=1 model.n_embd=8 model.n_head=4", "model.n_layer=3 model.n_head=4", "model=gpt2"):
        least, real = real_weights(*size.split(), *words.split())
        assert least <= real, size


SHAPES = {
    "model.n_layer=1": "optim=adamw trainer.precision=32-true",
    "model.n_layer=6 data.batch_size=64": "optim=muon trainer.precision=bf16-mixed",
    "model.block_size=512 model.n_embd=32": "optim=sgd trainer.precision=bf16-true",
    "trainer.ema_decay=0.9 trainer.micro_batch_size=2": "optim=lion trainer.precision=32-true",
    "lora.rank=8": "optim=adamw trainer.precision=bf16-true",
    "model.n_embd=256 data.batch_size=2": "optim=muon trainer.precision=bf16-true",
    "model.mlp=swiglu model.pos=sinusoidal": "optim=lion trainer.precision=bf16-mixed",
    "model.pos=learned model.block_size=2048 data.batch_size=1": "optim=sgd trainer.precision=32-true",
    "model.attention=reference model.norm=none": "optim=adamw trainer.precision=bf16-mixed",
    "model.pos=t5 model.pos.num_buckets=128": "optim=muon trainer.precision=32-true",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_least_memory_never_exceeds_the_computed_one(shape: str) -> None:
    config = compose_run(["model=gpt-micro", "data.batch_size=8", *SHAPES[shape].split(), *shape.split()]).config
    sequences, precision = config.data.batch_size, config.trainer.precision
    micro = config.trainer.micro_batch_size or sequences
    found = footprint(Trial(config, 16, "cpu", precision, False, sequences, micro, 0))
    assert found is not None
    least = least_memory(config)
    assert least.total <= found.peak
    assert least.weights * (2 if precision == "bf16-true" else 4) <= found.weights


HUGE = {
    "model.n_layer=1000000": "lower model.n_layer",
    "model.n_embd=1048576": "lower model.n_embd",
    "model.mlp_hidden=1000000000": "lower model.mlp_hidden",
    "model.block_size=100000000": "lower model.block_size",
    "model.pos=learned model.block_size=10000000000 data.batch_size=1": "lower model.block_size",
    "model.ngram_embed=10000000000": "lower model.ngram_embed",
    "data.batch_size=1000000000": "lower data.batch_size",
    "data.batch_size=1000000000 trainer.micro_batch_size=500000000": "lower trainer.micro_batch_size",
    "lora.rank=1000000000": "lower lora.rank",
}


@pytest.mark.parametrize("words", HUGE)
def test_what_cannot_fit_is_refused_with_the_number_and_the_knob_to_lower(words: str) -> None:
    config = compose_run([*words.split(), "trainer.accelerator=cpu"]).config
    with pytest.raises(MachineError) as error:
        require_memory(config)
    assert error.value.fix == HUGE[words]
    assert " needs at least " in error.value.what


def test_what_fits_is_not_refused_and_the_edge_is_exact() -> None:
    config = compose_run(["model=gpt2", "optim=adamw", "data.batch_size=1"]).config
    need = least_memory(config).total
    assert need == pytest.approx(16 * 85e6, rel=0.01)
    require_memory(config, need)
    with pytest.raises(MachineError, match=r"model\.n_embd=768 needs at least 1\.4 GB, and there are 1\.4 GB"):
        require_memory(config, need - 1)
    for split in ("data.batch_size=1000000000 trainer.micro_batch_size=8", "model.pretrained=x model.n_layer=1000000"):
        require_memory(compose_run(split.split()).config)


def test_every_experiment_fits_a_machine_of_sixteen_gigabytes() -> None:
    for experiment in config_groups(shipped_yaml())["experiment"]:
        require_memory(compose_run([f"experiment={experiment}"]).config, 16 * 10**9)


def test_gpus_and_nodes_add_to_the_memory_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_memory.host_bytes()
    assert host is not None
    assert 10**9 < host < 2**44
    monkeypatch.setattr("microgpt.engine.plan.least_memory.may_have_accelerator", lambda: True)
    sizes = {words: memory_of_run(compose_run(words.split()).config) for words in (
        "trainer.accelerator=cpu", "trainer.accelerator=auto", "trainer.devices=2", "trainer.num_nodes=4",
        "trainer.accelerator=cpu trainer.num_nodes=2")}  # fmt: skip
    assert [size // 2**40 for size in sizes.values() if size] == [0, 1, 2, 4, 0]
    assert sizes["trainer.accelerator=cpu trainer.num_nodes=2"] == 2 * host
