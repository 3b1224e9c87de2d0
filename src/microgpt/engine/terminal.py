"""Text that is safe to show: what a model, a file name or an error says cannot drive the terminal. No imports."""

_DROPPED = [c for c in (*range(0x20), *range(0x7F, 0xA0)) if c not in (0x0A, 0x09)]
_BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_TABLE: dict[int, str | None] = dict.fromkeys((*_DROPPED, *_BIDI, *range(0xD800, 0xE000)), "\N{REPLACEMENT CHARACTER}")
_TABLE[0x0D] = None  # a text with CRLF shows well, and nothing is overwritten


def printable(text: str) -> str:
    """`text` without CR; other controls (but newline, tab), direction overrides and lone surrogates are replaced."""
    return text.translate(_TABLE)
