"""A page of the run in one HTML file, in which the trained model runs."""

from pathlib import Path
from typing import ClassVar, Literal

from microgpt.engine.exchange.formats.base import ExportFormat
from microgpt.engine.exchange.graph_model import check, reread_logits, to_graphs
from microgpt.engine.exchange.page import assemble, story, tokenizers
from microgpt.engine.exchange.page.operations import check_operations
from microgpt.engine.trained.run import Run
from microgpt.errors import UsageError
from microgpt.text import mb

LARGEST = 380_000_000
"Bytes of weights that fit, in base64, into the longest text of a browser."


class HTMLFormat(ExportFormat, name="html"):
    """A page in one file: the run's figures, and the model, which writes and shows what it computes in a browser."""

    is_file: ClassVar[bool] = True

    weights: Literal["float16", "int8"] = "float16"
    "How the page stores the weights: int8 has one scale a row and half the size."

    def check_run(self, run: Run) -> None:
        tokenizers.described(run.tokenizer)
        size = run.model.num_params() * (2 if self.weights == "float16" else 1)
        if size > LARGEST:
            what = f"a page of {mb(size)} of weights, and browsers read at most {mb(LARGEST)}"
            fix = (
                "try --weights int8"
                if self.weights == "float16" and size <= 2 * LARGEST
                else "export with --format onnx"
            )
            raise UsageError(what, "--format html", fix)

    def write(self, run: Run, path: Path) -> float:
        model = to_graphs(run.model, self.weights)
        check_operations(model.description)
        described = {**model.description, "tokenizer": tokenizers.described(run.tokenizer)}
        assemble.write_page(path, assemble.page(story.tell(run), described, model.data))
        return check(run.model, model.rounded, reread_logits(*assemble.reread(path), model.rounded))

    def next_step(self, out: Path) -> str:
        return f"open {out} in a browser"
