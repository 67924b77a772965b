"""What of this installation a Ray cluster gets: prstack's packages, and nothing else of this machine.

Ray packs the folders, which are the same in a checkout and in an installation, and every node unpacks them once. No folder
of work goes along (where an .env, keys or data would lie), and no environment variable but those that are given.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.secrets import names_secret

PACKAGES = ("prstack", "actors", "trainers", "conf", "slurm")
LEFT_OUT = ("**/__pycache__", "**/.env*", "**/*.pem", "**/*.key", "**/*.env")
"""Patterns as of .gitignore. None may match `.`, as which Ray sees the folder itself: it would ship nothing of it."""


def runtime_env(variables: dict[str, str] | None = None) -> dict[str, Any]:
    """Ray's `runtime_env` that ships the packages. Raises UserError for a variable that looks like a secret: Ray keeps and shows them."""
    if wrong := next((name for name in variables or {} if names_secret(name)), None):
        raise UserError(f"{wrong}: Ray shows the variables of a runtime environment; the nodes need this one in their own environment")
    folders = [str(Path(found.origin).parent) for name in PACKAGES if (found := find_spec(name)) and found.origin]
    return {"py_modules": folders, "excludes": list(LEFT_OUT)} | ({"env_vars": dict(variables)} if variables else {})
