"""A run in a store while a process works on it, or reads it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from prstack.errors import UserError
from prstack.store.remote.lease import BEAT, Lease
from prstack.store.remote.objects import TRIES, Moving, first_line
from prstack.store.remote.places import staging_folder
from prstack.store.remote.staging import Staging, Superseded


class Remote:
    """A run in a store while this process works on it: pulled at the start, pushed every `every` seconds, when `wake` is called, and by
    `close`. The caller holds the staging folder's lock."""

    def __init__(self, url: str, folder: Path, every: float):
        self.url, self._every, self._said, self.lost = url, every, "", False
        self._wake, self._over, self._stored = threading.Event(), threading.Event(), threading.Event()
        with _explained(url):
            self.staging = Staging(url, folder)
            self.lease = Lease(self.staging.objects)
            self.lease.take()
            try:
                self.staging.pull(claim=True)
            except BaseException:
                self.lease.release()
                raise
        self._threads = [threading.Thread(target=act, name=f"prstack-{act.__name__}", daemon=True) for act in (self._pushing, self._beating)]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Something is finished: the next push begins now."""
        self._wake.set()

    def close(self) -> bool:
        """Pushes what is left and gives the run free; whether all of it is in the store. A push that fails is tried TRIES times."""
        self._over.set()
        self._wake.set()
        self._threads[0].join()
        stored = False
        for attempt in range(0 if self.lost else TRIES):
            if stored := self._push():
                print(f"stored: {self.url}", flush=True)
                break
            time.sleep(attempt)
        self._stored.set()
        self._threads[1].join()
        with contextlib.suppress(OSError, pa.ArrowException):
            self.lease.release()
        if not stored:
            print(f"prstack: {self.url} lacks the newest of the run, which lies in {self.staging.folder}; the same command here stores it", file=sys.stderr, flush=True)
        return stored

    def _push(self) -> bool:
        try:
            self.staging.push()
            self._said = ""
            return True
        except Superseded as e:
            self._lose(str(e))
        except Moving:
            pass  # the next one will do
        except Exception as e:  # a store's client raises many kinds; the run goes on, and close() says what is not stored
            if (said := f"{type(e).__name__}: {first_line(e)}") != self._said:
                print(f"{self.url}: could not be written ({said}); it is tried again", file=sys.stderr, flush=True)
                self._said = said
        return False

    def _pushing(self) -> None:
        while not self._over.is_set():
            self._wake.wait(self._every)
            self._wake.clear()
            if not self._over.is_set() and not self.lost:
                self._push()

    def _beating(self) -> None:
        while not self._stored.wait(BEAT) and not self.lost:
            with contextlib.suppress(Exception):
                if self.lease.ours():
                    self.lease.beat()
                else:
                    self._lose(f"{self.url}: another process has taken over this run; what was not stored yet lies in {self.staging.folder}")

    def _lose(self, why: str) -> None:
        if not self.lost:
            self.lost = True
            print(f"prstack: {why}", file=sys.stderr, flush=True)
            if not self._over.is_set():
                _end_command()


def pulled(url: str) -> Path:
    """The staging folder of a run, brought up to date to be read; as it is where a process of this machine works in it. Raises UserError."""
    folder = staging_folder(url)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+") as lock, _explained(url):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return folder
        if not Staging(url, folder).pull(claim=False):
            raise UserError(f"{url}: there is no run")
    return folder


def _end_command() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as e:
        raise UserError(f"run_dir={url}: {first_line(e)}") from e
