"""One search index in a folder: tantivy segments with the whole records in them, and a table of ids.

1. An index is written as pieces (`PieceWriter`), each in folders of its own, so that several processes write at once. `assemble`
   puts the pieces' segments into one folder, in the order of the catalogue. A query's hits and their order do not depend
   on how many pieces there were: scores use the counts of all segments, and the engine orders equal scores by segment and place.
2. Every document has a number, its place in the catalogue, in a column that is read without opening the document. `ids.npy`,
   mapped into memory, turns numbers into ids, so that ranking reads no stored records.
3. Records are read by id. Opening an index reads nothing, and any number of processes share one copy through the page cache.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tantivy
from tantivy import Filter, Query, TextAnalyzerBuilder, Tokenizer

from prstack.errors import UserError

ANALYSER = "shop"
HEAP, SEGMENT = 512 << 20, 64 << 20
"""Memory in which a segment may grow, in bytes, and its text, in characters. Text of that length takes a fraction of the memory; would
it take more, the engine would cut and merge segments by itself, in no certain order."""
_IDS, _FOUND = "ids.npy", 1024


def analyser() -> tantivy.TextAnalyzer:
    """Cuts text into lower-case, stemmed terms without accents, and leaves English stop words out."""
    chain = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(40)).filter(Filter.lowercase())
    return chain.filter(Filter.ascii_fold()).filter(Filter.stopword("english")).filter(Filter.stemmer("english")).build()


def schema(texts: Iterable[str], numbers: Iterable[str] = (), stored: Iterable[str] = ("record",), keys: Iterable[str] = (), counts: Iterable[str] = ()) -> tantivy.Schema:
    """Documents of `texts` to search, `numbers` to filter and sort by, and `stored` bytes to read back.

    `keys`, to be found as a whole, and `counts`, more numbers, stand at the end: an index without them, of an older prstack, can be read
    as one that has them (`Index.has`).
    """
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", tokenizer_name="raw", index_option="basic")
    builder.add_integer_field("n", fast=True)
    builder.add_text_field("category", tokenizer_name="raw", index_option="basic")
    for name in texts:
        builder.add_text_field(name, tokenizer_name=ANALYSER, index_option="freq")
    for name in numbers:
        builder.add_float_field(name, fast=True)
    for name in stored:
        builder.add_bytes_field(name, stored=True)
    for name in keys:
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in counts:
        builder.add_float_field(name, fast=True)
    return builder.build()


def clean(text: str) -> str:
    """Text that the index takes: no lone surrogates, no null characters."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")


class PieceWriter:
    """Writes one piece of an index. Documents come in the order of their numbers, from `first` on."""

    def __init__(self, folder: Path, schema: tantivy.Schema, first: int = 0):
        folder.mkdir(parents=True)
        self.folder, self.schema, self._next = folder, schema, first
        self._begin(0)

    def _begin(self, segment: int) -> None:
        self._segment, self._ids, self._characters = self.folder / f"{segment:06d}", [], 0
        self._segment.mkdir()
        index = tantivy.Index(self.schema, str(self._segment))
        index.register_tokenizer(ANALYSER, analyser())
        self._writer = index.writer(heap_size=HEAP, num_threads=1)

    def add(self, id: str, **fields: object) -> None:
        if self._characters >= SEGMENT:
            self.close()
            self._begin(int(self._segment.name) + 1)
        self._writer.add_document(tantivy.Document(id=clean(id), n=self._next, **fields))
        self._ids.append(clean(id).encode())
        self._characters += sum(len(v) for v in fields.values() if isinstance(v, str))
        self._next += 1

    def close(self) -> None:
        self._writer.commit()
        self._writer.wait_merging_threads()
        np.save(self._segment / _IDS, np.array(self._ids, dtype=bytes))


def assemble(folder: Path, pieces: Sequence[Path]) -> None:
    """Makes one index of pieces, which come in the order of their documents; the pieces are gone afterwards."""
    folder.mkdir(parents=True)
    segments = [segment for piece in pieces for segment in sorted(piece.iterdir())]
    ids = np.concatenate([np.load(segment / _IDS) for segment in segments])
    np.save(folder / _IDS, ids if len(ids) else np.zeros(1, dtype=bytes))  # an empty file cannot be mapped
    metas = [json.loads((segment / "meta.json").read_text(encoding="utf-8")) for segment in segments]
    for segment in segments:
        for file in segment.iterdir():
            if file.name not in ("meta.json", _IDS) and not file.name.startswith("."):
                os.replace(file, folder / file.name)
    for piece in pieces:
        shutil.rmtree(piece)
    meta = metas[0] | {"segments": [s for m in metas for s in m["segments"]]}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


class Index:
    """An index opened for reading. Raises UserError when there is none, or one of another version."""

    def __init__(self, folder: Path, schema: tantivy.Schema):
        self.schema, self.analyser = schema, analyser()
        self.index = self._open(folder)
        self.index.register_tokenizer(ANALYSER, self.analyser)
        self.searcher = self.index.searcher()
        self._ids = np.asarray(self._mapped(folder))
        self._found: dict[str, tantivy.DocAddress] = {}

    def _open(self, folder: Path) -> tantivy.Index:
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no search index; run `prstack world` first")
        if not os.access(folder, os.W_OK):  # opening takes a lock file, so a read-only folder is opened through links
            self._links = tempfile.TemporaryDirectory(prefix="prstack-index-")
            for file in folder.iterdir():
                if not file.name.endswith(".lock"):
                    os.symlink(file.resolve(), os.path.join(self._links.name, file.name))
            folder = Path(self._links.name)
        try:
            return tantivy.Index.open(str(folder))
        except ValueError as e:
            raise self._broken(folder, e) from e

    def _mapped(self, folder: Path) -> np.ndarray:
        try:
            return np.load(folder / _IDS, mmap_mode="r")
        except (OSError, ValueError) as e:
            raise self._broken(folder, e) from e

    def _broken(self, folder: Path, e: Exception) -> UserError:
        return UserError(f"{folder}: the search index cannot be opened ({e}); remove the world and run `prstack world` again")

    def has(self, key: str) -> bool:
        """Whether the documents have this key, which an older index may lack."""
        try:
            self.searcher.doc_freq(key, "")
        except ValueError:
            return False
        return True

    def ids(self, hits: Sequence[tuple[float, tantivy.DocAddress]]) -> list[bytes]:
        """The ids of hits, as UTF-8."""
        return self._ids[self.searcher.fast_field_values("n", [address for _, address in hits])].tolist() if hits else []

    def found(self, id: str, address: tantivy.DocAddress) -> str:
        """Remembers where the document of an id lies, since hits are mostly read next; gives the id back."""
        if len(self._found) >= _FOUND:
            self._found.clear()
        self._found[id] = address
        return id

    def stored(self, id: str) -> tantivy.Document | None:
        """The stored fields of an id's document."""
        address = self._found.get(id)
        if address is None:
            hits = self.searcher.search(Query.term_query(self.schema, "id", clean(id), "basic"), 1, count=False).hits
            address = hits[0][1] if hits else None
        return self.searcher.doc(address) if address is not None else None

    def first_ids(self, query: Query, limit: int) -> list[str]:
        """Sorted ids of the first `limit` documents that match a query, in the order of the catalogue."""
        hits = self.searcher.search(Query.const_score_query(query, 1.0), limit, count=False).hits
        return sorted(i.decode() for i in self.ids(hits))
