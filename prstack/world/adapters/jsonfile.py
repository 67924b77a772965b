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
