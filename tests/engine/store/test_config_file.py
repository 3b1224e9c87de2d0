"""A run's config.yaml may come from anyone: it is read as plain data, in little time and memory."""

import time
from pathlib import Path

import pytest

from microgpt.engine.store.config_file import LIMIT, read_config


def test_a_config_is_a_mapping_of_plain_data(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: {n_layer: 2}\ndata:\n  path: naïve.txt\nbetas: [0.9, 0.95]\n")
    assert read_config(tmp_path / "config.yaml") == {
        "model": {"n_layer": 2}, "data": {"path": "naïve.txt"}, "betas": [0.9, 0.95],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: &x [1]\nb: [*x, *x]", "aliases are not read"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: [1", "expected ',' or ']'"),
        ("- 1", "no mapping"),
        ("", "no mapping"),
        ("a: " + "[" * 600 + "]" * 600, "nested too deeply"),
        ("a: " + "{" * 200_000, "too many lists"),
        ("\n".join(" " * i + "a:" for i in range(600)), "nested too deeply"),
        ("a: " + "x" * LIMIT, "more than the"),
        (b"a: \xff", "codec can't decode"),
    ],
)
def test_what_is_no_config_or_a_bomb_is_one_error(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        read_config(path)
    assert time.perf_counter() - start < 20
