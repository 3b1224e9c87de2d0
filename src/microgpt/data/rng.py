"""Counter-based randomness: every draw is a pure function of (seed, stream, counter). Needs numpy alone.

No generator state lives between calls, so that nothing has to be saved and no consumer can disturb another.
Philox (https://doi.org/10.1145/2063384.2063405) maps a counter under a key to random bits; the key is a hash of
the seed and the name of the stream.
"""

import hashlib

import numpy as np
from numpy.random import Generator, Philox

_LANES = 4  # Philox yields four 64-bit words a counter


def generator(seed: int, stream: str, step: int) -> Generator:
    """A numpy generator of its own for one step of one stream."""
    return Generator(Philox(key=_hash(seed, stream, step)))


def key(seed: int, stream: str, step: int, rank: int = 0) -> int:
    """A seed of 63 bits for one step of one stream on one rank, for `torch.manual_seed`."""
    return _hash(seed, stream, step, rank) >> 65


def words(seed: int, stream: str, start: int, count: int) -> np.ndarray:
    """The random 64-bit words number `start .. start + count - 1` of an endless stream: uint64 (count,)."""
    first, skip = divmod(start, _LANES)
    bits = Philox(key=_hash(seed, stream), counter=first)
    # numpy steps the counter before its first draw, which shifts every word alike and harms nothing.
    return bits.random_raw(skip + count)[skip:]


def integers(seed: int, stream: str, start: int, count: int, below: int) -> np.ndarray:
    """The draws number `start .. start + count - 1`, each one of `0 .. below - 1`: int64 (count,).

    53 random bits are scaled, which favours no value by more than `below / 2**53`.
    """
    uniform = (words(seed, stream, start, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53  # [0, 1)
    return np.minimum((uniform * below).astype(np.int64), below - 1)


def _hash(*parts: int | str) -> int:
    """128 bits of a hash of the parts; a separator keeps ("a", 1) and ("a1",) apart."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
