"""Rows of the files that a mapping names: CSV, TSV, JSONL (.gz too) or Parquet, a few at a time.

A row that cannot be read is handed on with its line: a line over the limit, one with more or fewer cells than the head, text that is not
UTF-8. A file that is broken as a whole is a UserError.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from prstack.errors import UserError
from prstack.store.records import MAX_LINE, Bad, read_json_lines
from prstack.world.adapters.mapping import Table

MISSING = object()
"""What a row has in a column that it lacks."""


def read_rows(path: Path, table: Table, on_bad: Callable[[Bad], None]) -> Iterator[tuple[int, dict]]:
    """(line or row number, row) of a CSV, TSV, JSONL (.gz) or Parquet file. Raises UserError for one that is broken as a whole, or
    in which a mapped column does not stand."""
    ending = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()
    if ending in (".csv", ".tsv"):
        return _read_csv(path, table, on_bad)
    if ending in (".jsonl", ".jsonl.gz", ".ndjson"):
        return read_json_lines(path, on_bad)
    if ending == ".parquet":
        return _read_parquet(path, table)
    raise UserError(f"{path}: expected .csv, .tsv, .jsonl, .jsonl.gz or .parquet")


def _read_csv(path: Path, table: Table, on_bad: Callable[[Bad], None]) -> Iterator[tuple[int, dict]]:
    csv.field_size_limit(MAX_LINE)
    delimiter = table.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(_lines(path, file, on_bad), delimiter=delimiter)
        head = next(reader, None)
        if not head:
            raise UserError(f"{path}:1: expected a line with the columns' names")
        _check_columns(path, table, head)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as e:
                on_bad(Bad(str(path), line, "", f"not CSV: {e}", ""))
                continue
            if not cells:
                continue
            excerpt = _printable(delimiter.join(cells)[:200])
            if len(cells) != len(head):
                on_bad(Bad(str(path), line, "", f"expected {len(head)} cells, found {len(cells)}", excerpt))
            elif bad := next((h for h, c in zip(head, cells, strict=True) if not c.isprintable() and _broken(c)), None):
                on_bad(Bad(str(path), line, bad, "not UTF-8 text", excerpt))
            else:
                yield line, dict(zip(head, cells, strict=True))


def _lines(path: Path, file: TextIO, on_bad: Callable[[Bad], None]) -> Iterator[str]:
    """The lines of a file; one over the limit goes to `on_bad` and is empty here, so that the others keep their numbers."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            start, size = line[:200], len(line)
            while not line.endswith(("\n", "\r")) and (line := file.readline(1 << 20)):
                size += len(line)
            on_bad(Bad(str(path), number, "", f"line of {size} characters (limit {MAX_LINE})", _printable(start)))
            line = "\n"
        yield line


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _broken(cell: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in cell)


def _read_parquet(path: Path, table: Table) -> Iterator[tuple[int, dict]]:
    row = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:  # page by page; a group of rows may be large
            _check_columns(path, table, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1024):
                for entry in batch.to_pylist(maps_as_pydicts="lossy"):
                    row += 1
                    yield row, entry
    except (pa.ArrowException, OSError, ValueError) as e:
        raise UserError(f"{path}: not a readable Parquet file ({' '.join(str(e).split())[:200]})") from e


def _check_columns(path: Path, table: Table, columns: list[str]) -> None:
    listed = getattr(table, "attributes", [])
    wanted = [*table.fields.values(), *(listed.values() if isinstance(listed, dict) else listed if listed != "*" else [])]
    for column in wanted:
        if column not in columns and column.split(".")[0] not in columns:
            raise UserError(f"{path}: there is no column {column} (there are: {', '.join(columns)[:300]})")


def cell(row: dict, column: str) -> Any:
    """The value of a column; `MISSING` where the row has none."""
    if column in row:
        return row[column]
    at: Any = row
    for part in column.split("."):
        if not isinstance(at, dict) or part not in at:
            return MISSING
        at = at[part]
    return at
