"""Real shops as worlds: each adapter reads one source's files and gives the same records.

What every adapter keeps to: a record that cannot be read is quarantined with file, line, field and reason, and counted, so that
read = kept + merged + unlisted + quarantined for each kind of record; a file that is missing or broken as a whole is a UserError.
Nothing is made up that a source does not say.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from prstack.config import source_folder
from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.world.material import Material

MODULES = {"tau_retail": "tau_retail", "shoppingbench": "shoppingbench", "amazon": "amazon", "webshop": "webshop", "table": "table"}
"""world.kind → the module here that has `read(config, folder)`."""


def read(config: WorldConfig) -> Material:
    """The records of a real world's source. Raises UserError."""
    module = importlib.import_module(f"{__name__}.{MODULES[config.kind]}")
    if config.kind != "table":
        return module.read(config, source_folder(config))
    if config.mapping is None:
        raise UserError("world=table: give world.mapping=FILE.yaml, which says which column of your files is what (docs/worlds.md)")
    return module.read(config, Path(config.mapping))
