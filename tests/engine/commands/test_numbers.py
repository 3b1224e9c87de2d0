"""A whole number may be written as 1e5 wherever one is meant; a fraction is refused."""

import argparse
import types
import typing
from typing import Annotated, Any

import pytest

from microgpt.config import Config, ConfigError, fields
from microgpt.conversion import Fault, convert
from microgpt.engine.commands.common import whole_number
from microgpt.engine.commands.generate import parser
from microgpt.engine.compose.compose import compose_run, run_config
from microgpt.registry import Choice


def whole_knobs(cls: type[Config], path: str = "") -> dict[str, Any]:
    """Every knob that holds an int or nothing, the shipped parts' own included -> its annotation."""
    found: dict[str, Any] = {}
    for key, annotation in fields(cls).items():
        if isinstance(annotation, type) and issubclass(annotation, Choice):
            for member in annotation.members.values():
                found |= whole_knobs(member, f"{path}{key}={member.name}.")
        inner = typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
        if isinstance(inner, type) and issubclass(inner, Config) and not issubclass(inner, Choice):
            found |= whole_knobs(inner, f"{path}{key}.")
        elif is_whole(annotation):
            found[path + key] = annotation
    return found


def is_whole(annotation: Any) -> bool:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return is_whole(args[0])
    if origin in (typing.Union, types.UnionType):
        return any(map(is_whole, args))
    return annotation is int


KNOBS = whole_knobs(run_config())


@pytest.mark.parametrize("knob", KNOBS)
def test_a_knob_of_whole_numbers_takes_a_float_that_is_one(knob: str) -> None:
    for value in (1e5, "1e5", "100000.0", 100000):
        faults: list[Fault] = []
        converted = convert(value, KNOBS[knob], knob, faults)
        assert (type(converted), converted, faults) == (int, 100000, [])
    for value in (1.5, "1.5e0", float("inf"), float("nan"), "1e400"):
        faults = []
        convert(value, KNOBS[knob], knob, faults)
        assert faults, value


def test_the_command_line_takes_it_too() -> None:
    assert len(KNOBS) > 25
    assert compose_run(["trainer.max_steps=1e5"]).config.trainer.max_steps == 100_000
    assert compose_run(["seed=2e3", "data.vocab_size=1e3"]).config.seed == 2000
    with pytest.raises(ConfigError, match=r"trainer\.max_steps: 1\.5 is not a whole number"):
        compose_run(["trainer.max_steps=1.5"])


def test_an_option_of_whole_numbers_takes_it_too() -> None:
    a = parser().parse_args(["run", "--max-new-tokens", "1e3", "--seed", "-2", "--top-k", "5.0"])
    assert (a.max_new_tokens, a.seed, a.top_k) == (1000, -2, 5)
    assert whole_number("12345678901234567890") == 12345678901234567890
    for text in ("1.5", "x", "inf", "nan", "", "1e400"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number"):
            whole_number(text)
