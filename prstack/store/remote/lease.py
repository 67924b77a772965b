"""One process at a time in a run that lies in a store."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.store.remote.index import HIDDEN
from prstack.store.remote.objects import TRIES, Objects

BEAT, STALE, LONG_AGO, SETTLE = 20.0, 180.0, 1800.0, 0.5
"""Seconds: between two signs of life; of silence after which a holder is taken for dead; after which by its own clock, without watching
it; that a second process has to overwrite a lease just written."""


class Lease:
    """The object .prstack/lease, rewritten every BEAT seconds. A store has no locks: two that start within SETTLE seconds of each other may
    both go on, until the index of one shows the other that it is not alone."""

    NAME = f"{HIDDEN}/lease"

    def __init__(self, objects: Objects):
        import psutil

        self._objects, self.token = objects, uuid.uuid4().hex
        self._says = {"token": self.token, "host": socket.gethostname(), "machine": _machine(), "pid": os.getpid(), "started": psutil.Process().create_time(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}

    def take(self) -> None:
        """Returns when nobody else is there: at once where no lease is left or its process is known to be dead, else after STALE seconds
        without a sign of life. Raises UserError at the first sign of life."""
        first, start, now = self._read(), time.monotonic(), time.time()
        if first and not self._dead(first):
            found, waits = _parsed(first), now - _parsed(first).get("time", now) < LONG_AGO
            if found.get("machine") == self._says["machine"]:
                raise self._held(found)
            if waits:
                print(f"{self._objects.url}: {found.get('host')} (process {found.get('pid')}) has not ended its work there; waiting up to {STALE:g} s for a sign of life", flush=True)
            while waits and time.monotonic() - start < STALE and (later := self._read()):
                if later != first:
                    raise self._held(_parsed(later))
                time.sleep(BEAT / 4)
        self.beat()
        time.sleep(SETTLE)
        if not self.ours():
            raise self._held(_parsed(self._read() or ""))

    def beat(self) -> None:
        self._objects.put(self.NAME, json.dumps(self._says | {"time": time.time()}).encode())

    def ours(self) -> bool:
        """False when somebody else has taken it."""
        text = self._read()
        return not text or _parsed(text).get("token") == self.token

    def release(self) -> None:
        if self.ours():
            self._objects.delete(self.NAME)

    def _read(self) -> str:
        """The lease, empty when there is none. One that is being written is read again, and given as it is when it stays so."""
        for _ in range(TRIES):
            try:
                text = self._objects.read(self.NAME).decode(errors="replace")
            except FileNotFoundError:
                return ""
            if _parsed(text):
                break
            time.sleep(SETTLE / TRIES)
        return text or "?"

    def _dead(self, text: str) -> bool:
        """Whether the process was one of this machine and is not there any more."""
        import psutil

        found = _parsed(text)
        if found.get("machine") != self._says["machine"]:
            return False
        try:
            return abs(psutil.Process(found["pid"]).create_time() - found["started"]) > 1
        except psutil.NoSuchProcess:
            return True

    def _held(self, found: dict[str, Any]) -> UserError:
        return UserError(f"{self._objects.url}: another prstack process is writing there (process {found.get('pid')} on {found.get('host')}, since {found.get('since')}); end it first, or give another run_dir=")


def _machine() -> str:
    """This machine as long as it runs, and the processes that it counts: two with one name, or two containers, are told apart."""
    found = [socket.gethostname()]
    with contextlib.suppress(OSError):
        found += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(found)


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
