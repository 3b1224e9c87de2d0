"""N-gram baselines in nats per token, to compare a model's loss with.

They are fitted on the training split and scored on another split, on every token but its first, like a model.
"""

from typing import Any

import numpy as np

from microgpt.data.dataset import as_ids
from microgpt.errors import DataError

MOST = 4_000_000  # count only the last training tokens: more take time and improve little


def order0(train: Any, scored: Any, vocab_size: int) -> float:
    """Nats per token for tokens drawn independently by their frequencies, with add-one smoothing."""
    train, scored = as_ids(train), _array(scored, least=2)[1:]
    counts = np.ones(vocab_size)  # (V,)
    for start in range(0, max(1, len(train)), MOST):  # in pieces: all at once as 64-bit numbers take 8 times the memory
        counts += np.bincount(_array(train[start : start + MOST], least=1), minlength=vocab_size)
    return float(-np.log(counts / counts.sum())[scored].mean())


def ngram(train: Any, scored: Any, vocab_size: int, order: int = 5) -> float:
    """Nats per token of an interpolated n-gram model with Witten-Bell smoothing.

    The probability after a context h mixes the counts after h with the prediction after its shorter form h':
    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)), where t(h) counts the distinct tokens that follow h.
    Witten and Bell 1991, https://doi.org/10.1109/18.87000.

    Args:
        order: n; each token is predicted from the n - 1 tokens before it.
    """
    train, scored = _array(as_ids(train)[-MOST:], least=1), _array(scored, least=2)
    p = np.full(len(scored), 1.0 / vocab_size)
    # Contexts are numbered: the context of an n-gram is its first n - 1 tokens.
    context, scored_context, contexts = np.zeros(len(train), np.int64), np.zeros(len(scored), np.int64), 1
    for n in range(1, min(order, len(train)) + 1):
        grams, number, counts = counted(context * vocab_size + train[n - 1 :], contexts * vocab_size)
        total = np.bincount(context, minlength=contexts)  # c(h)
        # Nothing follows a context that occurs only at the end of the text: use its shorter form only.
        kinds = np.maximum(1, np.bincount(grams // vocab_size, minlength=contexts))  # t(h)

        seen = scored_context >= 0
        wanted = scored_context * vocab_size + scored[n - 1 :]
        place = np.minimum(np.searchsorted(grams, wanted), len(grams) - 1)
        found = seen & (grams[place] == wanted)
        c_hw = np.where(found, counts[place], 0)
        c_h, t_h = np.where(seen, total[scored_context], 0), np.where(seen, kinds[scored_context], 1)
        p[n - 1 :] = (c_hw + t_h * p[n - 1 :]) / (c_h + t_h)

        context, scored_context, contexts = number[:-1], np.where(found, place, -1)[:-1], len(grams)
        if not len(scored_context):
            break
    return float(-np.log(p[1:]).mean())


def counted(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct keys in order, the index of each key among them, and the count of each.

    A table is faster than `np.unique`, which sorts, unless far more keys are possible than occur.

    Args:
        keys: integers from 0 to size - 1.
    """
    if size > 5 * len(keys):
        return np.unique(keys, return_inverse=True, return_counts=True)
    counts = np.bincount(keys, minlength=size)
    places = np.cumsum(counts > 0, dtype=np.int32) - 1
    different = np.flatnonzero(counts)
    return different, places[keys].astype(np.int64), counts[different]


def _array(ids: Any, least: int) -> np.ndarray:
    ids = as_ids(ids)
    if len(ids) < least:
        raise DataError(f"{len(ids)} tokens", "the text of a baseline", f"it takes at least {least}")
    array: np.ndarray = ids.numpy().astype(np.int64)
    return array
