"""Format a comparison as a terminal table, CSV, Markdown, LaTeX or JSON.

CSV and JSON keep every digit for programs; the other formats round for readers.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from microgpt.engine.compare.compare import Comparison, Difference, Group
from microgpt.engine.trained.metrics import Metric
from microgpt.text import count_text, cut, escaped

DASH = "-"
"An empty cell."


def as_text(comparison: Comparison) -> str:
    """A plain-text table, followed by the excluded runs."""
    rows = [_header(comparison), *_rows(comparison)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    n_knobs = len(comparison.knobs)
    lines = [
        "  ".join(
            cell.ljust(width) if i < n_knobs else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, *left_out(comparison)]) + "\n"


def as_rich(comparison: Comparison) -> Table:
    """The same table for a terminal; cells wrap to its width."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(_header(comparison)):
        table.add_column(Text(name), justify="left" if i < len(comparison.knobs) else "right", overflow="fold")
    for i, row in enumerate(_rows(comparison)):
        table.add_row(*map(Text, row), style="bold" if i == 0 else "")
    return table


def as_csv(comparison: Comparison) -> str:
    """One row per group, unrounded."""
    metric = comparison.metric
    difference = [f"difference_{name}" for name in ("n", "mean", "std", "low", "high")]
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow([*comparison.knobs, "n", f"{metric}_mean", f"{metric}_std", *_extras(comparison), *difference])
    for group in comparison.groups:
        d = group.difference
        write.writerow(
            [_cell(group.knobs[key]) if key in group.knobs else "" for key in comparison.knobs]
            + [group.n, group.mean, group.std]
            + [group.average(key) for key in _extras(comparison)]
            + ([d.n, d.mean, d.std, d.low, d.high] if d else [None] * 5)
        )
    return out.getvalue()


def as_markdown(comparison: Comparison) -> str:
    """A GitHub Markdown table, the best group in bold."""
    n_knobs = len(comparison.knobs)
    header, *rows = [[_markdown(cell) for cell in row] for row in [_header(comparison), *_rows(comparison)]]
    rule = ["---" if i < n_knobs else "---:" for i in range(len(header))]
    rows[0] = [f"**{cell}**" if cell != DASH else cell for cell in rows[0]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows]) + "\n"


def as_latex(comparison: Comparison) -> str:
    r"""A `tabular` for `\usepackage{booktabs}`, the best group in bold."""
    header, *rows = [[_latex(cell) for cell in row] for row in [_header(comparison), *_rows(comparison)]]
    rows[0] = [rf"\textbf{{{cell}}}" if cell != DASH else cell for cell in rows[0]]
    columns = "l" * len(comparison.knobs) + "r" * (len(header) - len(comparison.knobs))
    body = [rf"{' & '.join(row)} \\" for row in rows]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{' & '.join(header)} \\", r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def as_json(comparison: Comparison) -> str:
    """A JSON object with all numbers of the comparison."""
    content = {
        "metric": comparison.metric,
        "knobs": list(comparison.knobs),
        "groups": [_group_json(group, _extras(comparison)) for group in comparison.groups],
        "incomplete": [{"path": str(run.path), "missing": run.missing} for run in comparison.incomplete],
    }
    return json.dumps(content, indent=2, default=str) + "\n"


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "table": as_text,
    "csv": as_csv,
    "markdown": as_markdown,
    "latex": as_latex,
}


def described(comparison: Comparison) -> list[str]:
    """Lines with the name, tags and notes of each run that has any, best group first."""
    lines = []
    for run in (run for group in comparison.groups for run in group.runs):
        tags = f"[{', '.join(run.tags)}]" if run.tags else ""
        said = "  ".join(escaped(part) for part in (run.name, tags, cut(run.notes, 200)) if part)
        lines += [f"  {escaped(str(run.path))}: {said}"] if said else []
    return ["", "Described:", *lines] if lines else []


def left_out(comparison: Comparison) -> list[str]:
    """Lines that describe runs, and list the excluded ones with their reasons; empty if there are none."""
    return [*described(comparison), *_excluded(comparison)]


def _excluded(comparison: Comparison) -> list[str]:
    if not comparison.incomplete:
        return []
    lines = [f"  {escaped(str(run.path))}: {run.missing}" for run in comparison.incomplete]
    return ["", f"Not counted ({len(lines)}):", *lines]


def _header(comparison: Comparison) -> list[str]:
    names = {"train_seconds": "seconds", "tokens_per_second": "tokens/s"}
    names |= {f"val/{name}": name for name in Metric.members}
    extras = [names.get(key, key) for key in _extras(comparison)]
    paired = ["to best", "95% interval"] if len(comparison.groups) > 1 else []
    return [*map(escaped, comparison.knobs), "n", escaped(comparison.metric), *extras, *paired]


def _rows(comparison: Comparison) -> list[list[str]]:
    return [_row(comparison, group) for group in comparison.groups]


def _row(comparison: Comparison, group: Group) -> list[str]:
    knobs = [escaped(_cell(group.knobs[key])) if key in group.knobs else DASH for key in comparison.knobs]
    extras = [_quantity(group.average(key), key) for key in _extras(comparison)]
    paired = _paired(group.difference) if len(comparison.groups) > 1 else []
    return [*knobs, str(group.n), _plus_minus(group.mean, group.std), *extras, *paired]


def _extras(comparison: Comparison) -> list[str]:
    headlines = [f"val/{name}" for name, metric in Metric.members.items() if metric.headline]
    keys = (*headlines, "params", "train_seconds", "tokens_per_second")
    return [
        key
        for key in keys
        if key != comparison.metric and any(group.average(key) is not None for group in comparison.groups)
    ]


def _paired(difference: Difference | None) -> list[str]:
    if difference is None:
        return [DASH, DASH]
    if difference.low is None or difference.high is None:
        return [_signed(difference.mean), DASH]
    spread = "" if difference.std is None else f" ± {_number(difference.std)}"
    return [_signed(difference.mean) + spread, f"[{_signed(difference.low)}, {_signed(difference.high)}]"]


def _plus_minus(mean: float, std: float | None) -> str:
    return _number(mean) if std is None else f"{_number(mean)} ± {_number(std)}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "") + _number(value)


def _quantity(value: float | None, key: str) -> str:
    if value is None:
        return DASH
    if key == "params":
        return count_text(value)
    if key == "train_seconds":
        return f"{value:,.1f}"
    return f"{value:,.0f}" if key == "tokens_per_second" else _number(value)


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _markdown(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\|*_`<>" else c for c in text)


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def _group_json(group: Group, extras: Sequence[str]) -> dict[str, Any]:
    d = group.difference
    return {
        "knobs": dict(group.knobs),
        "n": group.n,
        "mean": group.mean,
        "std": group.std,
        **{key: group.average(key) for key in extras},
        "difference": d and {"n": d.n, "mean": d.mean, "std": d.std, "low": d.low, "high": d.high},
        "scores": dict(group.scores),
        "runs": [str(run.path) for run in group.runs],
        "described": {
            str(run.path): {"name": run.name, "tags": run.tags, "notes": run.notes}
            for run in group.runs
            if run.name or run.tags or run.notes
        },
    }
