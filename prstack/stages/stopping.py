"""The first SIGTERM or Ctrl-C as a request, for a command that has something to bring to its end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ASKING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def first_signal_asks(asked: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Inside the block the first SIGTERM or SIGINT calls `asked` and raises nothing.

    From then on, and after the block, both do again what they did before it, so that a second one ends the command at once.
    `asked` runs as a signal handler does, between any two instructions of the main thread. Signals reach the main thread
    alone: a block in another one changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in ASKING}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def first(number: int, _frame: object) -> None:
        restore()
        asked(signal.Signals(number))

    for number in ASKING:
        signal.signal(number, first)
    try:
        yield
    finally:
        restore()
