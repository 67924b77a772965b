"""JSON files that are one large array or object, read entry by entry, with the line of each.

No more than an entry and a chunk is in memory. A file that stops being JSON is one UserError with file and line.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from prstack.errors import UserError
from prstack.store.records import MAX_LINE, Bad

CHUNK = 1 << 20
"""Characters that are read at once."""
_SPACE = re.compile(r"[ \t\r\n]*")
_UNDECODED = re.compile("[\udc80-\udcff]")
_HALF = "text holds half of a surrogate pair"
_NUMBER = 32
"""Characters of a number that may still go on in the next chunk."""


def read_object(path: Path, chunk: int | None = None) -> Iterator[tuple[int, str, Any]]:
    """(line, key, value) of each entry of a file that holds one JSON object. Raises UserError."""
    with _open(path, chunk) as text:
        if text.peek() != "{":
            raise UserError(f"{path}: expected one JSON object, found {type(text.value()).__name__}")
        for _ in text.entries("}"):
            if text.peek() != '"':
                raise text.error("expected a key in quotes")
            line, key = text.line, text.value()
            text.take(":", "a colon after a key")
            value = text.value()
            if not _encodes([key, value]):
                raise UserError(f"{path}:{line}: {_HALF}")
            yield line, key, value


def read_array(path: Path, on_bad: Callable[[Bad], None] | None = None, chunk: int | None = None) -> Iterator[tuple[int, Any]]:
    """(line, entry) of a file that holds one JSON array. Raises UserError. (`on_bad` is for readers that can put single entries
    aside; an array cannot be read past a broken one.)"""
    with _open(path, chunk) as text:
        if text.peek() != "[":
            raise UserError(f"{path}:{text.line}: expected one JSON array")
        for _ in text.entries("]"):
            text.peek()
            line, value = text.line, text.value()
            if _encodes(value):
                yield line, value
            elif on_bad:
                on_bad(Bad(str(path), line, "", _HALF, str(value)[:200].encode("utf-8", "replace").decode()))
            else:
                raise UserError(f"{path}:{line}: {_HALF}")


@contextlib.contextmanager
def _open(path: Path, chunk: int | None) -> Iterator[_Text]:
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            yield _Text(path, file, chunk or CHUNK)
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e


class _Text:
    """The text of a file from a place on: `buffer` from `at`, then what is still to be read."""

    def __init__(self, path: Path, file: TextIO, chunk: int):
        self.path, self.file, self.chunk = path, file, chunk
        self.buffer, self.at, self.line = "", 0, 1

    def error(self, reason: str, line: int | None = None) -> UserError:
        return UserError(f"{self.path}:{line or self.line}: not JSON: {reason}")

    def more(self) -> bool:
        """Reads on, as much again as waits already, so that a long value is tried few times. False at the end of the file."""
        waiting = self.buffer[self.at :]
        if len(waiting) > MAX_LINE:
            raise UserError(f"{self.path}:{self.line}: an entry of more than {MAX_LINE} characters")
        new = self.file.read(max(self.chunk, len(waiting)))
        if not new.isascii() and (bad := _UNDECODED.search(new)):
            raise UserError(f"{self.path}:{self.line + waiting.count(chr(10)) + new.count(chr(10), 0, bad.start())}: not UTF-8 text")
        self.buffer, self.at = waiting + new, 0
        return bool(new)

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            end = _SPACE.match(self.buffer, self.at).end()
            self.line += self.buffer.count("\n", self.at, end)
            self.at = end
            if end < len(self.buffer) or not self.more():
                return self.buffer[self.at : self.at + 1]

    def take(self, wanted: str, what: str) -> str:
        """The next character, which has to be one of `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            raise self.error(f"expected {what}")
        self.at += 1
        return found

    def entries(self, closing: str) -> Iterator[None]:
        """Once before each entry of the array or object that opens here, which the caller then reads; its end is the file's."""
        self.at += 1
        more = "," if self.peek() != closing else self.take(closing, closing)
        while more == ",":
            yield
            more = self.take(f",{closing}", f", or {closing} after an entry")
        if self.peek():
            raise self.error("expected the end of the file")

    def value(self) -> Any:
        """The next value."""
        self.peek()
        while True:
            try:
                value, stop = json.JSONDecoder().raw_decode(self.buffer, self.at)
                length = stop - self.at
                if isinstance(value, dict | list | str) or stop + _NUMBER < len(self.buffer) or not self.more():
                    break
            except json.JSONDecodeError as e:
                line = self.line + self.buffer.count("\n", self.at, e.pos)
                cut_off = e.msg.startswith("Unterminated string") or e.pos >= len(self.buffer) - 8
                if not cut_off or not self.more():
                    raise self.error(e.msg, line) from e
            except RecursionError as e:
                raise UserError(f"{self.path}:{self.line}: nested too deeply") from e
        self.line += self.buffer.count("\n", self.at, self.at + length)
        self.at += length
        return value


def _encodes(value: Any) -> bool:
    """Whether a value is free of halves of surrogate pairs, which no file takes."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
