"""Random configurations and random texts: success or one of our own errors, and every text comes back as it was."""

import ast
import contextlib
import importlib.util
import io
import shutil
import sys
import types
import typing
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import microgpt.config
import microgpt.engine.train as engine
from campaign_rig import quickly, write_text
from microgpt.config import Config, ConfigError, Fault, Range, fields
from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare
from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer, tokenizer_from_dict
from microgpt.engine.config import RunConfig, largest_divisor
from microgpt.errors import MicrogptError
from microgpt.registry import Choice

TEXT = "text.txt"
BLOCK = 500
"""Configurations that are drawn in one go: hypothesis remembers all of them."""
SMALL: dict[str, tuple[Any, ...]] = {
    "logger": ({}, {"tensorboard": {}}),
    "callbacks": ({}, {"lr_monitor": {}, "clock": {"name": "timer", "minutes": 9}}),
    "seed": (0, 1, 1337, 2**63 - 1),
    "data.path": (TEXT,),
    "data.encoding": ("utf-8", "latin-1", "ascii"),
    "data.tokenizer": ("char", "byte", "bpe") if importlib.util.find_spec("tokenizers") else ("char", "byte"),
    "data.vocab_size": (256, 257, 280),
    "data.batch_size": (1, 2, 3, 4, 6),
    "data.val_fraction": (0, 0.1, 0.25, 0.4),
    "data.test_fraction": (0, 0.1, 0.3),
    "model.n_head": (1, 2, 3, 4),
    "model.n_embd": (2, 4, 6),  # times n_head
    "model.n_kv_head": (None, 1, 2, 3, 4),
    "model.block_size": (1, 2, 7, 8, 16),
    "model.mlp_hidden": (None, 1, 5, 16),
    "model.ngram_embed": (0, 1, 16),
    "model.prev_embed": (0, 1, 3),
    "model.pos.fraction": (1.0,),
    "model.norm_eps": (1e-8, 1e-5, 0.1),
    "model.pos.theta": (1.5, 100, 1e4),
    "model.pos.num_buckets": (2, 8, 32),
    "model.pos.max_distance": (40, 128),
    "model.logit_softcap": (0, 5, 30),
    "optim.lr": (1e-5, 1e-3, 0.1),
    "optim.adamw_lr": (1e-5, 1e-2),
    "optim.weight_decay": (0, 0.1, 1),
    "optim.warmup_steps": (0, 0.5, 1, 7),
    "optim.nesterov": (False,),
    "lora.alpha": (1, 16),
    "trainer.max_steps": (1, 2),
    "trainer.max_epochs": (0.01, 3),
    "trainer.precision": ("auto", "32-true", "bf16-mixed", "bf16-true", "64-true"),
    "trainer.accelerator": ("auto", "cpu"),
    "trainer.micro_batch_size": (None, 1, 2, 3, 6),
    "trainer.compile": ("auto", False),
    "trainer.progress": ("none", "lines"),
    "trainer.ema_decay": (0, 0.5, 0.99),
    "eval.protocol": ("blocks", "sliding"),
    "eval.batch_size": (None, 4, 64),
    "eval.figures": ("never",),
    "sample.prompts": ((), ("the",), ("", "a cat")),
    "sample.max_new_tokens": (0, 1, 5),
    "sample.temperature": (0, 0.5, 2),
    "resume": ("auto", "never"),
}
"""For knobs whose range says less than what can be trained in a moment."""
LEFT_ALONE = set(
    "imports plan data.url data.corpus data.sha256 data.size data.cache_dir model.pretrained trainer.devices "
    "trainer.num_nodes trainer.find_lr lora.targets name tags notes html data.documents data.document_windows "
    "data.separator data.jsonl_key data.dtype inspect.every_n_steps".split()
)
ALWAYS = set(
    "data model trainer eval data.path data.batch_size model.n_layer model.n_head model.n_embd model.block_size "
    "trainer.max_steps trainer.progress trainer.compile eval.figures model.pos.max_distance sample "
    "sample.max_new_tokens".split()
)
WRONG: list[tuple[str, Any]] = [
    ("seed", -1),
    ("data.tokenizer", "pretrained"),
    ("data.path", ""),
    ("data.val_fraction", 0.95),
    ("data.test_fraction", 0.99),
    ("data.url", "http://example.org/a.txt"),
    ("data.sha256", "abc"),
    ("data.corpus", "../../etc"),
    ("data.encoding", "utf-9"),
    ("model", {"init": "zero", "tie_weights": True}),
    ("model", {"residual": "parallel", "norm_place": "post"}),
    ("model", {"n_embd": 9, "n_head": 3}),
    ("model", {"n_embd": 10, "n_head": 3}),
    ("model.n_kv_head", 7),
    ("model.pos", {"name": "t5", "num_buckets": 32, "max_distance": 3}),
    ("model.pos", {"name": "rope", "fraction": 0.3}),
    ("model.pos", {"name": "ropes"}),
    ("optim.betas", [0.9]),
    ("optim.betas", [0.9, 1.0]),
    ("optim", {"name": "adam"}),
    ("trainer.ema_decay", 1.0),
    ("trainer.devices", 5),
    ("trainer.num_nodes", 2),
    ("trainer.micro_batch_size", 5),
    ("trainer.max_stepz", 3),
]
"""Mistakes that a random value seldom makes."""
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


def fitting(annotation: Any, path: str) -> st.SearchStrategy[Any]:
    """Values that a knob accepts, small enough to be trained."""
    if path in SMALL:
        return st.sampled_from(SMALL[path])
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        bound = next((extra for extra in args[1:] if isinstance(extra, Range)), None)
        if bound is None:
            return fitting(args[0], path)
        low, high = (bound.min or 0, bound.max or 3) if args[0] is int else (bound.min or 0.0, bound.max or 0.9)
        number = st.integers(int(low), int(high)) if args[0] is int else st.floats(low, high)
        return number.filter(lambda x: x in bound)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([st.none() if a is type(None) else fitting(a, path) for a in args])
    if origin is tuple:
        return st.tuples(*(fitting(a, path) for a in args)) if args[-1] is not Ellipsis else st.just(())
    if annotation is bool:
        return st.booleans()
    if issubclass(annotation, Choice):
        return st.one_of(
            [valid(m, path).map(lambda v, m=m: {"name": m.name, **v}) for m in annotation.members.values()]
        )
    return valid(annotation, path)


def valid(cls: type[Config], path: str = "") -> st.SearchStrategy[dict[str, Any]]:
    """Some of a config's knobs, with values that it accepts one by one."""
    names = {name: f"{path}.{name}".lstrip(".") for name in fields(cls)}
    values = {name: fitting(fields(cls)[name], place) for name, place in names.items() if place not in LEFT_ALONE}
    always = {name: values.pop(name) for name, place in names.items() if place in ALWAYS}
    return st.fixed_dictionaries(always, optional=values)


def together(values: dict[str, Any]) -> dict[str, Any]:
    """Values that fit one by one, made to fit each other."""
    model, data, trainer = (dict(values.setdefault(node, {})) for node in ("model", "data", "trainer"))
    model["n_embd"] = model["n_head"] * model["n_embd"]
    if model.get("n_kv_head"):
        model["n_kv_head"] = largest_divisor(model["n_head"], model["n_kv_head"])
    if "prev_embed" in model:
        model["prev_embed"] = min(model["prev_embed"], model["block_size"] - 1)
    if model.get("norm_place") == "post":
        model.pop("residual", None)
    if model.get("init") == "zero":
        model.pop("tie_weights", None)
    if trainer.get("micro_batch_size"):
        trainer["micro_batch_size"] = largest_divisor(data["batch_size"], trainer["micro_batch_size"])
    return {**values, "model": model, "data": data, "trainer": trainer}


def spoilt(values: dict[str, Any], draw: st.DataObject) -> dict[str, Any]:
    """Values that fit, but for one or two."""
    for _ in range(draw.draw(st.integers(1, 2))):
        wrong = draw.draw(
            st.sampled_from(WRONG) | st.sampled_from(LEAVES).flatmap(lambda p: st.tuples(st.just(p), odd()))
        )
        node = values = dict(values)
        *parents, name = wrong[0].split(".")
        for parent in parents:
            inner = node.get(parent)
            node[parent] = dict(inner) if isinstance(inner, dict) else {}
            node = node[parent]
        node[name] = wrong[1]
    return values


def odd() -> st.SearchStrategy[Any]:
    """Values that hardly fit anywhere."""
    return st.sampled_from(ODD) | st.integers(-3, 40) | st.floats()


def leaves(cls: type[Config], path: str = "") -> list[str]:
    """The places of a config's knobs, nodes and leaves alike, with those of the default choices."""
    found = []
    for name, annotation in fields(cls).items():
        place = f"{path}.{name}".lstrip(".")
        found.append(place)
        if isinstance(annotation, type) and issubclass(annotation, Config):
            found += leaves(annotation, place)
    return found


LEAVES = leaves(RunConfig)


def trainable(config: RunConfig) -> bool:
    """Whether a config that was accepted can be trained here in a moment, on one text, by one process."""
    model, data, trainer = config.model, config.data, config.trainer
    size = model.n_layer * model.n_embd * max(model.hidden, model.n_embd) * model.block_size * data.batch_size
    return (
        size < 3_000_000
        and model.ngram_embed < 1000
        and model.pretrained is None
        and data.path == TEXT
        and data.encoding in SMALL["data.encoding"]
        and (data.tokenizer != "bpe" or data.vocab_size < 1000)
        and (trainer.max_steps or 99) <= 3
        and trainer.devices == trainer.num_nodes == 1
        and trainer.compile is not True
        and not trainer.find_lr
        and not config.imports
        and not config.plan
        and getattr(model.pos, "num_buckets", 0) < 1000
        and getattr(config.optim, "ns_steps", 0) < 20
        and config.lora.rank < 64
        and config.sample.max_new_tokens < 50
        and len(config.sample.prompts) < 3
        and config.eval.figures == "never"
    )


def train(config: RunConfig, folder: Path) -> str:
    """Train a config as the command does; what came of it: `trained`, or the name of one of our own errors."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with quickly(), contextlib.redirect_stdout(io.StringIO()):
            run = engine.run(config, folder)
    except MicrogptError as error:
        return type(error).__name__
    assert run is not None, "no run"
    assert run.summary["step"] >= 1, "no step"
    assert run.model.config.n_layer == config.model.n_layer, "another model"
    return "trained"


class Refusals:
    """Within: which of the places in the sources that refuse a configuration have done so."""

    def __init__(self) -> None:
        self.hit: set[tuple[str, int]] = set()
        root = Path(microgpt.config.__file__).parent
        files = [
            root / "config.py",
            root / "engine" / "config.py",
            *root.glob("data/config.py"),
            *root.glob("model/**/*.py"),
        ]
        self.all = {
            (str(file), node.lineno)
            for file in files
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Fault"
        }

    @property
    def missed(self) -> list[str]:
        return sorted(f"{Path(file).name}:{line}" for file, line in self.all - self.hit)

    def __enter__(self) -> "Refusals":
        self._init = init = Fault.__init__

        def noted(fault: Fault, *args: Any, **kwargs: Any) -> None:
            frame = sys._getframe(1)
            self.hit.add((frame.f_code.co_filename, frame.f_lineno))
            init(fault, *args, **kwargs)

        Fault.__init__ = noted  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Fault.__init__ = self._init  # type: ignore[method-assign]


def inputs(folder: Path, configs: int, texts: int) -> dict[str, Any]:
    """Try `configs` configurations and `texts` texts: of ten configurations four fit, three nearly do."""
    figures: dict[str, Any] = {"configurations": 0, "accepted": 0, "trained": 0, "refused by training": {},
                               "knobs refused": 0, "refusals never met": [],
                               "texts": 0, "texts refused": 0, "read from a file": 0}  # fmt: skip
    options = {"deadline": None, "database": None, "phases": [Phase.generate],
               "suppress_health_check": list(HealthCheck)}  # fmt: skip
    text, refused, last = write_text(folder / TEXT), set[str](), list[Any]()
    fits, wild = valid(RunConfig).map(together), knobs(RunConfig)

    def try_config(draw: st.DataObject) -> None:
        kind = draw.draw(st.integers(0, 9))
        values = draw.draw(fits if kind < 7 else wild)
        if 4 <= kind < 7:
            values = spoilt(values, draw)
        figures["configurations"] += 1  # now: a draw that grows too large is given up, and is none
        try:
            config = RunConfig.from_dict(values)
        except ConfigError as error:
            refused.update(fault.path.split("[")[0] for fault in error.faults)
            if kind < 4:
                raise ValueError(f"what fits is refused: {error}") from None
            return
        figures["accepted"] += 1
        assert RunConfig.from_dict(config.to_dict()) == config
        if trainable(config):
            last[:] = [values]
            place = replace(config.data, path=str(text), cache_dir=str(folder / "cache"))
            came = train(replace(config, data=place), folder / "run")
            if came == "trained":
                figures["trained"] += 1
            else:
                figures["refused by training"][came] = figures["refused by training"].get(came, 0) + 1

    @seed(0)
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
    refusals = Refusals()
    try:
        with refusals, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that of a text of one character
            for number, first in enumerate(range(0, configs, BLOCK)):
                some = settings(max_examples=min(BLOCK, configs - first), **options)
                seed(number)(some(given(st.data())(try_config)))()
            try_text()
    except AssertionError as error:
        figures["fault"] = f"not as it was: {error}"[:500]
    except Exception as error:
        figures["fault"] = f"{type(error).__name__}: {error}; {last}"[:2000]
    figures["knobs refused"] = f"{len(refused & set(LEAVES))} of {len(LEAVES)}"
    figures["refusals never met"] = refusals.missed
    figures["share trained"] = round(figures["trained"] / max(1, figures["configurations"]), 3)
    figures["passed"] = not figures["fault"] and not refusals.missed and figures["share trained"] > 1 / 3
    return figures
