"""Each device's matrix units, and the number formats and kernels that suit them.

All code that casts or chooses a kernel asks this module: the default precision of training, Muon's products, packed
weights, attention, the choice to compile, a device's peak, benchmarks. A format without units is emulated: on a CPU
with only AVX2 a bfloat16 product takes 12 to 23 times as long as one in float32. Needs only torch.
"""

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

CPU_FLOPS: dict[str, dict[torch.dtype, float]] = {
    "amx": {torch.float32: 95e9, torch.bfloat16: 950e9},
    "avx512_bf16": {torch.float32: 95e9, torch.bfloat16: 160e9},
    "avx512": {torch.float32: 95e9},
    "avx2": {torch.float32: 70e9},
    "arm_bf16": {torch.float32: 70e9, torch.bfloat16: 200e9},
    "arm": {torch.float32: 70e9},
    "unknown": {torch.float32: 70e9},
}
"""Kind of CPU -> the formats that it multiplies in hardware, and the FLOP/s of one thread. Measured on Zen 4, Zen 3 and
Sapphire Rapids; the Arm values are guesses. They decide only whether compiling is expected to pay off."""
COMPILED_ROWS = dict.fromkeys(CPU_FLOPS, 1)
"""Kind of CPU -> the most texts for which a compiled step of generation is no slower than an eager one. Measured on
Zen 4, 10.7 million weights: 1.9 times as fast for one text in float32 and 2.3 in bfloat16, 0.79 and 0.95 for two; held
to AVX2 2.0 for one and 0.80 for two. The other kinds have the same value, unmeasured."""
LAYER_WIDTH = 192
"""The least n_embd for which training on a CPU is compiled layer by layer. Measured on two cores of a Zen 4, 3 to 12
layers of 192 to 768: it compiles in 20 to 29 s instead of 39 to 60, and a step is as fast; 128 wide, 0.9 times as
fast."""
COMPILED_INT8 = frozenset({"amx", "avx512_bf16", "avx512"})
"""Kinds of CPU for which a compiled step with int8 weights is faster than an eager one. Measured on Zen 4, 11 million
weights: 3.1 times as fast for one text; held to AVX2, a quarter. Those with AMX or without bfloat16 are unmeasured."""
NARROW_VECTORS = frozenset({"amx", "avx512_bf16", "avx512"})
"""Kinds of CPU with vectors of 512 bits on which a compiled step of generation is faster with 256, except for int8
weights. Measured on Zen 4, 11 million weights: 1.2 to 1.3 times as fast in float32, the same in bfloat16."""
RECORDED_ROWS, RECORDED_TOKENS = 64, 32
"""The most texts and the fewest tokens for which a GPU's eager step of generation is recorded. Measured on an H200,
10.7 million weights: eager it takes 4.0 ms, of which the kernels take 0.2; replayed 0.3; recording takes as long as two
to three eager steps."""
TUNED_ROWS = 1
"""The most texts for which the compiler tries several sizes of each GPU kernel of a step of generation, and writes its
products as kernels too. Measured on an H200: one text is 1.5 times as fast for it and compiles in 25 s instead of 11;
256 texts are no faster."""
ONEDNN_ISA = {
    "SSE41": "unknown", "AVX": "unknown", "AVX2": "avx2", "AVX2_VNNI": "avx2", "AVX2_VNNI_2": "avx2",
    "AVX512_CORE": "avx512", "AVX512_CORE_VNNI": "avx512", "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_FP16": "avx512_bf16",
}  # fmt: skip
"""Values of ONEDNN_MAX_CPU_ISA that keep oneDNN from using a CPU's newer units -> the kind of CPU that remains."""


@dataclass(frozen=True)
class Hardware:
    """One kind of device.

    Attributes:
        device: its torch type, "cpu", "cuda" or "mps".
        has_bf16: whether it multiplies bfloat16 matrices in hardware.
        kind: of a CPU, one of `CPU_FLOPS`.
        has_onednn: whether oneDNN (https://github.com/uxlfoundation/oneDNN) has the fast float32 products here; it
            does on x86.
        has_vnni: whether a CPU multiplies 8-bit integers without overflow at full speed.
    """

    device: str
    has_bf16: bool
    kind: str = ""
    has_onednn: bool = False
    has_vnni: bool = False

    @property
    def rough_dtype(self) -> torch.dtype:
        """The format for products whose rounding does not matter, such as Muon's."""
        return torch.bfloat16 if self.has_bf16 else torch.float32

    @property
    def share_of_peak(self) -> float:
        """The least share of peak FLOP/s that an eager training step reaches, measured with a small GPT (4 layers of
        128) on two cores: a third in bfloat16, half in float32."""
        return 1 / 3 if self.has_bf16 else 1 / 2

    def emulates(self, dtype: torch.dtype) -> bool:
        """Whether a CPU emulates products in this format with another, many times slower. On a GPU the answer is no:
        training refuses such a precision there."""
        return self.device == "cpu" and dtype in (torch.bfloat16, torch.float16) and not self.has_bf16

    def packs(self, dtype: torch.dtype) -> bool:
        """Whether packing weights in this format for oneDNN speeds up their products."""
        return self.has_onednn and (dtype is torch.float32 or (dtype is torch.bfloat16 and self.has_bf16))

    def compiles_layers(self, width: int) -> bool:
        """Whether training a model so wide compiles a layer, once for all that are alike, and not the whole model. A
        GPU would wait for each layer's call."""
        return self.device == "cpu" and width >= LAYER_WIDTH

    def compiled_rows(self, is_int8: bool = False) -> float:
        """The most texts that a compiled step of generation is no slower for, with int8 weights or others."""
        if is_int8:
            return int(self.kind in COMPILED_INT8)
        return COMPILED_ROWS[self.kind] if self.device == "cpu" else math.inf

    def records(self, rows: int, count: int) -> bool:
        """Whether an eager step of generation is faster recorded, for so many texts and tokens."""
        return self.device == "cuda" and rows <= RECORDED_ROWS and count >= RECORDED_TOKENS

    def tunes(self, rows: int) -> bool:
        """Whether the kernels of a compiled step of generation are worth tuning, for so many texts."""
        return self.device == "cuda" and rows <= TUNED_ROWS

    def vector_bits(self, is_int8: bool = False) -> int | None:
        """Bits of the vectors that a compiled step of generation computes with; None leaves them to the compiler."""
        return 256 if self.kind in NARROW_VECTORS and not is_int8 else None

    def cpu_flops(self, dtype: torch.dtype, threads: int) -> float:
        """The expected FLOP/s of this many threads, from a table: the same however busy the machine is."""
        formats = CPU_FLOPS[self.kind]
        return threads * formats.get(dtype, formats[torch.float32])


def cache_dtype(device: str, dtype: torch.dtype) -> torch.dtype:
    """The format in which to cache keys and values of this format. On CPUs it is float32 or wider, because attention
    over a bfloat16 cache is four times slower there (16 x 6 heads of 64, 128 tokens)."""
    return torch.promote_types(dtype, torch.float32) if device == "cpu" else dtype


def detect(device: str) -> Hardware:
    """The hardware of this machine behind a torch device type, looked up anew."""
    if device == "cuda":
        return Hardware("cuda", bool(torch.cuda.is_bf16_supported(including_emulation=False)))
    if device != "cpu":
        return Hardware(device, has_bf16=False)
    is_built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return cpu(cpu_flags(), is_built and platform.machine() in ("x86_64", "AMD64"), os.environ)


def cpu(flags: frozenset[str], has_onednn: bool, environ: Mapping[str, str]) -> Hardware:
    """A CPU with these flags, within the limits that the environment sets for oneDNN."""
    newest_first = {
        "amx": "amx_bf16", "avx512_bf16": "avx512_bf16", "avx512": "avx512f", "avx2": "avx2",
        "arm_bf16": "bf16", "arm": "asimd",
    }  # fmt: skip
    kind = next((kind for kind, flag in newest_first.items() if flag in flags), "unknown")
    kinds = list(CPU_FLOPS)
    allowed = environ.get("ONEDNN_MAX_CPU_ISA") or environ.get("DNNL_MAX_CPU_ISA") or ""
    if has_onednn and (limit := ONEDNN_ISA.get(allowed.upper())) is not None:
        kind = kinds[max(kinds.index(kind), kinds.index(limit))]
    has_vnni = not flags.isdisjoint({"avx512_vnni", "avx_vnni"})
    return Hardware("cpu", torch.bfloat16 in CPU_FLOPS[kind], kind, has_onednn, has_vnni)


def cpu_flags() -> frozenset[str]:
    """The CPU's feature flags in Linux's names; empty if they cannot be read."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            return frozenset(next((line for line in file if line.startswith(("flags", "Features"))), "").split())
    except OSError:
        return frozenset()


_CPU = detect("cpu")


def of(device: str) -> Hardware:
    """The hardware of this machine behind a torch device type: "cpu", "cuda" or "mps"."""
    return _CPU if device == "cpu" else detect(device)  # compiled code asks for the CPU and must not read files
