"""Fields of source records, checked one by one, and lines taken in with an account of each.

`FieldError` names the field; `made` turns it into a quarantined record and keeps the count right; `take` does so for records that have a
key, and lets each key through once.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from prstack.errors import UserError
from prstack.store.records import Bad
from prstack.types import Attribute, Product
from prstack.world.material import Material, is_id
from prstack.world.units import parse_attribute

T = TypeVar("T")

MAX_VALUE, MAX_NAME, MAX_ATTRIBUTES = 60, 40, 24
"""Longest attribute values and names (characters) and most attributes that are taken over."""
TOLD = 250_000
"""Records of a kind after which `Material.told` hears of them."""
NO_CATEGORY = "Other"
"""The category of products whose source names none."""
_NO_BRAND = {"nobrand", "no brand", "generic", "unbranded", "oem", "others", "other", "none", "n/a", "unknown", ""}
_MOJIBAKE = re.compile(r"[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]{2,}")
_SCRIPT = re.compile(r"<(script|style)\b.*?</\1\s*>", re.S | re.I)
_INLINE = re.compile(r"</?(?:a|b|em|font|i|mark|small|span|strong|sub|sup|u)\b[^<>]{0,2000}>", re.I)
_TAG = re.compile(r"<(?:/?[a-zA-Z][^<>]{0,2000}|!--.*?--)>", re.S)


class FieldError(Exception):
    """A field that is missing, or is not what it should be."""

    def __init__(self, field: str, reason: str):
        super().__init__(reason)
        self.field = field


def get(record: Any, field: str, kind: type | tuple[type, ...], prefix: str = "") -> Any:
    """The field of a record when it is of a kind. Raises FieldError."""
    if not isinstance(record, dict):
        raise FieldError(f"{prefix}{field}", f"expected an object, found {type(record).__name__}")
    value = record.get(field)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        found = f"{type(value).__name__} {value!r}"[:80] if field in record else "nothing"
        raise FieldError(f"{prefix}{field}", f"expected {' or '.join(k.__name__ for k in kinds)}, found {found}")
    return value


def text(record: dict, field: str, required: bool = False) -> str:
    """Clean text; a list of texts is joined with spaces; "" for one that is not there, unless it is required."""
    value = record.get(field)
    if value is None:
        value = ""
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        value = " ".join(value)
    if not isinstance(value, str):
        raise FieldError(field, f"expected text, found {type(value).__name__}")
    value = clean(value)
    if required and not value:
        raise FieldError(field, "expected text, found nothing")
    return value


def identifier(record: dict, field: str) -> str:
    """An id: text, or a whole number written as one. Raises FieldError."""
    value = record.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    value = value.strip() if isinstance(value, str) else value
    if not is_id(value):
        raise FieldError(field, f"expected an id without spaces, found {value!r}"[:120] if field in record else "expected an id, found nothing")
    return value


def number(record: dict, field: str, low: float, high: float) -> float | None:
    """A number within bounds, also as text; None for one that is not there. Raises FieldError."""
    value = record.get(field)
    if value is None or (isinstance(value, str) and value.strip().casefold() in ("", "none", "null", "nan", "n/a", "n.a.")):
        return None
    try:
        value = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        value = None
    if value is None or value != value:
        raise FieldError(field, f"expected a number, found {record[field]!r}"[:120])
    if not low <= value <= high:
        raise FieldError(field, f"expected a number from {low:g} to {high:g}, found {value:g}")
    return value


def attributes(pairs: Iterable[tuple[Any, Any]], without: Iterable[str] = ()) -> list[Attribute]:
    """Typed attributes of (name, value) pairs, the first of a name; names in lower case. Left out: what is too long for a name or
    a value, holds markup, is no text or number, or is named in `without`."""
    out: dict[str, str] = {}
    for name, value in pairs:
        if isinstance(value, bool):
            value = "yes" if value else "no"
        if isinstance(value, int | float):
            value = f"{value:g}" if isinstance(value, float) else str(value)
        if not isinstance(name, str) or not isinstance(value, str):
            continue
        name = re.sub(r"^(?:fa|m) ", "", clean(name.replace("_", " ")).casefold())
        value = clean(value).strip(" :;,.\u200e\u200f")
        if re.fullmatch(rf"[^\W\d_][^:;|<>\n]{{1,{MAX_NAME - 1}}}", name) and 0 < len(value) <= MAX_VALUE and not re.search(r"[<>{}\n]", value):
            out.setdefault(name, value)
    left_out = set(without)
    return [parse_attribute(k, v) for k, v in out.items() if k not in left_out][:MAX_ATTRIBUTES]


def brand(name: str) -> str:
    """A brand's name, "" for the words shops use where there is none."""
    return "" if re.sub(r"[^\w/ ]", "", name.casefold()).strip() in _NO_BRAND else name


def clean(raw: str) -> str:
    """Text without HTML, on one line, with UTF-8 that was read as Latin-1 or Windows-1252 put right where that is certain."""
    raw = _MOJIBAKE.sub(_repaired, raw)
    raw = html.unescape(_TAG.sub(" ", _INLINE.sub("", _SCRIPT.sub(" ", raw))))
    return " ".join(re.sub(r"\*{2,}|#{2,}|_{3,}", " ", raw).split())


def _repaired(match: re.Match[str]) -> str:
    for encoding in ("latin-1", "cp1252"):
        try:
            return match[0].encode(encoding).decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
    return match[0]


def files(folder: Path, *patterns: str) -> list[Path]:
    """The files of a folder that match, sorted by name, hidden ones left out."""
    return sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file() and not p.name.startswith(".")})


Rows = Callable[[Callable[[Bad], None]], Iterable[tuple[int, Any]]]
"""Given a place for what cannot be read, the (line, row) pairs of a file."""


def made(material: Material, kind: str, path: Path, rows: Rows, make: Callable[[Any], T | None], prefix: str = "") -> Iterator[tuple[int, T]]:
    """(line, what `make` makes of the row) of each of a file's rows.

    Quarantined: rows that cannot be read, and those for which `make` raises FieldError. None is a record that belongs to nothing here;
    it is counted as unlisted. Counts in `material.counts`: `<kind>_read` and `<kind>_unlisted` (where there are any). Raises UserError
    for a file that cannot be read to its end.
    """
    counts, name = material.counts, f"{kind}_read"
    counts.setdefault(name, 0)

    def count() -> None:
        counts[name] += 1
        if counts[name] % TOLD == 0:
            material.told(f"{kind} read", counts[name])

    def on_bad(bad: Bad) -> None:
        count()
        material.bad.append(bad)

    for line, row in to_its_end(path, rows(on_bad)):
        count()
        try:
            record = make(row)
        except FieldError as e:
            material.bad.append(Bad(str(path), line, f"{prefix}{e.field}".rstrip("."), str(e), str(row)[:200]))
            continue
        if record is None:
            counts[f"{kind}_unlisted"] = counts.get(f"{kind}_unlisted", 0) + 1
        else:
            yield line, record


def take(
    material: Material,
    kind: str,
    path: Path,
    rows: Rows,
    make: Callable[[Any], T | None],
    key: Callable[[T], Hashable],
    found: MutableMapping[Hashable, T] | None = None,
    prefix: str = "",
) -> Iterator[T]:
    """What `make` makes of a file's rows (`made`), each key once: a second record of a key is merged when it is equal to the first
    and quarantined when it differs. `found` keeps the records, over several files too. Counts also `<kind>_merged`."""
    seen = {} if found is None else found
    material.counts.setdefault(f"{kind}_merged", 0)
    for line, record in made(material, kind, path, rows, make, prefix):
        known = seen.setdefault(key(record), record)
        if known is record:
            yield record
        else:
            again(material, kind, Bad(str(path), line, f"{prefix}id", "", str(record)[:200]), key(record), known == record)


def again(material: Material, kind: str, at: Bad, key: Hashable, same: bool) -> None:
    """Accounts for a record whose key was there before: merged when it is the same, quarantined when it is not."""
    if same:
        material.counts[f"{kind}_merged"] += 1
    else:
        material.bad.append(replace(at, reason=f"{key} was read before with other content"[:160]))


def to_its_end(path: Path, rows: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The rows of a file. Raises UserError where it is cut off or damaged."""
    try:
        yield from rows
    except (EOFError, OSError, zlib.error) as e:
        raise UserError(f"{path}: cannot be read to its end ({e})") from e


def about(product: Product) -> dict[str, Any]:
    """What an event says of its product."""
    return {"product_id": product.id, "title": product.title, "category": product.category, "price": product.price, "attributes": product.attributes}
