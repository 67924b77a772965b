"""Real shops as worlds: each adapter reads one source's files and gives the same records.

What every adapter keeps to: a record that cannot be read is quarantined with file, line, field and reason, and counted, so that
read = kept + merged + unlisted + quarantined for each kind of record; a file that is missing or broken as a whole is a UserError.
Nothing is made up that a source does not say. Records stream: what is needed again later lies on disk (`prstack.world.ondisk`); in
memory are the ids of products, and one user's records at a time. (ShoppingBench's files hold 2,000 products and are read whole.)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from prstack.config import source_folder
from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.world.material import Material
from prstack.world.ondisk import Quarantine

MODULES = {"tau_retail": "tau_retail", "shoppingbench": "shoppingbench", "amazon": "amazon", "webshop": "webshop", "table": "table"}
"""world.kind → the module here that has `read(config, folder, material, scratch)`, which fills a material."""


def read(config: WorldConfig, scratch: Path, bad: Quarantine, told: Callable[[str, int], None]) -> Material:
    """The records of a real world's source, most of them still to be read. `scratch` is a folder for what has to wait on disk; it
    and `bad` serve until the world is made. Raises UserError."""
    module = importlib.import_module(f"{__name__}.{MODULES[config.kind]}")
    material = Material([], bad=bad, told=told)
    if config.kind == "table" and config.mapping is None:
        raise UserError("world=table: give world.mapping=FILE.yaml, which says which column of your files is what (docs/worlds.md)")
    module.read(config, Path(config.mapping) if config.kind == "table" else source_folder(config), material, scratch)
    return material
