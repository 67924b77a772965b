"""The first SIGTERM or Ctrl-C as a request, for a command that has something to bring to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any, TypeVar

from prstack.errors import Terminated

T = TypeVar("T")
ASKING = (signal.SIGTERM, signal.SIGINT)
STDERR = 2


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


class Stop:
    """A request to stop: its signal's handler, and who wants to know of it. `name` and `what`, which is what then happens, are said when it comes."""

    def __init__(self, name: str, what: str):
        self._name, self._what = name, what
        self._number: signal.Signals | None = None
        self._act: Callable[[], object] | None = None

    def ask(self, number: signal.Signals) -> None:
        """For `first_signal_asks`."""
        self._number = number
        # A handler may run amid a write to stderr, whose buffer then takes no other.
        with suppress(OSError):
            os.write(STDERR, f"\n{self._name}: {number.name}, {self._what} (another signal ends it at once)\n".encode())
        if self._act:
            self._act()

    def asked(self) -> bool:
        return self._number is not None

    @contextmanager
    def acts(self, act: Callable[[], object]) -> Iterator[None]:
        """Inside the block a request calls `act`, from the handler; one that came before calls it now."""
        self._act = act
        try:
            if self.asked():
                act()
            yield
        finally:
            self._act = None

    def ended(self, said: str) -> KeyboardInterrupt:
        """What to raise for the request that was made, with what the command line is to say of where things stand."""
        return Terminated(said) if self._number == signal.SIGTERM else KeyboardInterrupt(said)


class StoppingRunner(asyncio.Runner):
    """A runner that a request to stop ends: what it runs is cancelled, what it is given later is not begun, and `run` raises CancelledError."""

    def __init__(self, stop: Stop):
        super().__init__()
        self._stop = stop

    def run(self, coro: Coroutine[Any, Any, T], *, context: Context | None = None) -> T:
        return super().run(self._until_asked(coro), context=context)

    def run_to_its_end(self, coro: Coroutine[Any, Any, T]) -> T:
        """What has to run whatever was asked."""
        return super().run(coro)

    async def _until_asked(self, coro: Coroutine[Any, Any, T]) -> T:
        task, loop = asyncio.ensure_future(coro), asyncio.get_running_loop()

        def cancel() -> None:
            task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # wakes it up

        with self._stop.acts(cancel):
            return await task
