"""Say which characters of a text a vocabulary lacks, and what was done with them."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microgpt.data.corpus import Corpus
    from microgpt.data.tokenizer import Tokenizer

MOST = 10
"""Characters named in a message."""
RECORDED = 100
"""Characters named in summary.json."""


def named(unknown: Mapping[str, int]) -> str:
    """The most frequent characters with their code points and counts: `'x' U+0078 x40, 'é' U+00E9 x2`."""
    most = Counter(unknown).most_common(MOST)
    rest = f" and {len(unknown) - MOST} others" if len(unknown) > MOST else ""
    return ", ".join(f"{c!r} U+{ord(c):04X} x{n}" for c, n in most) + rest


def unknown_text(unknown: Mapping[str, int], tokenizer: "Tokenizer") -> str:
    """A sentence: `80 characters outside the vocabulary were left out: 'x' U+0078 x40, ...`."""
    return f"{sum(unknown.values()):,} characters outside the vocabulary were {_fate(tokenizer)}: {named(unknown)}"


def _fate(tokenizer: "Tokenizer") -> str:
    return "left out" if tokenizer.leaves_out_unknown else "replaced by a stand-in"


def told(corpus: "Corpus") -> str:
    """A line on the characters of the corpus that the vocabulary lacks; empty if there are none."""
    count = corpus.unknown.total()
    if not count:
        return ""
    kept = sum(corpus.chars_per_token(name) * len(part) for name, part in corpus.splits.items())
    characters = round(kept) + (count if corpus.tokenizer.leaves_out_unknown else 0)
    share = f"{count:,} of {characters:,} characters ({count / characters:.1%})"
    what = f"are not in the model's vocabulary and were {_fate(corpus.tokenizer)}"
    return f"{share} {what}: {named(corpus.unknown)}"


def recorded(corpus: "Corpus") -> dict[str, Any]:
    """What summary.json records: the number of unknown characters, and the most frequent ones if there are any."""
    most = dict(corpus.unknown.most_common(RECORDED))
    return {"unknown_characters": corpus.unknown.total()} | ({"unknown_most": most} if most else {})
