"""Sizes and durations in words for people. Standard library alone."""


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
