"""What every test shares: one thread, a cache of its own, and small things to train on."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from microgpt.registry import Part

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

TEXT = (
    "the cat sat on the mat and looked at the dog.\n"
    "a dog ran to the cat, and the cat ran up a tree!\n"
    "who saw the dog, the cat and the tree? the man who sat on the mat.\n"
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROGPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def families(of: type[Part] = Part) -> Iterator[type[Part]]:
    """Every family of parts that is known by now."""
    for cls in of.__subclasses__():
        if "members" in vars(cls):
            yield cls
        yield from families(cls)


@pytest.fixture(autouse=True)
def _own_parts_are_forgotten() -> Iterator[None]:
    """What a test registers or imports with `imports=` is there for no other test, in whatever order they run."""
    before = {family: set(family.members) for family in families()}
    yield
    for name in [name for name in sys.modules if name.startswith("microgpt_imported_")]:
        del sys.modules[name]
    for family in families():
        for name in set(family.members) - before.get(family, set()):
            if not family.members[name].__module__.startswith("microgpt."):
                del family.members[name]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A text of some 10,000 characters that is easy to learn."""
    path = tmp_path / "book.txt"
    path.write_text(TEXT * 64, encoding="utf-8")
    return path


@pytest.fixture
def tiny(book: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Overrides of a run that takes a second: `tiny("optim=adamw")`, in the folder `tmp_path/run`."""

    def overrides(*more: str) -> list[str]:
        return [
            f"data.path={book}",
            "model=gpt-nano",
            "model.n_layer=2",
            "model.block_size=16",
            "data.batch_size=8",
            "trainer.max_steps=6",
            "trainer.compile=false",
            "trainer.precision=32-true",
            "trainer.progress=none",
            "trainer.log_every_n_steps=1",
            "eval.every_n_steps=3",
            "eval.figures=never",
            "sample.every_n_steps=0",
            "sample.max_new_tokens=8",
            f"hydra.run.dir={tmp_path / 'run'}",
            *more,
        ]

    return overrides


def extra(name: str) -> Any:
    """A package of the extra `hf`: without it a test is skipped, unless MICROGPT_REQUIRE_HF=1."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("MICROGPT_REQUIRE_HF") == "1":
            pytest.fail(f"{name} is not installed, and MICROGPT_REQUIRE_HF=1 asks for it")
        pytest.skip(f"{name} is not installed: pip install 'microgpt[hf]'")


@pytest.fixture(scope="session")
def transformers() -> Any:
    module = extra("transformers")
    module.utils.logging.disable_progress_bar()
    return module


@pytest.fixture(scope="session")
def tokenizers() -> Any:
    return extra("tokenizers")


@pytest.fixture(scope="session")
def huggingface_hub() -> Any:
    return extra("huggingface_hub")


MAY_BE_SKIPPED = ("CUDA", "MPS", "the CPU has no")
"""Reasons for a skip that is right on a machine without that device or feature."""


QUICK = (
    "test_layout.py", "test_config.py", "test_registry.py", "test_text.py", "test_repository.py",
    "engine/test_run_config",
    "engine/optim", "engine/compose/test_compose", "engine/trained/test_growing_text", "data/test_tokenizer",
    "data/test_rng", "data/test_windows", "model/pos", "model/kernels", "model/test_gpt", "model/test_parts",
)  # fmt: skip
"""Where the tests of the marker `quick` stand: they cover the laws and the arithmetic, and need two minutes at most."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tests; slow ones go first, so that the short ones fill the time beside them."""
    for item in items:
        place = item.path.relative_to(Path(__file__).parent).as_posix()
        if place.startswith(QUICK) and not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.quick)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With MICROGPT_REQUIRE_ALL=1, as in CI, a skip for any other reason fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("MICROGPT_REQUIRE_ALL") or reporter is None or hasattr(session.config, "workerinput"):
        return
    for report in reporter.stats.get("skipped", []):
        reason = str(report.longrepr)
        if not any(word in reason for word in MAY_BE_SKIPPED):
            reporter.write_line(f"skipped, but required here: {report.nodeid}: {reason}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
