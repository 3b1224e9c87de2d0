"""Text that is safe to show: what a model, a file name or an error says cannot drive the terminal. No imports."""

_DROPPED = [c for c in (*range(0x20), *range(0x7F, 0xA0)) if c not in (0x0A, 0x09)]
_BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_TABLE: dict[int, str | None] = dict.fromkeys((*_DROPPED, *_BIDI, *range(0xD800, 0xE000)), "\N{REPLACEMENT CHARACTER}")
_TABLE[0x0D] = None  # a text with CRLF shows well, and nothing is overwritten


def printable(text: str) -> str:
    """`text` without CR; other controls (but newline, tab), direction overrides and lone surrogates are replaced."""
    return text.translate(_TABLE)


def mib(n_bytes: float) -> str:
    """A size for people."""
    return f"{n_bytes / 2**20:,.0f} MiB"


def step_text(seconds: float) -> str:
    """The duration of a step for people: `8.4 ms`, `105 ms`, `2.3 s`."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.0f} ms" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"


def seconds_text(seconds: float) -> str:
    """A duration for people: `40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
