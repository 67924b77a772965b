"""Whose Ray session it is decides who ends it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from prstack.stages.cluster import one_session


@pytest.mark.parametrize("there", [True, False])
def test_a_session_that_was_there_before_outlives_the_block(there, monkeypatch):
    """`main()` may be called in a program with a Ray of its own."""
    state = SimpleNamespace(up=there)
    ray = SimpleNamespace(is_initialized=lambda: state.up, shutdown=lambda: setattr(state, "up", False))
    monkeypatch.setitem(sys.modules, "ray", ray)
    with one_session():
        state.up = True
    assert state.up is there
