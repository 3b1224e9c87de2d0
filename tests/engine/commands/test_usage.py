"""Arguments that a command does not take are answered with what to write."""

from pathlib import Path

import pytest

from microgpt.engine.commands import compare, evaluate, export, generate, import_
from microgpt.engine.commands.usage import ELSEWHERE

SAID = {
    "generate RUN --max_new_tokens 60": "here that is: --max-new-tokens",
    "generate RUN --num_samples=2": "here that is: --num-samples",
    "generate RUN --start ROMEO:": "here that is: --prompt",
    "generate RUN --out_dir=out": "here that is: RUN",
    "generate RUN --promt x": "did you mean '--prompt'?",
    "generate RUN To be": 'a text to continue is --prompt "..."',
    "evaluate RUN --file a.txt": "here that is: --data",
    "evaluate RUN --zzz": "see --help",
    "compare RUN extra --fgures x": "did you mean '--figures'?",
    "export RUN out --formt html": "did you mean '--format'?",
}
COMMANDS = {"generate": generate, "evaluate": evaluate, "compare": compare, "export": export, "import": import_}


@pytest.mark.parametrize("typed", SAID)
def test_an_argument_by_habit_is_answered(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *words = typed.split()
    assert COMMANDS[command].main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("microgpt: error: unrecognized arguments: ")
    assert error.endswith(f" in the arguments; {SAID[typed]}\n")


def test_a_missing_run_is_answered_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert generate.main(["--prompt", "x"]) == 2
    assert capsys.readouterr().err.endswith("name a run's folder; see --help\n")
    for name in ("a", "b", "nothing"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "runs" / name / "config.yaml").touch()
    assert generate.main(["--out_dir=out"]) == 2
    assert capsys.readouterr().err.endswith("name a run, such as runs/b\n")


def test_every_answer_is_what_a_command_takes(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS.values():
        assert command.main(["--help"]) == 0
    takes = capsys.readouterr().out
    for ours in ELSEWHERE.values():
        assert ours in takes, ours
