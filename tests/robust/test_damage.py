"""A model folder and a checkpoint are data: damaged or made by an enemy, they are refused and never run."""

from pathlib import Path

import pytest

import campaign_damage
import campaign_inputs
from microgpt.text import printable


@pytest.mark.slow
def test_damaged_and_malicious_files_are_refused_and_never_run(tmp_path: Path) -> None:
    figures = campaign_damage.damage(tmp_path, per_group=6, every=5)
    assert figures["faults"] == []
    assert figures["malicious"] >= 40


def test_the_canary_sings_when_a_pickle_is_read(tmp_path: Path) -> None:
    import torch

    for number, name in enumerate(("torch zip", "torch legacy")):
        canary = tmp_path / f"canary-{number}"
        file = tmp_path / "file"
        file.write_bytes(campaign_damage.pickles(canary)[name])
        torch.load(file, weights_only=False)
        assert canary.exists()


def test_random_configurations_and_texts_succeed_or_say_why(tmp_path: Path) -> None:
    figures = campaign_inputs.inputs(tmp_path, 300, 300)  # fewer are too few for a share
    assert figures["fault"] == ""
    assert figures["share trained"] > 1 / 3
    assert len(figures["refusals never met"]) < 16  # of 23, in so few tries


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b]0;title\x07b", "a\ufffd]0;title\ufffdb"),
        ("\x9b2Jx", "\ufffd2Jx"),
        ("a\u202eb\u2066c", "a\ufffdb\ufffdc"),
        ("tab\tnew\nline\r\n", "tab\tnew\nline\n"),
        ("\ud800", "\ufffd"),
        ("é漢😀", "é漢😀"),
    ],
)
def test_a_text_cannot_drive_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
