"""Weights that a trainer hands to engines, and how an engine knows that they arrived as they were sent.

    <folder>/
        model-00001-of-….safetensors   Hugging Face names; no file above a bucket (but a tensor that is larger by itself)
        model.safetensors.index.json   in which file a tensor is (with one file: none, and that is model.safetensors)
        published.json                 version, and the checksum of each tensor
        config.json, tokenizer, …      so that the folder is a whole model, with which an engine could start

1. Tensors come one by one through the weight mapping to the rank that writes, and a file is written whenever a bucket is full: beside
   its part of the model it holds one bucket. The folder appears whole or not at all.
2. `Published.checksum`, a digest of all names and checksums, reaches the engines with the request to load, by another way than the
   weights. Each computes the checksums of the bytes that it loads, a file in memory at a time, and dies rather than serve others.
3. The folder stays as long as an engine may come back to ask for it: until the engines have the next version.

On a disk the weights pass through the page cache, which takes no memory that is not given back; under /dev/shm they lie in memory whole.
The checksum is XXH3 of 128 bits: made for accidents, at the speed of memory, not against forgery.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from prstack.errors import UserError

INDEX = "published.json"


@dataclass(frozen=True, slots=True)
class Published:
    """Weights that lie ready."""

    version: str
    folder: str
    checksum: str
    """Of the whole: names and checksums of all tensors."""
    bytes: int
    seconds: float = 0.0
    """What it took to write them."""


def checksum(data: Any) -> str:
    """Of a contiguous buffer, such as a tensor's bytes."""
    return xxhash.xxh3_128_hexdigest(data)


def digest(tensors: dict[str, str]) -> str:
    """One checksum of the names and checksums of all tensors, in any order."""
    return checksum(json.dumps(sorted(tensors.items())).encode())


def index(version: str, tensors: dict[str, str]) -> str:
    """The text of published.json."""
    return json.dumps({"version": version, "checksum": digest(tensors), "tensors": tensors}, indent=1) + "\n"


def read(folder: Path, version: str, whole: str) -> dict[str, str]:
    """Checksums of the tensors of a folder. Raises UserError unless they are those of this version, with this digest."""
    path = folder / INDEX
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        said, tensors = found["version"], dict(found["tensors"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise UserError(f"{path}: does not say what was published ({e!r})") from e
    if said != version:
        raise UserError(f"{path}: holds weights {said}, not {version}")
    if digest(tensors) != whole:
        raise UserError(f"{path}: not what was published as {version}: the checksum is {digest(tensors)}, not {whole}")
    return tensors
