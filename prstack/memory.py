"""Memory that a process has freed and the C library keeps."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # not glibc
        return None


def give_back() -> None:
    """Hands the pages that nothing uses back to the system; without glibc nothing happens.

    Large blocks of other sizes each time, as of a checkpoint that is written, leave holes between what lives on. glibc keeps them, and each
    time more: a rank with a model of 9.5M parameters held 100 MB more with every checkpoint, 1.9 GB after six instead of 0.7.
    """
    if trim := _trim():
        trim(0)
