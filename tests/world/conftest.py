import pytest

from prstack.config import source_folder
from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.world.world import World, build


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """(folder, counts) of a small generated world."""
    folder = tmp_path_factory.mktemp("generated")
    return folder, build(WorldConfig(products=420, users=42), folder)


def real_world(kind: str, tmp_path_factory, **settings):
    """(folder, counts) of a world from real data; skips where the data is not there."""
    config = WorldConfig(kind=kind, **settings)
    try:
        source_folder(config)
    except UserError as e:
        pytest.skip(f"needs the real data: {e}")
    folder = tmp_path_factory.mktemp(kind)
    return folder, build(config, folder)


@pytest.fixture(scope="session")
def tau(tmp_path_factory):
    return real_world("tau_retail", tmp_path_factory)


@pytest.fixture(scope="session")
def shoppingbench(tmp_path_factory):
    return real_world("shoppingbench", tmp_path_factory, users=30)


@pytest.fixture(scope="session")
def world(generated):
    return World.open(generated[0])
