"""Text that is safe to show: what a model, a file name or an error says cannot drive the terminal. No imports."""

_DROPPED = [c for c in (*range(0x20), *range(0x7F, 0xA0)) if c not in (0x0A, 0x09)]
_BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_TABLE = dict.fromkeys((*_DROPPED, *_BIDI, *range(0xD800, 0xE000)), "\N{REPLACEMENT CHARACTER}")


def printable(text: str) -> str:
    """`text` with control characters (but newline and tab), direction overrides and lone surrogates replaced."""
    return text.translate(_TABLE)
