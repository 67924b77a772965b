"""Reading and writing Hugging Face checkpoint folders, a tensor at a time.

The writer fills safetensors files up to a size, in a temporary folder beside the target, and renames the folder when
it is whole: a reader never sees half a checkpoint. It writes tensors from where they lie, and copies none of them.

Files are written here and not by safetensors' `save_file`, which refuses tensors that share memory (halves of one projection, copies of an
expert) and begins every file anew, where what is published is faster written over a file that is there (`prstack.store.published`). The
format is that of https://github.com/huggingface/safetensors#format; it is read with safetensors.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prstack.errors import UserError
from prstack.store import published
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

WRITERS = 2
"""Threads that write what is published, and sum it."""

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""As safetensors names them."""

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
    """Writes a checkpoint folder: `add` each tensor, then `finish`.

    A tensor must stay as it is until the file that it is in has been written, with the next call that finds a file full, or `finish`.
    """

    def __init__(self, folder: str | Path, max_shard_bytes: int = 4 << 30, publishing: bool = False):
        """`publishing`: checksums are wanted, and haste. What fills `max_shard_bytes` is then written as several files side by side, since the
        kernel hands out a file's pages one after the other, and over the files of a spare version where there is one."""
        self.folder = Path(folder)
        self.tmp = self.folder.with_name(f".{self.folder.name}.tmp")
        shutil.rmtree(self.tmp, ignore_errors=True)
        if publishing and (spare := self.folder.with_name(published.SPARE)).is_dir():
            self._take(spare)
        else:
            self.tmp.mkdir(parents=True)
        self.checksums: dict[str, str] = {}
        """Of the tensors that lie in files, where they are wanted (`prstack.store.published`)."""
        self.bytes = 0
        """Of all tensors."""
        self._max, self._publishing = max_shard_bytes, publishing
        self._buffer: dict[str, Tensor] = {}
        self._bytes = 0
        self._shards: list[list[str]] = []

    def _take(self, spare: Path) -> None:
        """The spare folder with its weights, as the files that are written first, and nothing else."""
        os.rename(spare, self.tmp)
        old = sorted(self.tmp.glob("*.safetensors"))
        for n, path in enumerate(old):
            os.rename(path, self._part(n))
        kept = {self._part(n) for n in range(len(old))}
        for path in self.tmp.iterdir():
            if path not in kept:
                path.unlink()

    def _part(self, n: int) -> Path:
        return self.tmp / f"{n}.part"

    def add(self, name: str, tensor: Tensor) -> None:
        if self._buffer and self._bytes + tensor.nbytes > self._max:
            self._flush()
        self._buffer[name] = tensor.detach().contiguous()
        self._bytes += tensor.nbytes
        self.bytes += tensor.nbytes

    def _flush(self) -> None:
        files = _cut(self._buffer, WRITERS) if self._publishing else [self._buffer]
        with ThreadPoolExecutor(WRITERS) as pool:
            written = [pool.submit(save, file, self._part(n)) for n, file in enumerate(files, len(self._shards))]
            if self._publishing:
                self.checksums |= zip(self._buffer, pool.map(published.of_tensor, self._buffer.values()))
            for w in written:
                w.result()
        self._shards += map(list, files)
        self._buffer, self._bytes = {}, 0

    def finish(self, base: str | Path, config: dict[str, Any], version: str | None = None) -> None:
        """Names the files, writes the index, the base's config with `config` over it (None removes a key) and the base's
        companions, and puts the folder in its place. With a `version` it says what was published."""
        self._flush()
        n = len(self._shards)
        for left in set(self.tmp.glob("*.part")) - {self._part(i) for i in range(n)}:
            left.unlink()
        if n == 1:
            os.rename(self._part(0), self.tmp / "model.safetensors")
        else:
            where = {}
            for i, names in enumerate(self._shards):
                file = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
                os.rename(self._part(i), self.tmp / file)
                where |= dict.fromkeys(names, file)
            index = {"metadata": {"total_size": self.bytes}, "weight_map": where}
            (self.tmp / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
        merged = {k: v for k, v in read_config(base).items() if k != "torch_dtype"} | config
        merged = {k: v for k, v in merged.items() if v is not None or k not in config}
        (self.tmp / "config.json").write_text(json.dumps(merged, indent=2, ensure_ascii=False) + "\n")
        for file in COMPANIONS:
            if (Path(base) / file).is_file():
                shutil.copyfile(Path(base) / file, self.tmp / file)
        if version is not None:
            (self.tmp / published.INDEX).write_text(published.index(version, self.checksums), encoding="utf-8")
        old = self.folder.with_name(f".{self.folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            os.rename(self.folder, old)
        os.rename(self.tmp, self.folder)
        shutil.rmtree(old, ignore_errors=True)


def save(tensors: dict[str, Tensor], path: Path) -> None:
    """A safetensors file of tensors in main memory, contiguous; over the file that is there, if one is. Raises KeyError for a dtype that the
    format does not have, OSError."""
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        head[name] = {"dtype": _DTYPES[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "r+b" if path.exists() else "xb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for t in tensors.values():
            f.write(t.reshape(-1).view(torch.uint8).numpy())
        f.truncate()


def _cut(tensors: dict[str, Tensor], parts: int) -> list[dict[str, Tensor]]:
    """In their order, into at most so many parts of about equal size."""
    each, before, found = max(1, sum(t.nbytes for t in tensors.values())) / parts, 0, {}
    for name, tensor in tensors.items():
        found.setdefault(min(int(before / each), parts - 1), {})[name] = tensor
        before += tensor.nbytes
    return list(found.values())
