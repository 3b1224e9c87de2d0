"""What the model package promises of its sources: machines and private names stay in kernels/, and parts do not import
the whole."""

import ast
import re
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[2] / "src" / "microgpt" / "model"
SOURCES = sorted(MODEL.rglob("*.py"))
PACKAGE = sorted(MODEL.parent.rglob("*.py"))
MACHINES = re.compile(
    r"\b(avx\w*|amx\w*|sse\d*|vnni|zen ?\d|xeon|epyc|sapphire rapids|mkl|mkldnn|onednn)\b"
    r"|\d\s*(ms|µs|microseconds|seconds|GB/s|GFLOP/s|times as (fast|long|slow))\b",
    re.IGNORECASE,
)
PRIVATE = re.compile(r"torch\.ops\.\w+\._|torch\._[a-zA-Z]\w*\.|torch\._foreach|torch\.compiler\.config")
IMPORTS_GPT = {
    "__init__.py",
    "lora.py",
    "files/folder.py",
    "files/hf/read.py",
    "files/hf/write.py",
    "files/gguf/read.py",
}
"""What lies above the model: its files on disk, and what changes a whole model."""


def name(path: Path) -> str:
    return path.relative_to(MODEL).as_posix()


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent.name != "kernels"], ids=name)
def test_what_was_measured_on_a_machine_stands_in_kernels(path: Path) -> None:
    found = MACHINES.search(path.read_text(encoding="utf-8"))
    assert found is None, found


@pytest.mark.parametrize(
    "path",
    [p for p in PACKAGE if p.name != "torch_private.py"],
    ids=lambda path: path.relative_to(MODEL.parent).as_posix(),
)
def test_private_names_of_torch_stand_in_one_file(path: Path) -> None:
    code = ast.unparse(ast.parse(path.read_text(encoding="utf-8")))  # without comments
    docs = {ast.get_docstring(node, clean=False) or "" for node in ast.walk(ast.parse(code)) if hasattr(node, "body")
            and isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))}  # fmt: skip
    for found in PRIVATE.finditer(code):
        assert any(found.group() in doc for doc in docs), found


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_parts_take_what_they_need_and_do_not_import_the_gpt(path: Path) -> None:
    """Under TYPE_CHECKING and inside functions, too."""
    imported = {
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    assert ("microgpt.model.gpt" in imported) == (name(path) in IMPORTS_GPT)


def test_the_gpt_imports_generation_and_files_inside_its_conveniences_alone() -> None:
    tree = ast.parse((MODEL / "gpt.py").read_text(encoding="utf-8"))
    top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    inside = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} - top
    assert inside == {
        "microgpt.model.generation.stream", "microgpt.model.generation.sampling", "microgpt.model.files.hf",
    }  # fmt: skip
    assert {str(module) for module in top if "generation" in str(module)} == {"microgpt.model.generation.kv_cache"}


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_and_functions_fit_a_screen(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 50, node.name
