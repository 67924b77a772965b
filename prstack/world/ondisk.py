"""Collections that lie on disk, for sources that are larger than memory. Their files have no names and are gone with them.

- `Sorter`: pairs of a key and a value in the order of their keys, by an external merge sort. Pairs are held back up to `BUFFER` bytes,
  then sorted and written as a run; reading merges the runs with what is held.
- `Dictionary`: values by key. The keys, and the place of each value, are in memory: about 200 bytes a value.
- `Quarantine`: source records that could not be read, written as they come.
"""

from __future__ import annotations

import heapq
import json
import os
import pickle
import tempfile
from collections.abc import Hashable, Iterable, Iterator, MutableMapping
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, TypeVar

from prstack.store.records import Bad

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

BUFFER = 64 << 20
"""Bytes that a sorter holds back."""
_PAIR = 300
"""Bytes that a pair takes in memory beside its packed value."""
_MOST_RUNS = 256
"""Runs that are open at once; at so many they become one."""
_key = itemgetter(0)


class Sorter:
    """Pairs sorted by key; those of equal keys in the order in which they came. Once all are added, they can be read any number of
    times, one time after the other."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._runs: list[IO[bytes]] = []
        self._held: list[tuple[Any, bytes]] = []
        self._size = 0

    def add(self, key: Any, value: Any) -> None:
        """Values are pickled; keys must compare with each other."""
        packed = pickle.dumps(value, protocol=5)
        self._held.append((key, packed))
        self._size += len(packed) + _PAIR
        if self._size >= BUFFER:
            self._runs.append(self._write(sorted(self._held, key=_key)))
            self._held, self._size = [], 0
            if len(self._runs) == _MOST_RUNS:
                self._runs = [self._write(heapq.merge(*map(_read, self._runs), key=_key))]

    def _write(self, pairs: Iterable[tuple[Any, bytes]]) -> IO[bytes]:
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        for pair in pairs:
            pickle.dump(pair, file, protocol=5)
        return file

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        self._held.sort(key=_key)
        for key, packed in heapq.merge(*map(_read, self._runs), self._held, key=_key):
            yield key, pickle.loads(packed)


def _read(run: IO[bytes]) -> Iterator[tuple[Any, bytes]]:
    run.seek(0)
    while True:
        try:
            yield pickle.load(run)
        except EOFError:
            return


class Dictionary(MutableMapping[K, V]):
    """A dictionary whose values are pickled into a file; what is read is a copy."""

    def __init__(self, folder: Path):
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._places: dict[K, int] = {}

    def __getitem__(self, key: K) -> V:
        self._file.seek(self._places[key])
        return pickle.load(self._file)

    def __setitem__(self, key: K, value: V) -> None:
        self._places[key] = self._file.seek(0, os.SEEK_END)
        pickle.dump(value, self._file, protocol=5)

    def __delitem__(self, key: K) -> None:
        del self._places[key]

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[K]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Quarantine:
    """Bad records in a JSON-lines file, with their number and the first one. A context manager."""

    def __init__(self, path: Path):
        self.first: Bad | None = None
        self._file = open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  (half pairs become escapes of JSON)
        self._number = 0

    def append(self, bad: Bad) -> None:
        self.first = self.first or bad
        self._number += 1
        self._file.write(json.dumps(asdict(bad), ensure_ascii=False) + "\n")

    def __len__(self) -> int:
        return self._number

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
