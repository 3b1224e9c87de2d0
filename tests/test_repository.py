"""The promises that the tree itself makes: style, types, the import law, YAML that composes, commands that run."""

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import time
from pathlib import Path
from types import FunctionType

import pytest
import torch

import microgpt
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.engine.compose.schema import families
from microgpt.engine.config import RunConfig
from microgpt.model import GPT

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "microgpt").rglob("*.py"))


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False)


def test_no_two_test_files_share_a_name() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("command", [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)])
def test_style_and_types_are_clean(command: tuple[str, ...]) -> None:
    done = run("-m", *command)
    assert done.returncode == 0, done.stdout + done.stderr


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it, `if TYPE_CHECKING` included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def test_the_import_law_holds() -> None:
    """config <- {data, model} <- engine; only engine knows Lightning, Hydra and OmegaConf."""
    forbidden = {
        "data": ("microgpt.model", "microgpt.engine", "lightning", "hydra", "omegaconf", "tensorboard", "matplotlib"),
        "model": ("microgpt.data", "microgpt.engine", "lightning", "hydra", "omegaconf", "tensorboard", "matplotlib"),
        "config.py": ("microgpt.data", "microgpt.model", "microgpt.engine", "lightning", "hydra", "omegaconf", "torch"),
        "errors.py": ("microgpt", "torch", "lightning", "hydra"),
    }
    for path in SOURCES:
        part = path.relative_to(ROOT / "src" / "microgpt").parts[0]
        for name in imported(path):
            for law in forbidden.get(part, ()):
                assert not f"{name}.".startswith(f"{law}."), f"{path.relative_to(ROOT)} imports {name}"


def test_no_source_reads_pickles_or_runs_text() -> None:
    banned = re.compile(
        r"import pickle|weights_only=False|shell=True|yaml\.(full|unsafe)?_?load\((?!.*Loader=_PlainLoader)"
        r"|(?<![\w.])(?<!def )(eval|exec)\("
    )
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if path.name == "outline.py":  # runs statements of the package's own files, as importing those would
            text = text.replace('        exec(compile(ast.Module([node], []), file.module, "exec"), names)', "")
        assert not banned.search(text), path


@pytest.mark.parametrize(
    ("group", "option"),
    [(g, o) for g, options in config_groups(shipped_yaml()).items() for o in options if "hydra" not in g],
)
def test_every_shipped_yaml_composes_and_builds(group: str, option: str) -> None:
    config = compose_run([f"{group}={option}"]).config
    with torch.device("meta"):
        model = GPT(config.model, vocab_size=65)
    assert model.num_params() > 0
    assert config.optim.build(model.named_parameters()).param_groups


@pytest.mark.parametrize("path", ["model.pos", "optim", "optim.schedule"])
def test_every_registered_part_has_a_yaml_and_every_yaml_a_part(path: str) -> None:
    members = families(RunConfig)[path].members
    shipped = {name for name, member in members.items() if member.__module__.startswith("microgpt.")}
    assert shipped == set(config_groups(shipped_yaml())[path])


def test_importing_the_package_loads_neither_lightning_nor_hydra_nor_torch() -> None:
    code = (
        "import sys, microgpt; from microgpt import GPT, GPTConfig, CharTokenizer, TextDataset, load; "
        "bad = [m for m in ('lightning', 'hydra', 'omegaconf', 'matplotlib', 'transformers') if m in sys.modules]; "
        "assert not bad, bad"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert run("-c", "import sys, microgpt; assert 'torch' not in sys.modules").returncode == 0


def test_help_names_every_part_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from microgpt.engine.commands.train import main; assert main(['--help']) == 0; "
        "assert not {'torch', 'lightning', 'numpy'} & set(sys.modules), 'heavy imports'"
    )
    start = time.perf_counter()
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 10  # a guard against importing torch, not a benchmark
    for word in ("model.pos=", "rope", "muon", "trainer.max_steps=600", "optim.lr=", "data.path=", "--multirun"):
        assert word in done.stdout, word


def undocumented_methods() -> list[str]:
    """Public methods of public classes that have no docstring and override nothing."""
    found = []
    for info in pkgutil.walk_packages(microgpt.__path__, "microgpt."):
        module = importlib.import_module(info.name)
        classes = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == info.name]
        for cls in classes:
            found += [f"{info.name}.{cls.__qualname__}.{name}" for name in undocumented(cls)]
    return found


def undocumented(cls: type) -> list[str]:
    """The names of a class's public methods and properties that lack a docstring and are new in it."""
    kinds = (FunctionType, property, functools.cached_property, staticmethod, classmethod)
    return [
        name
        for name, value in vars(cls).items()
        if isinstance(value, kinds) and not name.startswith("_") and not cls.__name__.startswith("_")
        if not value.__doc__ and not any(name in vars(base) for base in cls.__mro__[1:])
    ]


def test_every_public_method_is_documented_or_overrides_one_that_is() -> None:
    assert undocumented_methods() == []


def test_an_undocumented_method_is_found() -> None:
    class Base:
        def known(self) -> None:
            """Documented."""

    class Planted(Base):
        def known(self) -> None: ...

        def method(self) -> None: ...

        @property
        def figure(self) -> int: ...  # type: ignore[empty-body]

        @classmethod
        def made(cls) -> None: ...

        @torch.no_grad()
        def wrapped(self) -> None: ...

        def _hidden(self) -> None: ...

    assert undocumented(Planted) == ["method", "figure", "made", "wrapped"]


def test_files_have_at_most_250_lines_and_functions_50() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 250, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 50, f"{path}: {node.name}"
