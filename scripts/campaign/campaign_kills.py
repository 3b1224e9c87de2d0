"""Kill runs at random instants, and stop them by signals; what is resumed must end in the same bits."""

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from campaign_rig import (
    CASES,
    SAVING,
    STEP,
    Board,
    broken,
    composed,
    ended,
    forked,
    identity,
    newest_step,
    train,
    write_text,
)

EVERY = 4
STEPS = 24  # of every run of the campaign


def kills(folder: Path, count: int, seed: int = 0) -> dict[str, Any]:
    """SIGKILL `count` times, about half of them aimed into a save."""
    rng, text = random.Random(seed), write_text(folder / "text.txt")
    figures: dict[str, Any] = {"kills": 0, "inside a save": 0, "finished runs": 0, "not identical": 0,
                               "broken checkpoints seen": 0, "most steps lost": 0, "other faults": []}  # fmt: skip
    references = {name: reference(folder, name, text, knobs) for name, knobs in CASES.items()}
    names = list(CASES)
    number = 0
    while figures["kills"] < count:
        name = names[number % len(names)]
        run, duration, wanted = references[name]
        place = folder / f"run-{number}"
        number += 1
        for attempt in range(12):
            board = Board()
            before = newest_step(place)
            pid = forked(lambda run=run, place=place, board=board: train(run, place, board), folder / "out.txt")
            aimed = attempt < 11 and rng.random() < 0.6
            killed = attempt < 11 and wait_and_kill(pid, board, duration, rng, aimed)
            code = ended(pid)
            figures["broken checkpoints seen"] += len(broken(place))
            if killed and code == -signal.SIGKILL:
                figures["kills"] += 1
                hidden = list((place / "checkpoints").glob(".tmp-step-*"))
                figures["inside a save"] += bool(hidden)
                lost = max(board.get(STEP), before) - newest_step(place)
                figures["most steps lost"] = max(figures["most steps lost"], lost)
                continue
            if code != 0:
                figures["other faults"].append(f"{name}: exit {code}: {(folder / 'out.txt').read_text()[-300:]}")
                break
            figures["finished runs"] += 1
            figures["not identical"] += identity(place) != wanted
            break
        shutil.rmtree(place, ignore_errors=True)
    figures["lost work bound"] = EVERY
    figures["passed"] = (
        not figures["not identical"]
        and not figures["broken checkpoints seen"]
        and figures["most steps lost"] <= EVERY
        and not figures["other faults"]
    )
    return figures


def wait_and_kill(pid: int, board: Board, duration: float, rng: random.Random, aimed: bool) -> bool:
    """SIGKILL the process at a random instant, or a moment after its next save has begun; whether it still lived."""
    if aimed:
        saves, deadline = rng.randint(1, 3), time.monotonic() + 4 * duration + 5
        while board.get(SAVING) < saves and time.monotonic() < deadline:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return False
            time.sleep(0.0002)
        time.sleep(rng.uniform(0, 0.008))
    else:
        time.sleep(rng.uniform(0, duration))
    alive = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    os.kill(pid, signal.SIGKILL)
    return alive


def signals(folder: Path, each: int, seed: int = 1) -> dict[str, Any]:
    """Send each of SIGTERM, SIGINT and SIGUSR1 `each` times at random instants."""
    rng, text = random.Random(seed), write_text(folder / "text.txt")
    figures: dict[str, Any] = {"finished runs": 0, "not identical": 0, "wrong exit codes": [], "came after the end": 0,
                               "no advice": 0, "broken checkpoints seen": 0}  # fmt: skip
    references = {name: reference(folder, name, text, knobs) for name, knobs in CASES.items()}
    sent = {signal.SIGTERM: 0, signal.SIGINT: 0, signal.SIGUSR1: 0}
    names, number = list(CASES), 0
    while min(sent.values()) < each:
        name = names[number % len(names)]
        run, duration, wanted = references[name]
        place = folder / f"run-{number}"
        number += 1
        for attempt in range(8):
            what = min(sent, key=lambda s: sent[s])
            ready, board = Board(), Board()

            def work(run: Any = run, place: Path = place, board: Board = board, ready: Board = ready) -> int:
                for s in sent:
                    signal.signal(s, signal.SIG_DFL)
                ready.set(0, 1)
                return train(run, place, board, ("some.knob=1",))

            pid = forked(work, folder / "out.txt")
            while not ready.get(0):
                time.sleep(0.001)
            if attempt < 7:
                time.sleep(0.005 + rng.uniform(0, duration))
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    os.kill(pid, what)
            code = ended(pid)
            said = (folder / "out.txt").read_text()
            figures["broken checkpoints seen"] += len(broken(place))
            if code == 128 + what:
                sent[what] += 1
                figures["no advice"] += board.get(STEP) > 0 and "microgpt-train some.knob=1 hydra.run.dir=" not in said
                continue
            if code == -what and board.get(STEP) in (0, STEPS):
                figures["came after the end"] += 1  # or before the start: when the handlers are not ours
                break
            if code != 0:
                figures["wrong exit codes"].append(f"{name} {what.name}: {code}: {said[-300:]}")
                break
            figures["came after the end"] += attempt < 7
            figures["finished runs"] += 1
            figures["not identical"] += identity(place) != wanted
            break
        shutil.rmtree(place, ignore_errors=True)
    figures["stopped by"] = {s.name: n for s, n in sent.items()}
    figures["passed"] = not (
        figures["not identical"]
        or figures["wrong exit codes"]
        or figures["broken checkpoints seen"]
        or figures["no advice"]
    )
    return figures


def reference(folder: Path, name: str, text: Path, knobs: list[str]) -> tuple[Any, float, dict[str, str]]:
    """A run that nothing interrupts: what it was composed of, how long it took, and what came out."""
    run = composed(text, *knobs, f"checkpoint.every_n_steps={EVERY}")
    place = folder / f"reference-{name}"
    started = time.monotonic()
    code = ended(forked(lambda: train(run, place), folder / "out.txt"))
    if code != 0:
        raise SystemExit(f"the reference run {name} ended with {code}: {(folder / 'out.txt').read_text()}")
    return run, time.monotonic() - started, identity(place)
