"""Random configurations and random texts: success or one of our own errors, and every text comes back as it was."""

import warnings
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from microgpt.config import Choice, Config, fields
from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare
from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer, tokenizer_from_dict
from microgpt.engine.config import RunConfig
from microgpt.errors import MicrogptError
from microgpt.model import GPT

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    2,
    3,
    -1,
    7,
    64,
    2**31,
    2**63,
    2**64,
    10**30,
    0.0,
    0.1,
    0.5,
    1.0,
    -0.5,
    1e-30,
    1e30,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    "",
    "0",
    "1e3",
    "nan",
    "auto",
    "rope",
    "ddp",
    "char",
    "x" * 50,
    "\x00",
    "é\ud800",
    [],
    [1],
    [0.9, 0.95],
    [0.9, "x"],
    {},
    {"name": "rope"},
    {"name": "rope", "theta": -1},
    {"a": {"b": []}},
    (),
    b"x",
    object(),
]


def knobs(cls: type[Config]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of a config's knobs with values that may or may not fit, and now and then a key that it lacks."""
    values: dict[str, st.SearchStrategy[Any]] = {}
    for name, annotation in fields(cls).items():
        odd = st.sampled_from(ODD) | st.integers(-3, 40) | st.floats()
        if isinstance(annotation, type) and issubclass(annotation, Choice):
            members = list(annotation.members.values())
            group = st.one_of([knobs(m).map(lambda v, m=m: {"name": m.name, **v}) for m in members])
            values[name] = group | st.sampled_from([m.name for m in members]) | odd
        elif isinstance(annotation, type) and issubclass(annotation, Config):
            values[name] = knobs(annotation) | odd
        else:
            values[name] = odd
    if not values:
        return st.just({})
    some = st.lists(st.sampled_from(sorted(values)), max_size=4, unique=True)
    chosen = some.flatmap(lambda names: st.fixed_dictionaries({name: values[name] for name in names}))
    return chosen | st.tuples(chosen, st.text(max_size=6)).map(lambda pair: {**pair[0], pair[1]: 1})


def inputs(folder: Path, configs: int, texts: int) -> dict[str, Any]:
    """Try `configs` configurations and `texts` texts."""
    figures: dict[str, Any] = {"configurations": 0, "accepted": 0, "models built": 0, "texts": 0, "texts refused": 0,
                               "read from a file": 0}  # fmt: skip
    options = {"deadline": None, "database": None, "derandomize": True, "phases": [Phase.generate],
               "suppress_health_check": list(HealthCheck)}  # fmt: skip

    @settings(max_examples=max(1, configs), **options)
    @given(knobs(RunConfig))
    def try_config(values: dict[str, Any]) -> None:
        figures["configurations"] += 1
        try:
            config = RunConfig.from_dict(values)
        except MicrogptError:
            return
        figures["accepted"] += 1
        assert RunConfig.from_dict(config.to_dict()) == config
        model = config.model
        if model.n_layer * model.n_embd * model.hidden * model.block_size < 10**8 and model.ngram_embed < 10**4:
            try:
                GPT(model, vocab_size=7)
                figures["models built"] += 1
            except MicrogptError:
                pass

    @settings(max_examples=max(1, texts), **options)
    @given(st.text() | st.text(st.characters()) | st.text(alphabet="ab\r\n\ufeff\x00\u0301\ud800😀", max_size=40))
    def try_text(text: str) -> None:
        figures["texts"] += 1
        for kind in (CharTokenizer, ByteTokenizer):
            try:
                tokenizer = CharTokenizer.from_text(text) if kind is CharTokenizer else ByteTokenizer()
            except MicrogptError:
                figures["texts refused"] += 1
                continue
            again = tokenizer_from_dict(tokenizer.to_dict())
            assert again.encode(text) == tokenizer.encode(text)
            if kind is CharTokenizer or not any("\ud800" <= c <= "\udfff" for c in text):
                assert again.decode(again.encode(text)) == text
        if figures["texts"] % 10 == 0:
            data = text.encode("utf-8", "surrogatepass")
            path = folder / "text.txt"
            path.write_bytes(data)
            try:
                corpus = prepare(DataConfig(path=str(path), val_fraction=0.0, cache_dir=str(folder / "cache")))
            except MicrogptError:
                return
            assert corpus.tokenizer.decode(corpus.train) == text.removeprefix("\ufeff")
            figures["read from a file"] += 1

    figures["fault"] = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that of a text of one character
            try_config()
            try_text()
    except AssertionError as error:
        figures["fault"] = f"not as it was: {error}"[:500]
    except Exception as error:
        figures["fault"] = f"{type(error).__name__}: {error}"[:500]
    figures["passed"] = not figures["fault"]
    return figures
