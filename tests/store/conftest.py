"""What the tests of runs in a store are wired with."""

import pytest
from pyarrow import fs

from prstack.store.remote import objects


@pytest.fixture
def wired(monkeypatch):
    """`wired(store)`: what is opened from now on is this handler, whatever the URL's file system is; None: what it is."""
    real = objects.connect

    def wire(store):
        monkeypatch.setattr("prstack.store.remote.objects.connect", real if store is None else lambda url: (fs.PyFileSystem(store), real(url)[1]))
        return store

    return wire
