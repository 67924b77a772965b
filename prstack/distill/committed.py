"""What distillation has committed, and how a record gets there."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from prstack.distill.distiller import STAGE
from prstack.distill.export import DATASET_SCHEMA
from prstack.distill.filters.selection import NEAR_DUPLICATES, Selection
from prstack.distill.packing import TOKENS_SCHEMA
from prstack.distill.preferences import PREFERENCES_SCHEMA
from prstack.settings import FilterConfig
from prstack.store.parts import Parts
from prstack.types import Rejected

SIGNATURES_SCHEMA = pa.schema([("id", pa.large_string()), ("signature", pa.list_(pa.uint32()))])


@dataclass(slots=True)
class Store:
    """The committed records of a stage folder, and what could not be read."""

    folder: Path
    tokens: Parts
    signatures: Parts
    preferences: Parts
    dataset: Parts
    rejected: Parts

    @staticmethod
    def open(folder: Path) -> Store:
        """The driver decides when a part is committed, in the order that makes a kill harmless: `commit`."""
        never = sys.maxsize
        return Store(
            folder,
            Parts(folder / "tokens", schema=TOKENS_SCHEMA, flush_every=never),
            Parts(folder / "signatures", schema=SIGNATURES_SCHEMA, flush_every=never),
            Parts(folder / "preferences", schema=PREFERENCES_SCHEMA, flush_every=never),
            Parts(folder / "dataset", schema=DATASET_SCHEMA, flush_every=never),
            Parts(folder / "rejected", Rejected, flush_every=never),
        )

    def commit(self) -> None:
        for parts in (self.tokens, self.signatures, self.preferences, self.rejected, self.dataset):
            parts.flush()


class Quarantine:
    """Bad records, one JSON line each. Every session reads the whole input, so it writes the whole list anew."""

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self._tmp = path.with_name(f".{path.name}.tmp")

    def __enter__(self) -> Quarantine:
        self._file = open(self._tmp, "w", encoding="utf-8")
        return self

    def add(self, row: dict) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.count += 1

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._tmp, self.path)


def remembered(store: Store, config: FilterConfig) -> Selection:
    """The selection as the kept records left it."""
    selection = Selection(config)
    reflections = {row["id"]: row["reflections"] for row in store.dataset.rows(["id", "reflections"])}
    for row in store.signatures.rows():
        if row["id"] in reflections:
            selection.remember(row["id"], row["signature"], reflections[row["id"]])
    return selection


def take(store: Store, selection: Selection, row: dict) -> None:
    """Adds what became of a record (`pipeline.OUTPUT`) to what will be committed: as kept or, if the selection refuses it, as rejected."""
    record = json.loads(row["record"])
    if row["kind"] == "rejected":
        store.rejected.add(record)
        return
    if row["rejection"] and not selection.wants_corrected:
        store.rejected.add(json.loads(row["rejection"]) | {"record": row["source"]})
        return
    if found := selection.duplicate(row["signature"]):
        store.rejected.add(Rejected(row["id"], f"{STAGE}/{NEAR_DUPLICATES}", *found, row["source"], record["source_tokens"]))
        return
    selection.remember(row["id"], row["signature"], record["reflections"])
    if row["id"] not in store.tokens:
        store.tokens.add({"id": row["id"], "input_ids": row["input_ids"], "loss_mask": row["loss_mask"]})
    if row["id"] not in store.signatures:
        store.signatures.add({"id": row["id"], "signature": row["signature"]})
    for pair in json.loads(row["pairs"]):
        if pair["id"] not in store.preferences:
            store.preferences.add(pair)
    store.dataset.add(record)
