"""Each kind of machine computes in the formats and by the kernels that it has units for."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from microgpt import train
from microgpt.engine.machine import device as machine
from microgpt.engine.optim.muon import newton_schulz
from microgpt.model import GPT, GPTConfig
from microgpt.model.kernels import hardware
from microgpt.model.kernels.attention import batched, fastest, sdpa
from microgpt.model.kernels.hardware import Hardware

Tiny = Callable[..., list[str]]

CPUS = {
    "AVX2": (frozenset({"avx2", "fma"}), {}),
    "AVX-512": (frozenset({"avx2", "avx512f", "avx512_vnni"}), {}),
    "AVX-512 with bfloat16": (frozenset({"avx2", "avx512f", "avx512_bf16"}), {}),
    "AMX": (frozenset({"avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile"}), {}),
    "Arm": (frozenset({"asimd", "fphp"}), {}),
    "Arm with bfloat16": (frozenset({"asimd", "bf16", "i8mm"}), {}),
    "unknown": (frozenset(), {}),
    "AMX held to AVX2": (frozenset({"avx2", "avx512_bf16", "amx_bf16"}), {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "AMX held to AVX-512": (frozenset({"avx512_bf16", "amx_bf16"}), {"DNNL_MAX_CPU_ISA": "avx512_core"}),
    "AMX held to itself": (frozenset({"avx512_bf16", "amx_bf16"}), {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}),
}
WITH_UNITS = {"AVX-512 with bfloat16", "AMX", "Arm with bfloat16", "AMX held to itself"}


@pytest.fixture(params=CPUS)
def cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    """A CPU of each kind, pretended."""
    flags, environ = CPUS[request.param]
    kind = hardware.cpu(flags, not request.param.startswith("Arm"), environ)
    assert kind.has_bf16 == (request.param in WITH_UNITS)
    monkeypatch.setattr(hardware, "of", lambda device: kind if device == "cpu" else hardware.detect(device))
    return kind


class Formats(TorchDispatchMode):
    """Counts the number formats of every operation's results."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[torch.dtype] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.found.update(x.dtype for x in tree_leaves((made, args)) if isinstance(x, torch.Tensor))
        return made


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "lion", "sgd"])
def test_training_and_its_samples_use_bfloat16_only_where_there_are_units(
    cpu: Hardware, tiny: Tiny, optimizer: str
) -> None:
    words = [word for word in tiny(f"optim={optimizer}", "sample.every_n_steps=2") if "precision" not in word]
    with Formats() as formats:
        run = train(words)
    assert run is not None
    assert formats.found[torch.float32] > 1000
    assert (formats.found[torch.bfloat16] > 0) == cpu.has_bf16
    assert run.summary["precision"] == ("bf16-mixed" if cpu.has_bf16 else "32-true")


@torch.no_grad()
def test_generation_uses_the_format_of_the_weights(cpu: Hardware) -> None:
    gpt = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=16), 50)
    with Formats() as formats:
        gpt.generate(torch.zeros(1, 4, dtype=torch.int64), 40, do_sample=False)
    assert torch.bfloat16 not in formats.found


@torch.no_grad()
def test_muons_matrices_are_orthogonal_in_either_format(cpu: Hardware) -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    polar = newton_schulz(matrices, (3.4445, -4.775, 2.0315), 5, 1e-7)
    assert polar.dtype is cpu.rough_dtype
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    singular = torch.linalg.svdvals(polar.float())
    assert float(singular.min()) > 0.6
    assert float(singular.max()) < 1.3
    assert torch.nn.functional.cosine_similarity(polar.float().flatten(1), (u @ v).flatten(1)).min() > 0.95
    assert torch.equal(matrices, torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0)))  # left as it was


def test_attention_in_an_emulated_format_is_torchs_own(cpu: Hardware) -> None:
    chosen = fastest(64, torch.device("cpu"), torch.bfloat16, is_training=True)
    assert chosen is (batched if cpu.has_bf16 else sdpa)


def test_an_emulated_format_is_allowed_and_its_cost_is_said(
    cpu: Hardware, tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny("trainer.precision=bf16-mixed", "trainer.max_steps=1", "eval.every_n_steps=1"))
    said = "this CPU has no bfloat16 units: a bfloat16 product takes about"
    assert (said in capsys.readouterr().out) == (not cpu.has_bf16)


def test_the_peak_of_an_emulated_format_is_that_of_float32(cpu: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {torch.float32: 2.0, torch.bfloat16: 5.0}
    monkeypatch.setattr(machine, "_peak_flops", lambda accelerator, dtype, threads: measured[dtype])
    assert machine.peak_flops("cpu", torch.bfloat16) == (5.0 if cpu.has_bf16 else 2.0)


def test_wide_models_on_a_cpu_alone_are_compiled_layer_by_layer(cpu: Hardware) -> None:
    assert cpu.compiles_layers(192)
    assert not cpu.compiles_layers(128)
    assert not Hardware("cuda", has_bf16=True).compiles_layers(768)
    assert not Hardware("mps", has_bf16=False).compiles_layers(768)


def test_gpus_by_what_torch_says_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_units in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_units: has)
        assert hardware.of("cuda").rough_dtype is (torch.bfloat16 if has_units else torch.float32)
    assert hardware.of("mps").rough_dtype is torch.float32


@pytest.fixture
def held_to_avx2() -> dict[str, str]:
    """The environment of a process whose libraries keep to AVX2."""
    return {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def test_a_process_held_to_avx2_trains_in_float32(held_to_avx2: dict[str, str], tiny: Tiny, tmp_path: Path) -> None:
    words = [word for word in tiny() if "precision" not in word]
    command = [sys.executable, "-m", "microgpt.engine.commands.train", *words, "trainer.progress=lines"]
    done = subprocess.run(command, env=held_to_avx2, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert " on cpu x86_64 in 32-true" in done.stdout or "aarch64" in done.stdout
