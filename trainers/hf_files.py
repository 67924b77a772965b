"""Reading and writing Hugging Face checkpoint folders, a tensor at a time.

The writer fills safetensors files up to a size, in a temporary folder beside the target, and renames the folder when
it is whole: a reader never sees half a checkpoint.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from prstack.errors import UserError
from trainers.spec import read_config

COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
"""Files that travel with the weights."""

_BUFFERS = re.compile(r"rotary_emb\.inv_freq$")


def check_tokenizer(base: str | Path, rendered_with: str | Path) -> None:
    """Raises UserError unless the data's tokenizer gives every token the id that the base's gives it."""
    ours, theirs = vocabulary(base), vocabulary(rendered_with)
    if ours == theirs:
        return
    token = min((t for t in ours.keys() | theirs.keys() if ours.get(t) != theirs.get(t)), key=lambda t: (len(t), t))
    raise UserError(
        f"the data was rendered with another tokenizer ({rendered_with}): token {token!r} is {theirs.get(token, 'unknown')} "
        f"there and {ours.get(token, 'unknown')} in {base}; distil again with the tokenizer of the model to train"
    )


def vocabulary(folder: str | Path) -> dict[str, int]:
    """Ids of the tokens of a folder's tokenizer.json. Raises UserError when there is none that can be read."""
    path = Path(folder) / "tokenizer.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        vocab = data["model"]["vocab"]
        vocab = vocab if isinstance(vocab, dict) else {t: i for i, (t, _) in enumerate(vocab)}
        return vocab | {t["content"]: t["id"] for t in data.get("added_tokens", [])}
    except FileNotFoundError:
        raise UserError(f"{folder}: no tokenizer.json; the tokenizer must lie beside the weights") from None
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f"{path}: not a tokenizer file ({e!r})") from e


class Reader:
    """The tensors of a checkpoint folder by name. Files are opened when first needed, tensors read when asked for."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        index = self.folder / "model.safetensors.index.json"
        if index.is_file():
            self._file: dict[str, str] = json.loads(index.read_text())["weight_map"]
        elif (self.folder / "model.safetensors").is_file():
            with self._open("model.safetensors") as f:
                self._file = dict.fromkeys(f.keys(), "model.safetensors")
        else:
            raise UserError(f"{folder}: no model.safetensors and no model.safetensors.index.json")
        self._handles: dict[str, Any] = {}

    def _open(self, file: str) -> Any:
        try:
            return safe_open(self.folder / file, framework="pt")
        except (OSError, SafetensorError) as e:
            raise UserError(f"{self.folder / file}: not a readable safetensors file ({e})") from e

    def _handle(self, name: str) -> Any:
        file = self._file[name]
        if file not in self._handles:
            self._handles[file] = self._open(file)
        return self._handles[file]

    def names(self) -> list[str]:
        return sorted(self._file)

    def get(self, name: str) -> Tensor:
        return self._handle(name).get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._handle(name).get_slice(name).get_shape())

    def expect(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Raises UserError unless the folder holds exactly these tensors (a stored copy of a tied output layer and
        rotary buffers of old checkpoints aside)."""
        missing = [n for n in shapes if n not in self._file]
        if missing:
            raise UserError(f"{self.folder}: tensor {missing[0]} is missing ({len(missing)} of {len(shapes)} are)")
        extra = [n for n in self._file if n not in shapes and n != "lm_head.weight" and not _BUFFERS.search(n)]
        if extra:
            raise UserError(f"{self.folder}: tensor {extra[0]} has no place in this architecture ({len(extra)} such)")
        for name, shape in shapes.items():
            if self.shape(name) != tuple(shape):
                raise UserError(
                    f"{self.folder}: tensor {name} has shape {list(self.shape(name))}, config.json says {list(shape)}"
                )


class Writer:
    """Writes a checkpoint folder: `add` each tensor, then `finish`."""

    def __init__(self, folder: str | Path, max_shard_bytes: int = 4 << 30):
        self.folder = Path(folder)
        self.tmp = self.folder.with_name(f".{self.folder.name}.tmp")
        shutil.rmtree(self.tmp, ignore_errors=True)
        self.tmp.mkdir(parents=True)
        self._max = max_shard_bytes
        self._buffer: dict[str, Tensor] = {}
        self._bytes = self._total = 0
        self._shards: list[list[str]] = []

    def add(self, name: str, tensor: Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._buffer and self._bytes + size > self._max:
            self._flush()
        self._buffer[name] = tensor.contiguous().clone()
        self._bytes += size
        self._total += size

    def _flush(self) -> None:
        save_file(self._buffer, self.tmp / f"{len(self._shards)}.part", metadata={"format": "pt"})
        self._shards.append(list(self._buffer))
        self._buffer, self._bytes = {}, 0

    def finish(self, base: str | Path, config: dict[str, Any], more: dict[str, str] | None = None) -> None:
        """Names the files, writes the index, the base's config with `config` over it (None removes a key), the base's
        companions and `more` files with their texts, and puts the folder in its place."""
        self._flush()
        n = len(self._shards)
        if n == 1:
            os.rename(self.tmp / "0.part", self.tmp / "model.safetensors")
        else:
            where = {}
            for i, names in enumerate(self._shards):
                file = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
                os.rename(self.tmp / f"{i}.part", self.tmp / file)
                where |= dict.fromkeys(names, file)
            index = {"metadata": {"total_size": self._total}, "weight_map": where}
            (self.tmp / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
        merged = {k: v for k, v in read_config(base).items() if k != "torch_dtype"} | config
        merged = {k: v for k, v in merged.items() if v is not None or k not in config}
        (self.tmp / "config.json").write_text(json.dumps(merged, indent=2, ensure_ascii=False) + "\n")
        for file in COMPANIONS:
            if (Path(base) / file).is_file():
                shutil.copyfile(Path(base) / file, self.tmp / file)
        for file, text in (more or {}).items():
            (self.tmp / file).write_text(text, encoding="utf-8")
        old = self.folder.with_name(f".{self.folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            os.rename(self.folder, old)
        os.rename(self.tmp, self.folder)
        shutil.rmtree(old, ignore_errors=True)
