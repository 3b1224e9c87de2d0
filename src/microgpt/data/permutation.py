"""A shuffle computed item by item instead of stored. Needs only numpy.

A Feistel network permutes numbers with an even number of bits; a result of n or more passes through it again until it
falls below n ("cycle walking", Black and Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9).
"""

import numpy as np

from microgpt.data import rng

_ROUNDS = 6


def permute(places: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Apply permutation number `seed` of n items to `places`, (m,) in `0 .. n - 1`: int64 (m,)."""
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    keys = rng.words(seed, "permutation", 0, _ROUNDS)
    images = _feistel(places.astype(np.uint64), half, keys)
    while (outside := np.flatnonzero(images >= n)).size:
        images[outside] = _feistel(images[outside], half, keys)
    result: np.ndarray = images.astype(np.int64)
    return result


def _feistel(x: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    """One pass over numbers of `2 * half` bits."""
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = x >> shift, x & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << shift) | right


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer (https://doi.org/10.1145/2714064.2660195): every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
