"""The package builds as a wheel and runs from it in an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def test_the_packages_metadata_is_what_an_index_accepts(built: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_the_wheel_holds_code_configuration_and_type_marker(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"microgpt/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in names
    for path in (ROOT / "src" / "microgpt").rglob("*.py"):
        assert path.relative_to(ROOT / "src").as_posix() in names
    for path in (ROOT / "src" / "microgpt" / "engine" / "exchange" / "page").iterdir():
        assert path.is_dir() or path.relative_to(ROOT / "src").as_posix() in names
    assert "microgpt/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]


def test_a_run_from_the_wheel_in_an_empty_folder(wheel: Path, tmp_path: Path, book: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [
        sys.executable, "-c",
        "import sys, microgpt; from microgpt.engine.commands.train import main; "
        f"assert microgpt.__file__.startswith({str(site)!r}); sys.exit(main(sys.argv[1:]))",
        f"data.path={book}", "model=gpt-nano", "model.block_size=16", "data.batch_size=4", "trainer.max_steps=2",
        "trainer.compile=false", "sample.max_new_tokens=4", "hydra.run.dir=run",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in empty.iterdir()] == ["run"]
    assert (empty / "run" / "summary.json").is_file()
