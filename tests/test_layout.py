"""The laws of imports: which room may use which, and that no files import one another in a circle."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

FLOORS = (
    ("errors",),
    ("text", "leftovers", "streams", "extras"),
    ("files",),
    ("bounds",),
    ("conversion",),
    ("config",),
    ("registry", "foreign"),
    ("contract",),
    ("data", "model", "testing"),
    ("engine.process", "engine.machine", "engine.store", "engine.schedule"),
    ("engine.optim",),
    ("engine.trained",),
    ("inspect",),  # analyses of a trained model: they read runs, and training logs one of them
    ("engine.addons",),
    ("engine.config", "engine.exchange", "engine.compare"),
    ("engine.fit", "engine.resume", "engine.report", "engine.compose"),
    ("engine.plan",),
    ("engine.prepare",),
    ("engine.train",),
    ("engine.notebook",),
    ("engine.worker",),
    ("engine.sweep",),
    ("engine.commands",),
)
"""Rooms from the ground up. A room uses those below it, and its neighbours where `NEIGHBOURS` says so."""
NEIGHBOURS = {
    ("engine.fit", "engine.resume"): "training begins where a run stands",
}
CONVENIENCES = {
    ("microgpt.model.gpt", "microgpt.model.generation.stream"): "GPT.generate",
    ("microgpt.model.gpt", "microgpt.model.files.hf"): "GPT.from_pretrained",
    ("microgpt.engine.trained.run", "microgpt.inspect.trace"): "Run.inspect",
}
"""The imports that may close a circle or go up: methods that a notebook expects of a model or run import inside their
bodies, and under TYPE_CHECKING for their result's type."""
ONLY = {
    "lightning": ("engine.fit",),
    "hydra": ("engine.compose", "engine.sweep", "engine.commands.train"),
    "omegaconf": ("engine.compose", "engine.sweep", "engine.commands.train"),
}
"""Libraries, and the rooms that know them."""


def modules(src: Path) -> dict[str, Path]:
    """Module name -> file."""
    found = {}
    for path in sorted((src / "microgpt").rglob("*.py")):
        name = ".".join(path.relative_to(src).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[tuple[str, bool]]:
    """What a file imports anywhere in it, the most exact module for each, and whether a function's body does."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else str(node.module), id(node) in inside


def room(module: str) -> str:
    """The room of a module: `engine.fit` for microgpt.engine.fit.callbacks.save; empty for the front door."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2] if parts[:1] == ["engine"] else parts[:1])


def floor(name: str) -> int:
    """The floor on which a room lies."""
    return next(i for i, rooms in enumerate(FLOORS) if name in rooms)


def breaches(src: Path) -> list[str]:
    """Every import that a law forbids."""
    known, found = modules(src), []
    for module, path in known.items():
        here = room(module)
        for target, _ in imports(path, known):
            library = target.split(".")[0]
            allowed = ONLY.get(library)
            if allowed and not any(f"{module}.".startswith(f"microgpt.{name}.") for name in allowed):
                found.append(f"{module} imports {target}: only {', '.join(allowed)} know {library}")
            there = room(target)
            if library != "microgpt" or not here or not there or here == there or here == "engine":
                continue
            if floor(there) > floor(here) and (module, target) not in CONVENIENCES:
                found.append(f"{module} imports {target}, which lies above it")
            elif floor(there) == floor(here) and (here, there) not in NEIGHBOURS:
                found.append(f"{module} imports {target}, its neighbour")
    return found


def circles(src: Path) -> list[list[str]]:
    """Groups of files that import one another, directly or through others."""
    known = modules(src)
    edges = {
        m: {t for t, _ in imports(p, known) if t in known and (m, t) not in CONVENIENCES} for m, p in known.items()
    }
    reach: dict[str, set[str]] = {}
    for start in edges:
        seen, todo = set[str](), [start]
        while todo:
            for target in edges[todo.pop()] - seen:
                seen.add(target)
                todo.append(target)
        reach[start] = seen
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in edges if a in reach[a]}
    return sorted(sorted(group) for group in groups)


def private_imports(src: Path) -> list[str]:
    """Private names that a file imports from another library, unless its own name says so."""
    found = []
    for module, path in modules(src).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for full in (start + name for name in names):
                is_private = any(part.startswith("_") and part != "__future__" for part in full.split("."))
                if is_private and not full.startswith("microgpt.") and not module.endswith("_private"):
                    found.append(f"{module} imports {full}, which is private")
    return found


def test_private_names_of_libraries_are_in_files_that_say_so() -> None:
    assert private_imports(SRC) == []


@pytest.mark.parametrize("line", ["import torch._dynamo", "from torch.utils import _pytree as tree"])
def test_a_planted_private_import_is_found(tmp_path: Path, line: str) -> None:
    plant(tmp_path, "data/rng.py", f"def f():\n    {line}")
    (found,) = private_imports(tmp_path)
    assert "which is private" in found


def test_rooms_use_only_what_lies_below_them() -> None:
    assert breaches(SRC) == []


def test_no_files_import_one_another_in_a_circle() -> None:
    assert circles(SRC) == []


def test_the_conveniences_are_imports_inside_functions() -> None:
    known = modules(SRC)
    for module, target in CONVENIENCES:
        assert (target, True) in set(imports(known[module], known))
        assert (target, False) not in set(imports(known[module], known)) or target in typing_only(known[module])


def typing_only(path: Path) -> set[str]:
    """The modules that a file imports under TYPE_CHECKING."""
    blocks = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.If)]
    under = [node for block in blocks if ast.unparse(block.test) == "TYPE_CHECKING" for node in block.body]
    return {str(node.module) for node in under if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("data/rng.py", "import microgpt.model.gpt", "its neighbour"),
        ("model/block.py", "from microgpt.engine import train", "which lies above it"),
        ("text.py", "def f():\n    from microgpt.config import Config", "which lies above it"),
        ("engine/optim/base.py", "from microgpt.engine.fit import module", "which lies above it"),
        ("engine/exchange/card.py", "from microgpt.engine.compare import runs", "its neighbour"),
        ("engine/trained/run.py", "import lightning.pytorch as L", "know lightning"),
        ("engine/fit/module.py", "from omegaconf import OmegaConf", "know omegaconf"),
        ("engine/commands/help.py", "import hydra", "know hydra"),
        ("inspect/heads.py", "from microgpt.engine.fit import module", "which lies above it"),
        ("engine/trained/sample.py", "from microgpt.inspect import heads", "which lies above it"),
    ],
)
def test_a_planted_breach_is_found(tmp_path: Path, file: str, line: str, said: str) -> None:
    plant(tmp_path, file, line)
    (found,) = breaches(tmp_path)
    assert said in found


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "engine/store/run_folder.py", "def f():\n    from microgpt.engine.store import launch_file")
    assert circles(tmp_path) == [["microgpt.engine.store.launch_file", "microgpt.engine.store.run_folder"]]


def plant(src: Path, file: str, line: str) -> None:
    """A copy of the sources with a line added to a file."""
    for path in modules(SRC).values():
        copy = src / path.relative_to(SRC)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with (src / "microgpt" / file).open("a", encoding="utf-8") as target:
        target.write(f"\n{line}\n")
