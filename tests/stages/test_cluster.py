"""Whose Ray session it is decides who ends it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from prstack.errors import UserError
from prstack.stages.cluster import _patiently, one_session


@pytest.mark.parametrize("there", [True, False])
def test_a_session_that_was_there_before_outlives_the_block(there, monkeypatch):
    """`main()` may be called in a program with a Ray of its own."""
    state = SimpleNamespace(up=there)
    ray = SimpleNamespace(is_initialized=lambda: state.up, shutdown=lambda: setattr(state, "up", False))
    monkeypatch.setitem(sys.modules, "ray", ray)
    with one_session():
        state.up = True
    assert state.up is there


def test_a_cluster_that_did_not_start_in_time_is_tried_again_and_other_errors_are_not():
    def failing(times, error):
        tries = []

        def start(**options):
            tries.append(options)
            if len(tries) <= times:
                raise error
            return "started"

        return start, tries

    late = Exception("The current node timed out during startup. This could happen because …")
    start, tries = failing(2, late)
    assert _patiently(start, num_cpus=2) == "started" and tries == [{"num_cpus": 2}] * 3
    with pytest.raises(UserError, match="did not start within 30 s, 3 times"):
        _patiently(failing(3, late)[0])
    start, tries = failing(1, ValueError("something else"))
    with pytest.raises(ValueError, match="something else"):
        _patiently(start)
    assert len(tries) == 1
