"""The list of the files of a run, as it lies in the store, and the names beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from prstack.errors import UserError
from prstack.store.published import checksum
from prstack.store.records import canonical_json

HIDDEN = ".prstack"
BEGUN, NEW = f"{HIDDEN}/begun", f"{HIDDEN}/new"
LAST = {"latest": 1, "built": 1, "progress.json": 1, "manifest.json": 2, "run.json": 3}
"""Files that say that others are whole come after those, for whoever looks at the store without its index."""


@dataclass(slots=True)
class Index:
    """The files of a run: name → [bytes, checksum], and its empty folders. `redo`: files whose object may still be the one before, while
    .prstack/new/<checksum> is there."""

    number: int = 0
    writer: str = ""
    files: dict[str, list] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    redo: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{HIDDEN}/index-{self.number:08d}-{self.writer}"

    def data(self) -> bytes:
        body = canonical_json(asdict(self)).encode()
        return checksum(body).encode() + b"\n" + body

    @staticmethod
    def parse(data: bytes) -> Index | None:
        """None for what is not whole. Raises UserError for names that lead out of the run."""
        digest, _, body = data.partition(b"\n")
        if checksum(body).encode() != digest:
            return None
        try:
            index = Index(**json.loads(body))
        except TypeError as e:
            raise UserError(f"the index of the run is of another release of prstack ({e})") from e
        if wrong := [n for n in [*index.files, *index.folders] if not is_name(n)]:
            raise UserError(f"the index of the run names {wrong[0]!r}, which is no file of a run")
        return index


def is_index(name: str) -> bool:
    return name.startswith(f"{HIDDEN}/index-")


def is_name(name: str) -> bool:
    return isinstance(name, str) and all(part and not part.startswith(".") for part in name.split("/"))


def ranked(names: Iterable[str]) -> list[list[str]]:
    by = {rank: [] for rank in range(4)}
    for name in names:
        by[LAST.get(name.rpartition("/")[2], 0)].append(name)
    return list(by.values())
