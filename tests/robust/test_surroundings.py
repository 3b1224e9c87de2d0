"""Odd environments break nothing: variables, missing folders, a working directory that takes no files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import campaign_surroundings as surroundings

HOSTILE = (
    "MPLBACKEND=inline", "MPLCONFIGDIR read-only", "no TERM", "COLUMNS=x", "NO_COLOR", "FORCE_COLOR", "no GPU",
    "HYDRA_FULL_ERROR", "PYTHONHASHSEED", "TMPDIR read-only", "HOME missing", "LANG=C", "PYTHONIOENCODING=ascii",
    "read-only folder",
)  # fmt: skip


@pytest.mark.slow
def test_every_command_works_in_all_odd_surroundings_at_once(tmp_path: Path) -> None:
    place = surroundings.Place(tmp_path)
    faults = {command: place.judge(command, HOSTILE) for command in surroundings.COMMANDS}
    assert faults == dict.fromkeys(surroundings.COMMANDS, "")


def test_a_run_that_cannot_be_written_where_we_stand_is_one_line_and_5(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 100)
    words = ["-m", "microgpt.engine.commands.train", f"data.path={text}", "trainer.max_steps=1", "model=gpt-nano"]
    env = {**os.environ, "TMPDIR": str(tmp_path / "nowhere")}
    done = subprocess.run([sys.executable, *words], cwd="/proc", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.startswith("microgpt: error: cannot write (")
    assert "choose a folder that you can write with hydra.run.dir=" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("named", ["inline", "module://matplotlib_inline.backend_inline", "nonsense", "svg"])
def test_figures_are_drawn_whatever_backend_is_named_and_a_valid_one_stays(named: str, tmp_path: Path) -> None:
    code = (
        "import os, sys; from microgpt.engine.trained.drawing import new_figure; "
        "new_figure(1, 1)[0].savefig(sys.argv[1]); import matplotlib; "
        "print(os.environ['MPLBACKEND'], matplotlib.rcParams['backend'])"
    )
    env = {**os.environ, "MPLBACKEND": named}
    words = [sys.executable, "-c", code, str(tmp_path / "figure.png")]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    environment, backend = done.stdout.split()
    assert environment == named
    assert backend == named or named != "svg"


def test_lightning_is_imported_whatever_backend_is_named() -> None:
    """It imports torchmetrics, which imports matplotlib."""
    code = "from microgpt.engine.fit import loop; import sys; assert 'matplotlib' in sys.modules"
    env = {**os.environ, "MPLBACKEND": "inline"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
