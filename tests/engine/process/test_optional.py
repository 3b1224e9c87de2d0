"""Work that a run can do without: its failure is a warning; a signal, or a full disk before the last step, is not."""

import logging

import pytest

from microgpt.engine.process import signals
from microgpt.engine.process.optional import optional
from microgpt.errors import DataError


def fail(error: BaseException, is_last: bool) -> None:
    with optional("the figure", is_last):
        raise error


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no\nfont"), "warning: the figure failed (ValueError: no font)"),
        (DataError("no text", "a.txt", "write one"), "warning: the figure failed (no text in a.txt; write one)"),
    ],
)
def test_a_failure_is_one_line(error: Exception, said: str, is_last: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="microgpt"):
        fail(error, is_last)
    assert [record.message for record in caplog.records] == [f"{said}; the run goes on without"]


@pytest.mark.parametrize("error", [signals.Interrupted(), signals.Stopped(15), KeyboardInterrupt(), SystemExit(3)])
def test_a_signal_is_no_failure(error: BaseException) -> None:
    with pytest.raises(type(error)):
        fail(error, True)


def test_a_disk_error_ends_a_run_that_has_steps_to_make(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OSError, match="full"):
        fail(OSError("full"), False)
    with caplog.at_level(logging.WARNING, logger="microgpt"):
        fail(OSError("full"), True)
    assert len(caplog.records) == 1


def test_an_error_that_foreign_code_makes_of_a_signal_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "received", lambda: 15)
    with pytest.raises(ValueError, match="torn"):
        fail(ValueError("torn"), True)
