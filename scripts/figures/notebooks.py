"""The notebooks of examples/, made from their sources in examples/src and executed.

    python scripts/figures/notebooks.py [--text] [NAME ...]

A source is a Python file in the percent format: `# %% [markdown]` begins a cell of text, in comments, and `# %%` one of
code. Needs nbformat, nbclient and ipykernel, which the extra `test` has. Each notebook takes under five minutes on two
CPU cores.
"""

import argparse
import ast
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCES = EXAMPLES / "src"
QUICK = "MICROGPT_QUICK"
"""The environment variable that asks a notebook for tiny settings."""


def cells(source: str) -> list[tuple[str, str]]:
    """The cells of a source: (`markdown` or `code`, text)."""
    parts = re.split(r"^# %%(.*)\n", source, flags=re.MULTILINE)
    found = []
    for marker, text in zip(parts[1::2], parts[2::2], strict=True):
        if marker.strip() == "[markdown]":
            lines = text.strip().splitlines()
            found.append(("markdown", "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)))
        else:
            found.append(("code", text.strip().replace("  # fmt: skip", "")))
    return found


def notebook(source: str, answers: Mapping[int, Sequence[str]] | None = None) -> Any:
    """The notebook of a source, without outputs.

    Args:
        answers: by the exercise's number, code to try: for each a cell, which may fail, follows the exercise.
    """
    made = nbformat.v4.new_notebook()
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for kind, text in cells(source):
        new = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        made.cells.append(new(text, id=f"cell-{len(made.cells)}"))
        number = re.match(r"# Exercise (\d)", text) if kind == "code" else None
        for answer in answers[int(number[1])] if number and answers else ():
            made.cells.append(new(solved(text, answer), id=f"cell-{len(made.cells)}"))
            made.cells[-1].metadata = {"tags": ["raises-exception"]}
    return made


def solved(exercise: str, answer: str) -> str:
    """The answer and, of the exercise, what the answer does not define."""
    given = set().union(*map(defined, ast.parse(answer).body))
    rest = [ast.unparse(node) for node in ast.parse(exercise).body if not defined(node) & given]
    return "\n".join([answer, *rest])


def defined(node: ast.stmt) -> set[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return {n.id for n in stored}


def solutions(name: str) -> dict[int, str]:
    """The code that solves each exercise of a notebook, from examples/solutions.md."""
    text = (EXAMPLES / "solutions.md").read_text(encoding="utf-8")
    section = re.search(rf"^## .*\({name}\.ipynb\)$(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert section, name
    code = re.findall(r"^### (\d)\b.*?^```python\n(.*?)^```$", section[1], flags=re.MULTILINE | re.DOTALL)
    return {int(number): block for number, block in code}


def execute(made: Any, quick: bool, timeout: float = 1800) -> Any:
    """Run every cell; raise nbclient's CellExecutionError if one fails. Keeps what is printed, shown and drawn."""
    environment = {**os.environ, QUICK: "1" if quick else ""}
    environment.pop("MPLBACKEND", None)  # a kernel draws into the notebook
    client = NotebookClient(made, timeout=timeout, resources={"metadata": {"path": str(EXAMPLES)}})
    client.execute(env=environment)
    for cell in made.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [kept(output) for output in cell.outputs if output.get("name") != "stderr"]
    return made


def with_outputs(made: Any, old: Any) -> Any:
    """The notebook with the outputs of an older one of the same code, which may be laid out differently.

    Raises:
        ValueError: the code differs.
    """
    new, before = ([cell for cell in book.cells if cell.cell_type == "code"] for book in (made, old))
    if [meaning(cell.source) for cell in new] != [meaning(cell.source) for cell in before]:
        raise ValueError("its code has changed: execute it")
    for cell, executed in zip(new, before, strict=True):
        cell.outputs, cell.execution_count = executed.outputs, executed.execution_count
    return made


def meaning(code: str) -> str:
    """What code says, whatever its layout and comments."""
    return ast.dump(ast.parse(code))


def kept(output: Any) -> Any:
    """An output without the text that stands for a picture or table."""
    if {"image/png", "text/markdown"} & set(output.get("data", {})):
        output.data.pop("text/plain", None)
    if "metadata" in output:
        output.metadata = {}
    return output


def main() -> None:
    """Make and execute the named notebooks, by default all."""
    p = argparse.ArgumentParser(description="Make and execute the notebooks of examples/.")
    p.add_argument("names", nargs="*", default=sorted(path.stem for path in SOURCES.glob("*.py")))
    p.add_argument("--text", action="store_true", help="renew the text and keep the outputs, if the code is the same")
    a = p.parse_args()
    for name in a.names:
        made, path = notebook((SOURCES / f"{name}.py").read_text(encoding="utf-8")), EXAMPLES / f"{name}.ipynb"
        made = with_outputs(made, nbformat.read(path, as_version=4)) if a.text else execute(made, quick=False)
        nbformat.write(made, path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
