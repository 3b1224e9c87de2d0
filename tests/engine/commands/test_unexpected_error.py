"""An error that no command expects is one line, which names the line of the user's file if it went through one."""

import sys
from pathlib import Path

import pytest

from microgpt.engine.commands import common
from microgpt.registry import import_part


def test_an_error_in_a_file_of_the_users_names_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "part.py"
    part.write_text("import json\n\n\ndef fail(arguments):\n    json.loads('{')\n")
    import_part(str(part))
    fail = next(module for name, module in sys.modules.items() if name.startswith("microgpt_imported_part_")).fail
    assert common.run(fail, []) == 1
    assert f": line 1 column 2 (char 1) in {part}, line 5; run again" in capsys.readouterr().err
