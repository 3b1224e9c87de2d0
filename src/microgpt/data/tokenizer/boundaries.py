"""The tokens of a pretrained model that may stand before and after a document. Needs only numpy."""

from microgpt.data.tokenizer.base import Tokenizer
from microgpt.data.tokenizer.hf import HFTokenizer

PAIRS = (
    ("<|endoftext|>", "<|endoftext|>"),
    ("<|begin_of_text|>", "<|end_of_text|>"),
    ("<s>", "</s>"),
    ("<bos>", "<eos>"),
)
"""Names of the tokens between which models saw each document in pretraining; GPT-2's one token does both."""


def boundaries(tokenizer: Tokenizer) -> tuple[int, int] | None:
    """The tokens that start and end a document, known by their names, else the model's end token for both.

    The names come first: the end token of a chat model ends a turn, of which a document may have several.
    """
    if not isinstance(tokenizer, HFTokenizer):
        return None
    for start, end in PAIRS:
        pair = tokenizer.backend.token_to_id(start), tokenizer.backend.token_to_id(end)
        if None not in pair:
            return pair
    return (tokenizer.ends[0], tokenizer.ends[0]) if tokenizer.ends else None
