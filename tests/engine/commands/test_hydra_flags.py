"""Hydra's own flags work in an environment without any plugin of Hydra's."""

import subprocess
import sys

import pytest

SAYS = {
    ("--cfg", "job", "optim=adamw"): "name: adamw",
    ("--cfg", "hydra"): "sweep:",
    ("--info", "plugins"): "Installed Hydra Plugins",
    ("--hydra-help",): "--multirun",
}
WITHOUT_PLUGINS = """
import sys
class Nothing:
    def find_spec(self, name, *rest):
        if name == "hydra_plugins":
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
from microgpt.engine.commands.train import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("words", SAYS, ids=" ".join)
def test_a_flag_of_hydras_prints_what_it_says(words: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PLUGINS, *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert SAYS[words] in done.stdout
