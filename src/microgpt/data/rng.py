"""Counter-based randomness: every draw is a pure function of (seed, stream, counter). Needs only numpy.

No generator state outlives a call, so there is nothing to save and no consumer can disturb another.
Philox (https://doi.org/10.1145/2063384.2063405) maps a counter under a key to random bits; the key is a hash of
the seed and the name of the stream.
"""

import hashlib

import numpy as np
from numpy.random import Generator, Philox

_LANES = 4  # 64-bit words that Philox yields per counter


def generator(seed: int, stream: str, step: int) -> Generator:
    """A separate numpy generator for one step of one stream."""
    return Generator(Philox(key=_hash(seed, stream, step)))


def key(seed: int, stream: str, step: int, rank: int = 0) -> int:
    """A 63-bit seed for `torch.manual_seed`, for one step of one stream on one rank."""
    return _hash(seed, stream, step, rank) >> 65


def words(seed: int, stream: str, start: int, count: int) -> np.ndarray:
    """Words `start .. start + count - 1` of an endless stream of random 64-bit words: uint64 (count,)."""
    first, skip = divmod(start, _LANES)
    bits = Philox(key=_hash(seed, stream), counter=first)
    # numpy increments the counter before its first draw: every word shifts alike, which does no harm.
    return bits.random_raw(skip + count)[skip:]


def integers(seed: int, stream: str, start: int, count: int, below: int) -> np.ndarray:
    """Draws `start .. start + count - 1` of an endless stream of integers in `0 .. below - 1`: int64 (count,).

    Scaling 53 random bits favours no value by more than `below / 2**53`.
    """
    uniform = (words(seed, stream, start, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53  # [0, 1)
    return np.minimum((uniform * below).astype(np.int64), below - 1)


def _hash(*parts: int | str) -> int:
    """128 bits of a hash of the parts; a separator keeps ("a", 1) and ("a1",) apart."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
