"""What to write instead of arguments that a command does not take."""

import re
from pathlib import Path

from microgpt.text import did_you_mean

ELSEWHERE = {
    "--start": "--prompt",
    "--text": "--prompt",
    "--input": "--prompt",
    "--length": "--max-new-tokens",
    "--max-tokens": "--max-new-tokens",
    "--max-length": "--max-new-tokens",
    "--n": "--num-samples",
    "--temp": "--temperature",
    "--file": "--data",
    "--output": "OUT",
    "--out-dir": "RUN",
    "--ckpt-path": "RUN",
    "--checkpoint": "RUN",
    "--model": "RUN",
    "--run": "RUN",
}
"""Options that other programs have -> ours; a test asks that some command has each."""


def usage_fix(message: str, usage: str) -> str:
    """What to do about argparse's complaint.

    Args:
        message: argparse's words.
        usage: the command's usage, which names what it takes.
    """
    if "arguments are required: RUN" in message:
        return f"name a run{newest()}"
    word = message.partition("unrecognized arguments: ")[2].partition(" ")[0].partition("=")[0]
    takes = re.findall(r"--[a-z-]+|\b[A-Z]{3,}\b", usage)
    if word.startswith("-"):
        name = f"--{word.lstrip('-').replace('_', '-').lower()}"
        ours = ELSEWHERE.get(name, name)
        if ours in takes:
            return f"here that is: {ours}"
        near = did_you_mean(name, [option for option in takes if option.startswith("--")])
        return near if near.startswith("did you mean") else "see --help"
    return 'a text to continue is --prompt "..."' if word and "--prompt" in takes else "see --help"


def newest() -> str:
    """A run of the folder `runs`, the last by its name, as an example; empty if there is none."""
    runs = sorted(path for path in Path("runs").glob("*/") if (path / "config.yaml").is_file())
    return f", such as {runs[-1].as_posix()}" if runs else "'s folder; see --help"
