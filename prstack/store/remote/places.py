"""A URL of a run, and the folder in which that run is worked on here."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.secrets import without_secrets

STATE = ".store.json"
"""The file of a staging folder that says whose it is."""


def is_url(text: str) -> bool:
    return bool(re.match(r"[A-Za-z][\w+.-]*://", text))


def url_of(place: str | Path) -> str | None:
    """The URL of the run that `place` names, as a URL or by its staging folder; None for any other folder. Raises UserError for a URL with a
    secret in it."""
    if not is_url(str(place)):
        state = read_state(Path(place))
        return state["url"] if state else None
    url = str(place)
    if without_secrets(url) != url:
        raise UserError(f"run_dir={without_secrets(url)}: a URL holds no user and no key; credentials come from the environment or the store's own files (docs/runs.md)")
    return re.sub(r"(?<![/:])/+$", "", url)


def staging_folder(url: str) -> Path:
    """Where the run at `url` is worked on here."""
    root = Path(os.environ.get("PRSTACK_STAGING") or Path.home() / ".cache" / "prstack" / "runs")
    return root / hashlib.sha256(url.encode()).hexdigest()[:16] / (re.sub(r"[^\w.-]", "_", url.partition("?")[0].rstrip("/").rpartition("/")[2]).lstrip(".") or "run")


def read_state(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as e:
        raise UserError(f"{folder / STATE}: not what prstack writes there ({e}); remove {folder}, the run lies in its store") from e
