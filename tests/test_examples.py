"""The notebooks run from the first cell to the last, solved exercises included, and hold what their sources say."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.stem for path in (EXAMPLES / "src").glob("*.py"))
MOST = 400_000
"""Bytes of a notebook with its pictures."""


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "figures"))
    return import_module("notebooks")


def source(name: str) -> str:
    return (EXAMPLES / "src" / f"{name}.py").read_text(encoding="utf-8")


def printed(outputs: list[Any]) -> str:
    return "".join(output.get("text", "") for output in outputs)


def test_there_are_five_notebooks() -> None:
    assert [name[0] for name in NAMES] == list("12345")
    assert sorted(path.stem for path in EXAMPLES.glob("*.ipynb")) == NAMES


def nonsense(solution: str) -> str:
    """An answer of the solution's form that is wrong."""
    wrong = []
    for node in ast.parse(solution).body:
        if isinstance(node, ast.FunctionDef):
            wrong.append(f"def {node.name}(*_): return -1")
        elif isinstance(node, ast.Assign):
            wrong += [f"{target.id} = -1" for target in node.targets if isinstance(target, ast.Name)]
    return "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_takes_the_solutions_and_refuses_nonsense(name: str, builder: Any) -> None:
    solutions = builder.solutions(name)
    assert sorted(solutions) == [1, 2, 3, 4, 5]
    answers = {number: [nonsense(code), code] for number, code in solutions.items()}
    made = builder.execute(builder.notebook(source(name), answers), quick=True, timeout=240)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    exercises = [i for i, cell in enumerate(code) if cell.source.startswith("# Exercise")]
    for number, i in enumerate(exercises, start=1):
        unsolved, wrong, right = (printed(cell.outputs) for cell in code[i : i + 3])
        assert f"Exercise {number}: not answered yet." in unsolved
        assert f"Exercise {number}: right." not in wrong
        assert f"Exercise {number}: right." in right, right


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_notebook_is_its_source_executed(name: str, builder: Any) -> None:
    import nbformat

    path = EXAMPLES / f"{name}.ipynb"
    made, kept = builder.notebook(source(name)), nbformat.read(path, as_version=4)
    nbformat.validate(kept)
    assert [(c.cell_type, c.source) for c in kept.cells] == [(c.cell_type, c.source) for c in made.cells]
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < MOST
    text = path.read_text(encoding="utf-8")
    assert '"image/png"' in text
    said = printed([output for cell in code for output in cell.outputs])
    assert said.count(": not answered yet.") == 5
    assert not re.search(r"/(home|tmp|root|Users|work)/|\bobject at 0x|Traceback|seconds|tokens/s", text)


def test_a_notebook_says_what_one_will_learn_and_ends_with_exercises() -> None:
    for name in NAMES:
        first, *_ = re.findall(r"^# %% \[markdown\]\n(.*?)(?=^# %%)", source(name), flags=re.MULTILINE | re.DOTALL)
        assert first.startswith(f"# # {name[0]} "), name
        assert "# You will\n" in first, name
        assert re.findall(r"^# Exercise (\d)$", source(name), flags=re.MULTILINE) == list("12345"), name
        assert f"({name}.ipynb)" in (EXAMPLES / "README.md").read_text(encoding="utf-8"), name


def test_the_text_of_a_notebook_is_renewed_without_running_it(builder: Any, tmp_path: Path) -> None:
    import nbformat

    old = builder.notebook("# %% [markdown]\n# old\n\n# %%\nprint(1)\n")
    old.cells[1].execution_count = 1
    old.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    new = builder.with_outputs(builder.notebook("# %% [markdown]\n# new\n\n# %%\nprint(1)\n"), old)
    assert new.cells[0].source == "new"
    assert printed(new.cells[1].outputs) == "1\n"
    with pytest.raises(ValueError, match="its code has changed"):
        builder.with_outputs(builder.notebook("# %%\nprint(2)\n"), old)


def test_the_command_makes_a_notebook(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "figures" / "notebooks.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--text" in done.stdout
