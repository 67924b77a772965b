"""What is given back to the system."""

import sys

import numpy as np
import psutil
import pytest

from prstack.memory import give_back


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone keeps freed memory, and gives it back when asked")
def test_freed_blocks_below_one_that_lives_are_given_back():
    process = psutil.Process()
    blocks = [np.ones(100_000, np.uint8) for _ in range(2_000)]  # each below the size for which glibc asks the system
    last = np.ones(100_000, np.uint8)
    full = process.memory_info().rss
    del blocks
    give_back()
    assert full - process.memory_info().rss > 150e6 and last.all()
