"""The matrix units of each kind of device, and the number formats and kernels that follow from them.

All code that casts or chooses a kernel asks this module: the default precision of training, Muon's products, packed
weights, attention, the choice to compile, a device's peak, benchmarks. A format without units is emulated: on a CPU
with AVX2 alone a bfloat16 product takes 12 to 23 times as long as one in float32. Needs torch alone.
"""

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
Sapphire Rapids; those of Arm are guesses. They decide only whether compiling is expected to pay."""
ONEDNN_ISA = {
    "SSE41": "unknown", "AVX": "unknown", "AVX2": "avx2", "AVX2_VNNI": "avx2", "AVX2_VNNI_2": "avx2",
    "AVX512_CORE": "avx512", "AVX512_CORE_VNNI": "avx512", "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_FP16": "avx512_bf16",
}  # fmt: skip
"""Values of oneDNN's variable ONEDNN_MAX_CPU_ISA that keep it from a CPU's newer units, and the kind that is left."""


@dataclass(frozen=True)
class Hardware:
    """One kind of device.

    Attributes:
        device: its torch type, "cpu", "cuda" or "mps".
        has_bf16: whether it multiplies bfloat16 matrices in hardware.
        kind: of a CPU, one of `CPU_FLOPS`.
        has_onednn: whether oneDNN (https://github.com/uxlfoundation/oneDNN) has the fast float32 products here; it
            does on x86.
    """

    device: str
    has_bf16: bool
    kind: str = ""
    has_onednn: bool = False

    @property
    def rough_dtype(self) -> torch.dtype:
        """The format for products whose rounding does not matter, such as Muon's."""
        return torch.bfloat16 if self.has_bf16 else torch.float32

    @property
    def share_of_peak(self) -> float:
        """The share of its peak arithmetic that an eager training step reaches, at least. Measured on two cores: of a
        small GPT (4 layers of 128) a third in bfloat16 and half in float32."""
        return 1 / 3 if self.has_bf16 else 1 / 2

    def emulates(self, dtype: torch.dtype) -> bool:
        """Whether products in this format are made from those of another, many times slower. A GPU's are not counted:
        there such a precision is refused."""
        return self.device == "cpu" and dtype in (torch.bfloat16, torch.float16) and not self.has_bf16

    def packs(self, dtype: torch.dtype) -> bool:
        """Whether weights in this format are multiplied faster when packed for oneDNN first."""
        return self.has_onednn and (dtype is torch.float32 or (dtype is torch.bfloat16 and self.has_bf16))

    def cpu_flops(self, dtype: torch.dtype, threads: int) -> float:
        """The expected FLOP/s of this many threads: the same at every start, however busy the machine is."""
        formats = CPU_FLOPS[self.kind]
        return threads * formats.get(dtype, formats[torch.float32])


def cache_dtype(device: str, dtype: torch.dtype) -> torch.dtype:
    """The format to keep keys and values of this format in. On a CPU it is float32 at least: attention over a cache is
    four times slower there in bfloat16 (16 x 6 heads of 64, 128 tokens)."""
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
    """A CPU with these flags, as far as the environment lets oneDNN use it."""
    newest_first = {
        "amx": "amx_bf16", "avx512_bf16": "avx512_bf16", "avx512": "avx512f", "avx2": "avx2",
        "arm_bf16": "bf16", "arm": "asimd",
    }  # fmt: skip
    kind = next((kind for kind, flag in newest_first.items() if flag in flags), "unknown")
    kinds = list(CPU_FLOPS)
    allowed = environ.get("ONEDNN_MAX_CPU_ISA") or environ.get("DNNL_MAX_CPU_ISA") or ""
    if has_onednn and (limit := ONEDNN_ISA.get(allowed.upper())) is not None:
        kind = kinds[max(kinds.index(kind), kinds.index(limit))]
    return Hardware("cpu", torch.bfloat16 in CPU_FLOPS[kind], kind, has_onednn)


def cpu_flags() -> frozenset[str]:
    """The CPU's features as Linux names them; empty where they cannot be read."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            return frozenset(next((line for line in file if line.startswith(("flags", "Features"))), "").split())
    except OSError:
        return frozenset()


_CPU = detect("cpu")


def of(device: str) -> Hardware:
    """The hardware of this machine behind a torch device type: "cpu", "cuda" or "mps"."""
    return _CPU if device == "cpu" else detect(device)  # compiled code asks for the CPU, and must not read files
