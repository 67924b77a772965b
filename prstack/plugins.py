"""What users bring along by import path: their own filters (`distill.filters.extra`) and tools (`tools.extra`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from prstack.errors import UserError


def import_callable(path: str, key: str) -> Callable[..., Any]:
    """The function, class or callable object that `package.module:name` names.

    Raises UserError that names `key`, the setting in which the path stands, for a path that leads nowhere and for a module that
    fails while it is imported.
    """
    where = f"{key}: {path!r}"
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise UserError(f"{where}: write it as package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ImportError as e:
        raise UserError(f"{where}: cannot import {module_name} ({e}); is its folder on PYTHONPATH?") from e
    except Exception as e:  # the user's own code, run by the import
        raise UserError(f"{where}: {module_name} failed while it was imported ({type(e).__name__}: {e})") from e
    found = getattr(module, name, None)
    if not callable(found):
        raise UserError(f"{where}: {module_name} has nothing callable that is named {name}")
    return found
