"""How fast the page of a run is in a browser: seconds until it writes, and tokens a second.

    python scripts/bench/bench_page.py [--out FILE]

Headless Chromium (Debian: chromium chromium-driver; pip install selenium) opens pages of models with random weights.
"By the clock" and "by the CPU" are the same on a quiet machine; on a busy one only the second means something: it
counts the seconds that the page's own process computed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from selenium import webdriver

from bench_rig import Bench
from headless import chromium
from microgpt import CharTokenizer
from microgpt.engine.exchange.export import export
from microgpt.engine.trained.run import load
from microgpt.model import GPT, GPTConfig, save_model

LETTERS = "\n !$&',-.3:;?" + "".join(map(chr, (*range(65, 91), *range(97, 123))))
MODELS = {
    "default": {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64},
    "10.6M": {"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256},
}
QUICK = {"default": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16}}
WRITE = """
const [count, done] = arguments, began = performance.now();
for (const [id, value] of [["count", count], ["seed", 2]]) document.getElementById(id).value = value;
P.writer.start().then(() => done((performance.now() - began) / 1000));
"""
FIRST = """
const done = arguments[0], began = performance.timeOrigin;
const look = () => {
  if (document.getElementById("output").textContent) done((Date.now() - began) / 1000);
  else setTimeout(look, 5);
};
look();
"""


def page_of(knobs: dict[str, Any], folder: Path) -> Path:
    """A page of a model with random weights."""
    torch.manual_seed(0)
    tokenizer = CharTokenizer(LETTERS)
    save_model(folder / "run" / "model", GPT(GPTConfig.from_dict(knobs), tokenizer.vocab_size), tokenizer.to_dict())
    export(load(folder / "run"), folder / "page.html", "html")
    return folder / "page.html"


def computed(driver: webdriver.Chrome) -> float:
    """Seconds that the browser's page processes have computed."""
    processes = psutil.Process(driver.service.process.pid).children(recursive=True)
    pages = [p for p in processes if "--type=renderer" in p.cmdline()]
    return sum(p.cpu_times().user + p.cpu_times().system for p in pages)


def measured(path: Path, profile: Path, count: int) -> dict[str, float]:
    """Seconds until the first token, and tokens a second over `count` tokens, rereading included."""
    driver = chromium(profile, timeout=500)
    try:
        driver.get(path.as_uri())
        first = driver.execute_async_script(FIRST)
        driver.execute_async_script("opened.then((p) => { globalThis.P = p; arguments[0](); })")
        driver.execute_async_script(WRITE, 40)  # the first call of each function is slow
        before = computed(driver)
        seconds = driver.execute_async_script(WRITE, count)
        return {
            "s to the first token": first,
            "tokens/s by the clock": count / seconds,
            "tokens/s by the CPU": count / max(1e-9, computed(driver) - before),
            "MB": path.stat().st_size / 1e6,
        }
    finally:
        driver.quit()


def main(argv: Sequence[str] | None = None) -> Bench:
    """Measure each page."""
    with Bench("page", __doc__, argv) as bench:
        found = {}
        for name, knobs in (QUICK if bench.quick else MODELS).items():
            path = page_of(knobs, bench.folder / name)
            found[name] = measured(path, bench.folder / name / "profile", 30 if bench.quick else 600)
        bench.table("pages in Chromium", [{"model": name, **figures} for name, figures in found.items()])
        bench.claim("first token of the default page, s", found["default"]["s to the first token"], at_most=1)
        if "10.6M" in found:
            bench.claim("tokens/s of the 10.6M page", found["10.6M"]["tokens/s by the CPU"], at_least=40)
    return bench


if __name__ == "__main__":
    main()
