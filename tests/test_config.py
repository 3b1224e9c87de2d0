"""The foundation: values are converted where nothing is lost, and every fault is reported."""

import math
from typing import Annotated, Literal

import pytest

from microgpt.config import Config, ConfigError, Count, Fraction, Range, defaults
from microgpt.registry import Choice
from microgpt.text import did_you_mean


class Shape(Choice, family="shape"):
    """A family for these tests."""


class Circle(Shape, name="circle"):
    radius: Annotated[float, Range(above=0)] = 1.0


class Square(Shape, name="square"):
    side: float = 2.0


class Inner(Config):
    share: Fraction = 0.5
    tags: tuple[str, ...] = ()


class Outer(Config):
    n: Count = 3
    rate: float = 0.1
    pair: tuple[float, float] = (0.9, 0.95)
    mode: bool | Literal["auto"] = "auto"
    limit: Count | None = None
    shape: Shape = Circle()
    inner: Inner = Inner()


def faults(**values: object) -> dict[str, str]:
    with pytest.raises(ConfigError) as error:
        Outer.from_dict(values)
    return {fault.path: f"{fault.what}; {fault.fix}" for fault in error.value.faults}


def test_values_are_converted_where_nothing_is_lost() -> None:
    config = Outer.from_dict({"n": 1e3, "rate": 2, "pair": [1, 2], "mode": True, "inner": {"tags": ["a", 3]}})
    assert (config.n, config.rate, config.pair, config.mode) == (1000, 2.0, (1.0, 2.0), True)
    assert config.inner.tags == ("a", "3")
    assert isinstance(config.n, int)
    assert isinstance(config.rate, float)
    assert Outer.from_dict({"rate": "5e-4"}).rate == 5e-4


def test_a_choice_is_made_by_name_or_by_mapping() -> None:
    assert Outer(shape="square").shape == Square()  # type: ignore[arg-type]
    assert Outer.from_dict({"shape": {"name": "circle", "radius": 3}}).shape == Circle(radius=3.0)


def test_a_config_goes_through_its_dict() -> None:
    config = Outer(n=7, shape=Square(side=4.0), inner=Inner(tags=("x",)), limit=2)
    assert Outer.from_dict(config.to_dict()) == config
    assert config.to_dict()["shape"] == {"name": "square", "side": 4.0}


def test_defaults_leave_out_what_is_chosen() -> None:
    assert defaults(Outer) == {
        "n": 3, "rate": 0.1, "pair": [0.9, 0.95], "mode": "auto", "limit": None,
        "inner": {"share": 0.5, "tags": []},
    }  # fmt: skip


def test_every_fault_is_reported_with_its_path() -> None:
    found = faults(
        m=1, n=0, rate="x", pair=[1], mode="perhaps", limit=-1, inner={"share": 1.0, "tgs": []}, shape={"name": "cube"}
    )
    assert found == {
        "m": "unknown key; one of inner, limit, mode, n, pair, rate, shape",
        "n": "0 is out of range; it must be at least 1",
        "rate": "'x' is not a number; ",
        "pair": "[1] is not a list of 2; write it as [a, b]",
        "mode": "no such choice 'perhaps'; one of auto",
        "limit": "-1 is out of range; it must be at least 1",
        "inner.tgs": "unknown key; did you mean 'tags'?",
        "inner.share": "1.0 is out of range; it must be at least 0 and below 1",
        "shape.name": "no shape 'cube'; one of circle, square",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, 2.5, True, "1.5", None, [1], {"a": 1}])
def test_what_is_no_whole_number_is_refused_for_one(value: object) -> None:
    assert "n" in faults(n=value)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "nan", None, "", [0.1]])
def test_what_is_no_number_in_range_is_refused(value: object) -> None:
    assert "inner.share" in faults(inner={"share": value})


def test_a_name_is_taken_once() -> None:
    with pytest.raises(TypeError, match="shape 'circle' is already"):

        class Round(Shape, name="circle"):
            pass


def test_a_suggestion_is_the_nearest_word() -> None:
    assert did_you_mean("n_layr", ["n_layer", "n_head"]) == "did you mean 'n_layer'?"
    assert did_you_mean("zzz", ["b", "a"]) == "one of a, b"


class Floats(Config):
    plain: float = 0.0
    "Without a range."
    above: Annotated[float, Range(above=0)] = 1.0
    "With one."
    maybe: Annotated[float, Range(min=0, max=1)] | None = None
    "In a union."
    either: Annotated[float, Range(min=0)] | Literal["auto"] = "auto"
    "In a union whose last option is a name."
    pair: tuple[Annotated[float, Range(below=1)], float] = (0.0, 0.0)
    "In a list."


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", "inf", "-inf", "1e400"])
def test_a_number_that_is_not_finite_is_said_to_be_none(value: object) -> None:
    with pytest.raises(ConfigError) as error:
        Floats(plain=value, above=value, maybe=value, either=value, pair=(value, value))  # type: ignore[arg-type]
    assert [str(fault) for fault in error.value.faults] == [
        f"plain: {value!r} is not a finite number",
        f"above: {value!r} is not a finite number; it must be above 0",
        f"maybe: {value!r} is not a finite number; it must be at least 0 and at most 1",
        f"either: {value!r} is not a finite number; it must be at least 0",
        f"pair[0]: {value!r} is not a finite number; it must be below 1",
        f"pair[1]: {value!r} is not a finite number",
    ]


def test_a_whole_number_too_large_for_a_float_is_none() -> None:
    with pytest.raises(ConfigError, match="is not a number that fits in 64 bits"):
        Floats(plain=10**400)
