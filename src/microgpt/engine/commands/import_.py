"""`microgpt-import nanogpt CKPT OUT`: another project's checkpoint becomes a model folder of ours."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from microgpt.engine.commands import common
from microgpt.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return common.run(import_, argv)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = common.Parser(
        prog="microgpt-import", description="A model folder of another project's checkpoint. No code in it is run."
    )
    p.add_argument("project", choices=("nanogpt",), help="whose checkpoint it is")
    p.add_argument("checkpoint", metavar="CKPT", type=Path, help="nanoGPT's out/ckpt.pt")
    p.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    p.add_argument("--meta", metavar="FILE", type=Path, help="data/.../meta.pkl: the characters it was trained on")
    p.add_argument("--tokenizer", metavar="NAME",
                   help="of subwords: a tokenizer.json, its folder, or a name of the Hub (gpt2)")  # fmt: skip
    p.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return p


def import_(arguments: list[str]) -> None:
    """Read the checkpoint and the tokenizer, write the folder, say what can be done with it."""
    a = parser().parse_args(arguments)
    if (a.meta is None) == (a.tokenizer is None):
        fix = "--meta data/.../meta.pkl for characters, --tokenizer gpt2 for GPT-2's subwords"
        raise UsageError("a checkpoint of nanoGPT holds no tokenizer", "the arguments", f"give one: {fix}")
    from microgpt.data.tokenizer import HFTokenizer, Tokenizer
    from microgpt.engine.exchange.export import new_folder
    from microgpt.engine.exchange.nanogpt import read_checkpoint, read_meta
    from microgpt.errors import CheckpointError
    from microgpt.model import save_model
    from microgpt.model.files.hf import locate

    model = read_checkpoint(a.checkpoint)
    tokenizer: Tokenizer
    if a.meta is not None:
        tokenizer = read_meta(a.meta)
    else:
        place = Path(a.tokenizer)
        file = place if place.is_file() else locate(a.tokenizer) / "tokenizer.json"
        tokenizer = HFTokenizer.from_file(file, model.vocab_size)
    if tokenizer.vocab_size != model.vocab_size:
        what = f"{tokenizer.vocab_size} characters for a model of {model.vocab_size} tokens"
        raise CheckpointError(what, str(a.meta), "name the meta.pkl of the data that it was trained on")
    with new_folder(a.out) as folder:
        save_model(folder, model, tokenizer.to_dict())
    print(f"wrote {a.out}: {model.num_params():,} parameters, {model.vocab_size} tokens")
    print(f'next: microgpt-generate {a.out} --prompt "..."')


if __name__ == "__main__":
    sys.exit(main())
