"""Byte pair encoding on bytes, learnt from the training split (Sennrich et al., https://arxiv.org/abs/1508.07909).

It merges bytes, as in GPT-2, so that no text is unknown. Needs the extra `hf`.
"""

from collections.abc import Iterable
from typing import Self

from microgpt.data.tokenizer.base import FitKnobs
from microgpt.data.tokenizer.hf import HFTokenizer
from microgpt.extras import package


class BPETokenizer(HFTokenizer, name="bpe"):
    """The 256 bytes and the most frequent pair merges within the words that GPT-2's pattern finds."""

    is_learnt = True

    @classmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        return cls.from_texts(chunks, config.vocab_size or 1024)

    @classmethod
    def from_texts(cls, texts: Iterable[str], vocab_size: int) -> Self:
        """Learn a vocabulary of at most `vocab_size` tokens, fewer if no more pairs occur twice in the text.

        Raises:
            MachineError: the package `tokenizers` is not installed.
        """
        tokenizers = package("tokenizers", "hf", "this tokenizer")
        learner = tokenizers.Tokenizer(tokenizers.models.BPE())
        learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        learner.decoder = tokenizers.decoders.ByteLevel()
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size, min_frequency=2, initial_alphabet=alphabet, show_progress=False
        )
        learner.train_from_iterator(texts, trainer)
        return cls(learner.to_str())
