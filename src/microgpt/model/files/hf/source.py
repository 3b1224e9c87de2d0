"""Locate a model, in a folder or on the Hugging Face Hub, and read its weights from one or several files.

No file is trusted: sizes are capped, names stay inside the folder, pickles are not read.
"""

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from microgpt.errors import CheckpointError, MachineError
from microgpt.foreign import refuse_foreign
from microgpt.model.files.untrusted import Entry, damaged, read_json, read_safetensors_header
from microgpt.text import one_line

CONFIG, WEIGHTS, INDEX, TOKENIZER = "config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"
FILES = [CONFIG, WEIGHTS, INDEX, "model-*-of-*.safetensors", TOKENIZER, "generation_config.json"]
"The files to download."
JSON_LIMIT = 64 << 20


def locate(name: str | Path) -> Path:
    """The folder of a model: `name` itself, a run's `model/` in it, or a cached download from the Hub.

    Raises:
        CheckpointError: there is no such folder.
        MachineError: the Hub cannot be reached, does not give the model, or huggingface_hub is not installed.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        folder = path / "model" if (path / "model" / CONFIG).is_file() else path
        if not (folder / CONFIG).is_file():
            refuse_foreign(folder)
        return folder
    text = str(name)
    refuse_foreign(path)
    if path.exists() or text.startswith((".", "/", "~", "\\")) or text.count("/") > 1:
        state = "not a folder" if path.exists() else "no such folder"
        raise CheckpointError(state, text, "give a folder with config.json and model.safetensors, or a name of the Hub")
    by_hand = f"or download {', '.join(FILES[:2])} and {TOKENIZER} by hand and give their folder"
    try:
        import huggingface_hub
    except ImportError:
        what = f"no folder {text!r} here, and huggingface_hub, which would download it, is not installed"
        raise MachineError(what, "model.pretrained", f"pip install 'microgpt[hf]', {by_hand}") from None
    try:
        return Path(huggingface_hub.snapshot_download(text, allow_patterns=FILES))
    except Exception as error:  # several libraries raise here: not found, gated, offline, disk full
        what = f"cannot get {text!r} from the Hugging Face Hub ({one_line(error, 200)})"
        raise MachineError(what, "model.pretrained", f"check the name and the connection, {by_hand}") from None


class WeightSource(Mapping[str, Entry]):
    """The shapes and dtypes of a model's tensors by name; `read` loads one."""

    folder: Path
    "The folder or file that they come from, for errors."
    size: int
    "Their bytes."

    @abstractmethod
    def read(self, name: str) -> Tensor:
        """A copy of the tensor, which survives changes of the file."""


class Weights(WeightSource):
    """The safetensors of a folder. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.size = folder, 0
        self._file_of: dict[str, Path] = {}
        self._entries: dict[str, Entry] = {}
        for path, names in self._files():
            header, size = read_safetensors_header(path)
            self.size += size
            for name in header if names is None else names:
                if name not in header:
                    raise damaged(path, f"no tensor {name[:60]!r}, which {INDEX} promises")
                self._file_of[name], self._entries[name] = path, header[name]
        self._open = contextlib.ExitStack()
        self._handles: dict[Path, Any] = {}

    def _files(self) -> Iterator[tuple[Path, list[str] | None]]:
        """The weight files, each with the names to take from it; None for all."""
        if (self.folder / WEIGHTS).is_file():
            yield self.folder / WEIGHTS, None
            return
        if not (self.folder / INDEX).is_file():
            refuse_foreign(self.folder)
            raise CheckpointError(f"no {WEIGHTS}", str(self.folder), f"give a folder with {WEIGHTS} or {INDEX}")
        index = read_json(self.folder / INDEX, JSON_LIMIT).get("weight_map")
        if not isinstance(index, dict) or not all(isinstance(file, str) for file in index.values()):
            raise damaged(self.folder / INDEX, "no weight_map of names to files")
        for file in sorted(set(index.values())):
            if Path(file).name != file or file in ("", ".", ".."):
                raise damaged(self.folder / INDEX, f"the file name {file[:60]!r} leaves the folder")
            yield self.folder / file, [name for name, home in index.items() if home == file]

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __enter__(self) -> "Weights":
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def read(self, name: str) -> Tensor:
        path = self._file_of[name]
        if path not in self._handles:
            self._handles[path] = self._open.enter_context(safe_open(path, framework="pt"))
        tensor: Tensor = self._handles[path].get_tensor(name)
        return tensor.clone()
