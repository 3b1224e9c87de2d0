"""Start several commands in one folder at once, and several in a folder that the time names."""

import random
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign_rig import STEP, Board, composed, ended, forked, identity, train, write_text
from microgpt.engine.compose.compose import Composed

STARTERS = (2, 3, 6)


@dataclass
class Starter:
    """One of several commands that start together."""

    pid: int
    board: Board
    output: Path
    code: int = -1

    @property
    def said(self) -> str:
        """What it printed."""
        return self.output.read_text(encoding="utf-8")

    @property
    def trained(self) -> bool:
        """Whether it made a step."""
        return self.board.get(STEP) > 0


def starts(folder: Path, count: int, seed: int = 2) -> dict[str, Any]:
    """Start 2, 3 or 6 commands together, `count` times: in three of four times in one folder, else with a default
    name. Of those in one folder exactly one trains, and the others name it or find it finished."""
    rng, text = random.Random(seed), write_text(folder / "text.txt")
    run = composed(text, "optim=adamw", "trainer.max_steps=4", "checkpoint.every_n_steps=2", "eval.every_n_steps=4")
    broken = composed(text, "optim=adamw", "resume=must")
    reference = folder / "reference"
    assert ended(forked(lambda: train(run, reference))) == 0
    wanted = identity(reference)
    figures: dict[str, Any] = {"in one folder": 0, "refused": 0, "came after the end": 0, "with a failing one": 0,
                               "default names": 0, "folders": 0, "faults": []}  # fmt: skip
    for number in range(count):
        place, n = folder / f"try-{number}" / "runs" / "run", rng.choice(STARTERS)
        if rng.random() < 0.5:
            place.parent.mkdir(parents=True)
        if number % 4 == 3:
            default_names(figures, started(folder, n, run, run, place, True), place, wanted)
        else:
            if is_empty := rng.random() < 0.5:
                place.mkdir(parents=True, exist_ok=True)
            fails = not is_empty and rng.random() < 0.3
            one_folder(figures, started(folder, n, broken if fails else run, run, place, False), place, wanted, fails)
        shutil.rmtree(folder / f"try-{number}", ignore_errors=True)
    figures["passed"] = not figures["faults"]
    return figures


def started(folder: Path, n: int, first: Composed, others: Composed, place: Path, is_default: bool) -> list[Starter]:
    """Let `n` commands begin at the same instant, and wait for their end."""
    gate, all_starters = Board(), []
    for i in range(n):
        board, output = Board(), folder / f"out-{i}.txt"

        def work(run: Composed = others if i else first, board: Board = board) -> int:
            while not gate.get(0):
                time.sleep(0.0001)
            return train(run, place, board, must_be_new=is_default)

        all_starters.append(Starter(forked(work, output), board, output))
    time.sleep(0.05)
    gate.set(0, 1)
    for starter in all_starters:
        starter.code = ended(starter.pid)
    return all_starters


def one_folder(
    figures: dict[str, Any], starters: list[Starter], place: Path, wanted: dict[str, str], fails: bool
) -> None:
    """Judge starts in one folder."""
    figures["in one folder"] += 1
    figures["with a failing one"] += fails
    trained = [starter for starter in starters if starter.trained]
    others = [starter for starter in starters if not starter.trained]
    holders = [f"process {starter.pid} on {socket.gethostname()} is training in {place}; " for starter in starters]
    fault = ""
    for starter in others:
        refused = starter.code == 2 and any(f"error: {holder}" in starter.said for holder in holders)
        late = starter.code == 0 and f"{place} is finished: 4 steps" in starter.said
        failed = fails and starter is starters[0] and starter.code == 4
        figures["refused"] += refused
        figures["came after the end"] += late
        if not (refused or late or failed):
            fault = f"exit {starter.code}: {starter.said[-300:]}"
    if len(trained) > 1 or (not trained and not fails):
        fault = f"{len(trained)} of {len(starters)} trained"
    if any(starter.code for starter in trained):
        fault = f"the one that trains: exit {trained[0].code}: {trained[0].said[-300:]}"
    if not fault and trained and identity(place) != wanted:
        fault = "not identical"
    if fault or list(place.glob(".lock")):
        figures["faults"].append(fault or "a lock is left")


def default_names(figures: dict[str, Any], starters: list[Starter], place: Path, wanted: dict[str, str]) -> None:
    """Judge starts without a folder's name."""
    figures["default names"] += 1
    found = sorted(place.parent.iterdir())
    figures["folders"] += len(found)
    codes = [starter.code for starter in starters]
    if any(codes) or len(found) != len(starters) or any(identity(run) != wanted for run in found):
        said = " ".join(starter.said[-200:] for starter in starters if starter.code)
        figures["faults"].append(f"default names: {len(found)} folders of {len(starters)}, exits {codes}: {said}")
