"""Weights that a trainer hands to engines, and how an engine knows that they arrived as they were sent.

    <folder>/
        model-00001-of-….safetensors   Hugging Face names; no file above half a bucket and a tensor
        model.safetensors.index.json   in which file a tensor is
        published.json                 version, and the checksum of each tensor
        config.json, tokenizer, …      so that the folder is a whole model, with which an engine could start

1. Tensors come one by one through the weight mapping to the rank that writes, and whenever a bucket is full it is written, as files of half a
   bucket side by side, from where the tensors lie: beside its part of the model the rank holds one bucket, of what other ranks have sent. The
   folder appears whole or not at all.
2. `Published.checksum`, a digest of all names and checksums, reaches the engines with the request to load, by another way than the
   weights. Each computes the checksums of the bytes that it loads, a file mapped at a time, and dies rather than serve others.
3. The folder stays as long as an engine may come back to ask for it: until the engines have the next version. Then its files are what the
   version after that is written over (`retire`): memory that is there already takes the bytes more than twice as fast as memory that has to be
   found first. So there are two versions on the disk, and one that is served is never touched.

On a disk the weights pass through the page cache, which takes no memory that is not given back; under /dev/shm they lie in memory whole.
The checksum is XXH3 of 128 bits: made for accidents, at the speed of memory, not against forgery.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from prstack.errors import UserError

INDEX = "published.json"
SPARE = ".spare"
"""Name of the folder beside those of versions whose files may be written over."""


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


def of_tensor(tensor: Any) -> str:
    """Of the bytes of a torch tensor in main memory, contiguous; from where they lie, whatever its dtype."""
    return checksum((ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr()))


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


def retire(root: Path, serving: str) -> None:
    """To be called when all engines serve the version in the folder `serving` of `root`: another version there becomes the spare one, and
    what else there is goes."""
    for old in sorted(root.iterdir()):
        if old.name in (serving, SPARE):
            continue
        if (old / INDEX).is_file() and not (root / SPARE).exists():
            os.rename(old, root / SPARE)
        else:
            shutil.rmtree(old)
