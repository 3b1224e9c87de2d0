"""The page of a run in a browser: its top, and a text of the reader's as the model sees it.

    python scripts/figures/page.py

Needs Chromium (Debian: chromium chromium-driver) and selenium, which the extra `test` has.
"""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path

from figure_rig import Rig, draw
from microgpt.engine.exchange.export import export

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
from headless import chromium

FIGURES = ("page.png",)
WIDTH, HEIGHT = 720, 1250
"""Of what is shown, in pixels."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train, export, photograph."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Train the default run and open its page."""
    run = rig.train(
        "python-manual", f"trainer.max_steps={rig.steps(600)}", "eval.every_n_steps=100", "sample.every_n_steps=200",
        "sample.max_new_tokens=200", "trainer.precision=auto",
    )  # fmt: skip
    export(run, rig.scratch / "page.html", "html")
    driver = chromium(rig.scratch / "profile")
    try:
        screen = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        driver.get((rig.scratch / "page.html").as_uri())
        driver.execute_async_script("""const done = arguments[0];
            const look = () => document.querySelector("#next li") ? done(0) : setTimeout(look, 20); look();""")
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    finally:
        driver.quit()
    path = rig.scratch / FIGURES[0]
    path.write_bytes(base64.b64decode(shot))
    rig.take(path, FIGURES[0])


if __name__ == "__main__":
    main()
