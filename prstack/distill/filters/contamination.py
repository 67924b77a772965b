"""Does a trajectory share something with what evaluation asks?

The reference (`distill.filters.evaluation`) are rows, in JSONL or Parquet, with `query`, `user_id` and `product_ids` (the answers), or some
of them; trajectories of an evaluation are such rows too, the products being those that their final reports recommend.

1. Users and products are compared by their ids. Those of the generated world are left out: each such world numbers its own, so
   that an id names another user or product in another one.
2. A query is the same when its words are, whatever their case, punctuation, width and invisible characters.
3. Sequences of `N` words of an evaluation query are looked up in the trajectory's query and in what its agent wrote. The share of the
   query's words that stand in such a sequence is its overlap. Eight words and half of the text are the rule of Tülu 3 (Lambert et al.
   2024, section 3.2); a greeting that many queries share stays below it.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prstack.errors import UserError
from prstack.scoring.report import parse_report
from prstack.store.records import Bad, data_files, read_json_lines
from prstack.types import Trajectory

N = 8
KEY = "distill.filters.evaluation"
FIELDS = ("query", "user_id", "product_ids", "reports")
_WORD = re.compile(r"\w+")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")


@dataclass(slots=True)
class Reference:
    """What evaluation asks, of whom, and for which products. `queries`: words of each; `grams`: sequence → its (query, place)s."""

    users: set[str] = field(default_factory=set)
    products: set[str] = field(default_factory=set)
    queries: list[tuple[str, ...]] = field(default_factory=list)
    exact: dict[tuple[str, ...], int] = field(default_factory=dict)
    grams: dict[tuple[str, ...], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, row: dict[str, Any]) -> bool:
        """Takes a row in; False when it holds nothing to compare with."""
        user, query, products = row.get("user_id"), row.get("query"), row.get("product_ids")
        if not products and row.get("reports"):
            products = parse_report(row["reports"][-1]).product_ids
        if user:
            self.users.add(user)
        self.products.update(products or ())
        words = _words(query or "")
        if words and words not in self.exact:
            self.exact[words] = len(self.queries)
            for at in range(len(words) - N + 1):
                self.grams[words[at : at + N]].append((len(self.queries), at))
            self.queries.append(words)
        return bool(user or words or products)

    def overlap(self, texts: Iterable[str]) -> tuple[float, str]:
        """(largest share of a query's words that the texts hold in sequences, that query)."""
        places: dict[int, set[int]] = defaultdict(set)
        for text in texts if self.grams else ():
            words = _words(text)
            for n in range(len(words) - N + 1):
                for query, at in self.grams.get(words[n : n + N], ()):
                    places[query].update(range(at, at + N))
        found = [(len(held) / len(self.queries[query]), " ".join(self.queries[query])) for query, held in places.items()]
        return max(found, default=(0.0, ""))


def contaminated(t: Trajectory, reference: Reference, max_overlap: float) -> tuple[str, str] | None:
    """(what is shared, in words) of the first thing that the trajectory shares with the reference."""
    if t.world != "generated":
        if t.user_id in reference.users:
            return "user", f"evaluation asks for the user {t.user_id}"
        recommended = parse_report(t.reports[-1]).product_ids if t.reports else []
        if shared := [i for i in recommended if i in reference.products]:
            return "product", f"evaluation asks for {', '.join(shared[:3])}"
    if _words(t.query) in reference.exact:
        return "query", f"evaluation asks the same: {t.query[:200]!r}"
    written = (text for s in t.steps if s.role == "research" for text in (s.reasoning, s.content))
    share, query = reference.overlap([t.query, *written])
    if share > max_overlap:
        return "query_overlap", f"{share:.0%} of the words of an evaluation query stand in it: {query[:200]!r}"
    return None


@functools.lru_cache(maxsize=2)
def read_reference(paths: tuple[str, ...]) -> Reference:
    """The reference of some files and folders. Raises UserError that names the file and row that cannot be read."""
    out = Reference()
    for file in (f for path in paths for f in data_files(path, KEY)):
        for number, row in _rows(file):
            try:
                known = out.add(row)
            except (TypeError, AttributeError) as e:
                raise UserError(f"{KEY}: {file}:{number}: query and user_id are texts, product_ids and reports lists of texts ({e})") from e
            if not known:
                raise UserError(f"{KEY}: {file}:{number}: there is neither query, user_id nor product_ids")
    return out


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    def refuse(bad: Bad) -> None:
        raise UserError(f"{KEY}: {bad}")

    if file.suffix != ".parquet":
        yield from read_json_lines(file, refuse)
        return
    try:
        with pq.ParquetFile(file) as f:
            columns = [name for name in FIELDS if name in f.schema_arrow.names]
            rows = (row for batch in f.iter_batches(batch_size=256, columns=columns) for row in batch.to_pylist())
            yield from enumerate(rows if columns else ({} for _ in range(min(1, f.metadata.num_rows))), 1)
    except (pa.ArrowException, OSError) as e:
        raise UserError(f"{KEY}: {file} is not readable Parquet ({str(e).splitlines()[0]})") from e


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(_INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()))
