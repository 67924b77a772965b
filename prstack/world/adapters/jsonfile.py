"""Whole-file JSON sources, with the line of each entry.

A broken file is one UserError with file and line. Entries of the top-level object are then read one by one, so that a bad
entry can be quarantined with the line on which it starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prstack.errors import UserError


def read_object(path: Path) -> Iterator[tuple[int, str, Any]]:
    """(line, key, value) of each entry of a file that holds one JSON object. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except UnicodeDecodeError as e:
        line = path.read_bytes()[: e.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8 text ({e.reason})") from e
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as e:
        raise UserError(f"{path}:{e.lineno}: not JSON: {e.msg} (column {e.colno})") from e
    except RecursionError as e:
        raise UserError(f"{path}: nested too deeply") from e
    if not isinstance(whole, dict):
        raise UserError(f"{path}: expected one JSON object, found {type(whole).__name__}")
    at, line = 0, 1
    for key, value in whole.items():
        found = re.compile(re.escape(json.dumps(key)) + r"\s*:").search(text, at) or re.compile(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:").search(text, at)
        if found:
            line += text.count("\n", at, found.start())
            at = found.start()
        yield line, key, value


def read_array(path: Path, on_bad: object = None, chunk: int = 1 << 20) -> Iterator[tuple[int, Any]]:
    """(line, entry) of a file that holds one JSON array, entry by entry; no more than an entry and a chunk of `chunk` characters
    is in memory. Raises UserError with file and line where the file stops being JSON. (`on_bad` is for readers that can put single
    entries aside; an array cannot be read past a broken one.)"""
    decoder, line = json.JSONDecoder(), 1
    try:
        with open(path, encoding="utf-8") as file:
            buffer, at, end = file.read(chunk), 0, False

            def more() -> bool:
                nonlocal buffer, end
                new = "" if end else file.read(chunk)
                end = not new
                buffer += new
                return bool(new)

            def skip(characters: str) -> None:
                nonlocal at, line
                while True:
                    start = at
                    while at < len(buffer) and buffer[at] in characters:
                        at += 1
                    line += buffer.count("\n", start, at)
                    if at < len(buffer) or not more():
                        return

            skip(" \t\r\n\ufeff")
            if buffer[at : at + 1] != "[":
                raise UserError(f"{path}:{line}: expected one JSON array")
            at += 1
            skip(" \t\r\n")
            while buffer[at : at + 1] != "]":
                while True:
                    try:
                        entry, stop = decoder.raw_decode(buffer, at)
                        if stop + 32 < len(buffer) or isinstance(entry, dict | list) or not more():  # a number may go on in the next chunk
                            break
                    except json.JSONDecodeError as e:
                        where = line + buffer.count("\n", at, e.pos)
                        cut_off = e.msg.startswith("Unterminated string") or e.pos >= len(buffer) - 8
                        if not cut_off or not more():
                            raise UserError(f"{path}:{where}: not JSON: {e.msg}") from e
                yield line, entry
                line += buffer.count("\n", at, stop)
                buffer, at = buffer[stop:] if stop > chunk else buffer, 0 if stop > chunk else stop
                skip(" \t\r\n")
                if buffer[at : at + 1] == ",":
                    at += 1
                    skip(" \t\r\n")
                elif buffer[at : at + 1] != "]":
                    raise UserError(f"{path}:{line}: not JSON: expected , or ] after an entry")
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 text after line {line} ({e.reason})") from e
    except RecursionError as e:
        raise UserError(f"{path}:{line}: nested too deeply") from e
