"""Text for people: safe to print, cut to a line, with uniform sizes and durations.

Text from a model, a file or an error is untrusted: it must neither control the terminal nor flood it.

    printable(text)     several lines, such as a sample, with control characters replaced
    one_line(error)     an exception or message in one line of limited length
    escaped(name)       a name or path, with unprintable characters escaped
    shown(value)        an untrusted value, quoted
    brief(value)        a knob's value in a list of differences
"""

import difflib
import re
from collections.abc import Iterable

_DROPPED = [c for c in (*range(0x20), *range(0x7F, 0xA0)) if c not in (0x0A, 0x09)]
_BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_TABLE: dict[int, str | None] = dict.fromkeys((*_DROPPED, *_BIDI, *range(0xD800, 0xE000)), "\N{REPLACEMENT CHARACTER}")
_TABLE[0x0D] = None  # CRLF shows as one newline, and no line is overwritten


def printable(text: str) -> str:
    """Drop CR; replace other control characters but newline and tab, direction overrides and lone surrogates."""
    return text.translate(_TABLE)


def one_line(said: object, most: int = 300) -> str:
    """An exception or message in one line of at most `most` characters; the type's name if its text is empty."""
    line = " ".join(str(said).split()) or type(said).__name__
    return cut("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line), most)


def escaped(text: str) -> str:
    r"""`text` with unprintable characters escaped, such as `\n`, `\x1b` or `\u202e`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(value: object, most: int = 40) -> str:
    """The repr of an untrusted value, in ASCII and at most `most` characters."""
    return cut(ascii(value), most)


def brief(value: object) -> str:
    """A knob's value in a list of differences: long lists and mappings as their size, hashes cut short."""
    if isinstance(value, (dict, list)):
        return f"{len(value)} entries" if len(value) > 8 else str(value)[:60]
    text = value if isinstance(value, str) and value.isalnum() else repr(value)
    return text if len(text) <= 40 else f"{text[:16]}..."


def cut(text: str, most: int) -> str:
    """`text`, with its end replaced by `...` if it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def quoted(text: str) -> str:
    """A text as Hydra's grammar reads it: bare if it is a plain word or path, else in quotes."""
    is_word = re.fullmatch(r"[A-Za-z_./][\w./:@+-]*", text, re.ASCII)
    if is_word and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def sentence(*clauses: str) -> str:
    """Join clauses with semicolons, capitalised and with a full stop; empty clauses are left out."""
    text = "; ".join(clause for clause in clauses if clause)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The suggestion for a mistyped word: the nearest known one, else all of them."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"one of {', '.join(options)}"


def mib(n_bytes: float) -> str:
    """A size in memory: `1,024 MiB`."""
    return f"{n_bytes / 2**20:,.0f} MiB"


def mb(n_bytes: float, digits: int = 0) -> str:
    """A size on disk or of a download: `1,024 MB`."""
    return f"{n_bytes / 1e6:,.{digits}f} MB"


def count_text(n: float) -> str:
    """A large number to three digits: `124M`, `10.7M`, `912`."""
    size, unit = next(((size, unit) for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if n >= size), (1, ""))
    return f"{n / size:.3g}{unit}"


def number_of(n: int, thing: str) -> str:
    """A number of things: `1 step`, `2000 steps`."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def step_text(seconds: float) -> str:
    """The duration of a step: `8.4 ms`, `105 ms`, `2.3 s`."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"


def seconds_text(seconds: float) -> str:
    """A duration: `40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
