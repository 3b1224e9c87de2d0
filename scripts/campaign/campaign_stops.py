"""A signal at every place of the program: whichever way it ends a run, it says how to go on, and the run goes on."""

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from campaign_rig import TINY, ended, forked, identity, write_text
from microgpt.engine.commands import train as command
from microgpt.engine.process import signals

Place = tuple[str, str, str]
"""Where a signal comes: who calls, what is called, and whether it is entered or left."""
WATCHED = ("/microgpt/", "/lightning/pytorch/trainer/", "/contextlib.py", "/logging/__init__.py")
HANDLERS: set[CodeType] = {signals._handle.__code__, signals._words.__code__}


def stops(folder: Path, every: int = 1, number: int = signal.SIGTERM) -> dict[str, Any]:
    """Signal a run once at each place that it passes, or at one of `every` so many, and let it go on.

    A place is a pair of functions, one of which calls the other, at its start or its end, the first time that it is
    passed: from the parsing of the command line to the closing words.
    """
    text = write_text(folder / "text.txt")
    words = [*TINY, "optim=adamw", "model.dropout=0.1", "trainer.max_steps=6", f"data.path={text}"]
    words += ["eval.every_n_steps=3", "sample.every_n_steps=3", "trainer.micro_batch_size=8", "data.test_fraction=0.1"]
    whole = folder / "whole"
    places = passed(folder, [*words, f"hydra.run.dir={whole}"])
    figures: dict[str, Any] = {"places": len(places), "stopped": 0, "came after the end": 0, "faults": []}
    for place in places[::every]:
        run = folder / "run"
        start = [*words, f"hydra.run.dir={run}"]
        code, said = ask(folder, lambda start=start, place=place: stopped_at(place, number, start))
        stopped = code == 128 + number
        figures["stopped"] += stopped
        figures["came after the end"] += code == 0
        if fault := judge(code, said, number, run):
            figures["faults"].append(f"{' > '.join(place)}: {fault}")
        if stopped and (advice := [line for line in said.splitlines() if " with: microgpt-train " in line]):
            again = shlex.split(advice[0].split(" with: ")[1])[1:]
            code, said = ask(folder, lambda again=again: command.main(again))
            if code != 0 or identity(run) != identity(whole):
                figures["faults"].append(f"{' > '.join(place)}: went on to {code}: {said[-200:]}")
        shutil.rmtree(run, ignore_errors=True)
    figures["passed"] = not figures["faults"] and figures["stopped"] > 0.9 * len(places[::every])
    return figures


def judge(code: int, said: str, number: int, run: Path) -> str:
    """What is wrong with the end of a signalled run; empty when nothing is."""
    if code == 0 and (run / "summary.json").is_file():
        return ""  # the signal came after all was done
    if code != 128 + number:
        return f"exit {code}: {said[-300:]}"
    if "Traceback" in said:
        return f"a traceback: {said[-300:]}"
    if said.count(" with: microgpt-train ") != 1:
        return f"{said.count(' with: microgpt-train ')} times how to go on: {said[-300:]}"
    return "" if f"stopped by {signal.Signals(number).name}" in said else f"stopped by what: {said[-300:]}"


def ask(folder: Path, work: Callable[[], int]) -> tuple[int, str]:
    """The exit code of `work` in a fork of its own, and what it said."""
    code = ended(forked(work, folder / "out.txt"))
    return code, (folder / "out.txt").read_text(errors="replace")


def watch(act: Callable[[Place], None]) -> None:
    """Call `act` whenever this thread enters or leaves a watched function."""

    def profile(frame: FrameType, event: str, _: object) -> None:
        code, caller = frame.f_code, frame.f_back
        if event in ("call", "return") and code not in HANDLERS and any(w in code.co_filename for w in WATCHED):
            act((name(caller.f_code) if caller else "", name(code), event))

    sys.setprofile(profile)


def name(code: CodeType) -> str:
    """A function, for people."""
    return f"{Path(code.co_filename).stem}.{code.co_qualname}"


def passed(folder: Path, words: list[str]) -> list[Place]:
    """The places that a run passes while its signals are ours, in their order."""
    list_of = folder / "places.txt"

    def work() -> int:
        seen: dict[Place, None] = {}

        def note(place: Place) -> None:
            if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, None):
                seen[place] = None

        watch(note)
        code = command.main(words)
        sys.setprofile(None)
        list_of.write_text("\n".join(map("\t".join, seen)))
        return code

    code, said = ask(folder, work)
    if code != 0:
        raise SystemExit(f"the run that is to be signalled ended with {code}: {said}")
    return [(a, b, c) for a, b, c in (line.split("\t") for line in list_of.read_text().splitlines())]


def stopped_at(place: Place, number: int, words: list[str]) -> int:
    """The exit code of a run that is signalled when it first passes a place with our handlers in force."""
    for s in signals.SIGNALS:
        signal.signal(s, signal.SIG_DFL)

    def act(now: Place) -> None:
        if now == place and signal.getsignal(number) is not signal.SIG_DFL:
            sys.setprofile(None)
            os.kill(os.getpid(), number)

    watch(act)
    try:
        return command.main(words)
    finally:
        sys.setprofile(None)
