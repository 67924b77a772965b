"""Many trajectories from a few hundred real ones.

1. The scripted expert, with its usual mistakes, plays episodes in a generated world.
2. Of each, a mould is made: its text, with slots for ids of users and products, brands and series, cents, and words of the agent's plan
   and reasoning. A copy fills them anew: an id or a name becomes the same other one in the query, in results and in the report, so that
   whatever a filter looks up is still found; of the words, `REWORDED` are others. Names, cents and words are drawn, so that no two copies agree.
3. `TWINS` of the copies are an earlier one again, under an id of its own; `ALIKE` are one with a few words exchanged. These are what the
   filter of near-duplicates has to find. `AGAIN` have the id of an earlier one, and go to quarantine.

Copy n depends on the moulds and on n alone, so that parts can be written by several processes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from prstack.store.parts import write_table
from prstack.store.records import to_row
from prstack.types import Trajectory, arrow_schema
from prstack.world.generated.catalogue import BRANDS, SERIES

PART = 500
"""Records a file."""
REWORDED, TWINS, ALIKE, AGAIN = 0.3, 0.05, 0.05, 0.002
EXCHANGED = 0.02
"""Share of the words that are exchanged in one that is alike."""
WORDS = re.findall(
    r"\w+",
    "again almost along already apart around aside away basic before below beside better between beyond brief bright broad calm careful "
    "central certain clear close common complete correct daily decent direct early easy enough entire even exact fair familiar few final "
    "fine firm first fresh full general gentle given good great half handy hard heavy honest keen large last late light likely little local "
    "long loose main many middle mild minor modest narrow natural near neat new next normal obvious odd often old open ordinary other own "
    "patient plain plenty polite proper quick quiet rare rather ready real recent regular rich right rough round safe same second several "
    "sharp short simple single slight slow small smooth soft solid special spare steady still straight strong sure tidy tight tiny together "
    "true twice typical useful usual various warm weak whole wide wise",
)
"""What words become: none of a filter's function words, and none that keeps or drops a product."""

_MARK = "\ue000{}{}\ue001"
_SLOT = re.compile("\ue000(.)([^\ue001]*)\ue001")
_NAMES = re.compile(rf"\b(P\d{{3,6}})\b|\$(\d+)\.99\b|\b({'|'.join((*BRANDS, *SERIES))})\b")
_WORD = re.compile(r"\b(?:count|need|needs|checked|product|page|search|open|check|best|hits|each|report|meet|every|compare|lower|higher|equal|fits|fit|budget|within|own|next|most|least|looking|price)\b", re.I)  # fmt: skip


class Mould:
    """A trajectory as text with slots."""

    def __init__(self, t: Trajectory):
        row = to_row(t)
        for step in row["steps"]:
            if step["role"] == "research":
                step["reasoning"] = _words(step["reasoning"])
                if step["state"] == "plan":
                    step["content"] = _words(step["content"])
        row = _each(row, lambda s: _names(s.replace(t.user_id, _MARK.format("u", ""))))
        row["id"] = _MARK.format("i", "")
        pieces = _SLOT.split(json.dumps(row, ensure_ascii=False))
        self.texts, self.slots = pieces[::3], list(zip(pieces[1::3], pieces[2::3], strict=True))

    def cast(self, id: str, seed: int, exchanged: Random | None = None) -> str:
        """The copy of this seed, as JSON; with `EXCHANGED` of its words drawn once more."""
        rng = Random(seed)
        products, cents = 1000 * rng.randrange(1, 9000), Random(seed + 1)
        names = dict(zip((*BRANDS, *SERIES), (*rng.sample(BRANDS, len(BRANDS)), *rng.sample(SERIES, len(SERIES))), strict=True))
        prices: dict[str, str] = {}

        def fill(kind: str, was: str) -> str:
            if kind == "w":
                word = rng.choice(WORDS) if rng.random() < REWORDED else was
                return exchanged.choice(WORDS) if exchanged and exchanged.random() < EXCHANGED else word
            if kind == "p":
                return f"P{int(was[1:]) + products}"
            if kind == "n":
                return names[was]
            if kind == "c":
                return prices.setdefault(was, f"${was}.{cents.randrange(100):02}")
            return id if kind == "i" else f"u{seed}"

        out = [self.texts[0]]
        for (kind, was), text in zip(self.slots, self.texts[1:], strict=True):
            out += (fill(kind, was), text)
        return "".join(out)


def _words(text: str) -> str:
    return _WORD.sub(lambda m: _MARK.format("w", m[0]), text)


def _names(text: str) -> str:
    def mark(m: re.Match) -> str:
        kind = "pcn"[m.lastindex - 1]
        return _MARK.format(kind, m[m.lastindex])

    return _NAMES.sub(mark, text)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text in it changed; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {k: _each(v, change) for k, v in value.items()}
    return [_each(v, change) for v in value] if isinstance(value, list) else value


def copies(moulds: Sequence[Mould], numbers: Iterator[int] | range) -> Iterator[str]:
    """The copies of these numbers, as JSON. Copy n is of mould n modulo their number."""
    for n in numbers:
        rng, id, seed, exchanged = Random(f"copy {n}"), f"copy-{n:07d}", n, None
        kind = rng.random()
        if n >= len(moulds) and kind < TWINS + ALIKE + AGAIN:
            seed = rng.randrange(n // len(moulds)) * len(moulds) + n % len(moulds)  # an earlier copy of the same mould
            exchanged = rng if kind < ALIKE else None
            id = f"copy-{seed:07d}" if kind >= TWINS + ALIKE else id
        yield moulds[n % len(moulds)].cast(id, seed, exchanged)


def write(moulds: Sequence[Mould], records: int, folder: Path, processes: int) -> list[Path]:
    """Parquet files of `PART` copies, as a synthesis writes them; in order."""
    folder.mkdir(parents=True)
    starts = range(0, records, PART)
    files = [folder / f"part-{n:06d}.parquet" for n in range(len(starts))]
    with ProcessPoolExecutor(processes, get_context("spawn"), _hold, (moulds,)) as pool:
        list(pool.map(_write, files, starts, [min(s + PART, records) for s in starts]))
    return files


_moulds: list[Mould] = []
"""Those of a writing process."""


def _hold(moulds: Sequence[Mould]) -> None:
    _moulds[:] = moulds


def _write(file: Path, start: int, end: int) -> None:
    rows = [json.loads(text) for text in copies(_moulds, range(start, end))]
    write_table(pa.Table.from_pylist(rows, schema=arrow_schema(Trajectory)), file)
