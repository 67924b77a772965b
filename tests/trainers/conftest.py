"""One local rank and one pair of Ray ranks, shared by the tests of the trainers."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import trainers  # noqa: F401 - the import hook comes before anything that imports megatron

os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # this machine may be busy with other tests


@pytest.fixture(scope="package")
def local() -> Iterator:
    """A group of one rank in this process."""
    from trainers.launch import Local

    with Local(threads=1) as group:
        yield group


@pytest.fixture(scope="package")
def pair(ray_local: None) -> Iterator:
    """A group of two ranks as Ray actors; tests give it a model of their own with `setup`."""
    from trainers.launch import RayGroup

    with RayGroup(2, cpus=0.5) as group:
        yield group
