"""The two folders of a run, here and in the store: what makes the one what the other is."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.store.parts import write_text
from prstack.store.remote.index import BEGUN, HIDDEN, NEW, Index, is_index, is_name, ranked
from prstack.store.remote.objects import TRIES, Moving, Objects, copy_bytes, each
from prstack.store.remote.places import STATE, read_state

LINKS = ".pushing"
NOT_KEPT = ("rl/weights",)
"""Folders that a run taken up again makes anew."""
SETTLE = 0.5
"""Seconds until a store that changed while it was read is read again."""


class Superseded(UserError):
    """Another staging folder has gone on with the run."""


class Changed(Exception):
    """The store changed while it was read, or does not hold what its index says."""


class Staging:
    """A staging folder and its run in the store; one thread at a time. Raises UserError, OSError, pyarrow.ArrowException."""

    def __init__(self, url: str, folder: Path):
        self.objects, self.folder = Objects(url), folder
        state = read_state(folder) or {"id": uuid.uuid4().hex[:12], "files": {}}
        self.id: str = state["id"]
        self._known: dict[str, list] = state["files"]
        """Name → [bytes, mtime in ns, inode, checksum] as last looked at."""
        self._save()

    def pull(self, claim: bool) -> bool:
        """Makes the folder what the store holds, unless it is ahead of it; `claim`: the run goes on here. Whether there was a run."""
        begun = (self.folder / "run.json").exists()  # else somebody has emptied the folder
        for attempt in range(TRIES):
            try:
                index = self._newest(self.objects.list(HIDDEN)) or self._adopted()
                if begun and not index.number and not index.files:
                    raise UserError(f"{self.objects.url} is empty, while {self.folder} holds a run of it: remove that folder to begin anew, or copy it to where the run is to lie")
                ahead = begun and index.writer == self.id
                if not ahead:
                    self._take(index)
                break
            except Changed as e:
                if attempt == TRIES - 1:
                    raise UserError(f"{self.objects.url}/{e}: not what the index of the run says; remove the run there, or give another run_dir=") from e
                time.sleep(SETTLE)
        if claim and not ahead:
            self._settle(index, self.objects.list(HIDDEN))
            self.objects.put((own := Index(index.number + 1, self.id, index.files, index.folders)).name, own.data())
        return bool(index.files)

    def push(self) -> tuple[int, int]:
        """Brings the store to what the folder holds; number and bytes of the files that were sent. Raises Superseded."""
        listing = self.objects.list(HIDDEN)
        top = self._newest(listing)
        if top is None or top.writer != self.id:
            raise self._superseded()
        self._settle(top, listing)
        try:
            seen, folders, links = self._snapshot(top)
            files = {name: [seen[name][0], self._known[name][3]] for name in sorted(seen)}
            fresh, changed = [n for n in links if n not in top.files], [n for n in links if top.files.get(n, files[n]) != files[n]]
            if files == top.files and folders == top.folders:
                return 0, 0
            if fresh:
                self.objects.put(BEGUN, json.dumps(fresh).encode())
            sent = {n: n for n in fresh} | {n: f"{NEW}/{files[n][1]}" for n in changed}

            def send(name: str) -> None:
                if self.objects.upload(links[name], files[name][0], sent[name]) != files[name][1]:
                    raise Moving(name)

            for some in ranked(sent):
                each(send, some)
            if max(filter(is_index, self.objects.list(HIDDEN)), default="") != top.name:
                raise self._superseded()
            index = Index(top.number + 1, self.id, files, folders, changed)
            self.objects.put(index.name, index.data())
            self._settle(index, self.objects.list(HIDDEN))
        finally:
            shutil.rmtree(self.folder / LINKS, ignore_errors=True)
            self._save()
        return len(sent), sum(files[n][0] for n in sent)

    def _newest(self, listing: Iterable[str]) -> Index | None:
        for name in sorted(filter(is_index, listing), reverse=True):
            try:
                if index := Index.parse(self.objects.read(name)):
                    return index
            except FileNotFoundError as e:
                raise Changed(name) from e
        return None

    def _adopted(self) -> Index:
        """A run that was copied into the store by other means has no index: it is what lies there."""
        return Index(files={n: [size, ""] for n, size in self.objects.list().items() if is_name(n)})

    def _take(self, index: Index) -> None:
        """Makes the folder what the index says. Raises Changed."""
        (self.folder / LINKS).mkdir(parents=True, exist_ok=True)
        seen, folders = self._scan()
        stray = seen.keys() - index.files.keys()
        for name in stray:
            (self.folder / name).unlink(missing_ok=True)
        if stray:
            print(f"{self.objects.url}: {len(stray)} files that only {self.folder} held are gone; the run went on elsewhere without them", flush=True)
        for folder in sorted({p for n in [*stray, *(f + "/" for f in folders)] for p in _parents(n)} - set(index.folders), key=len, reverse=True):
            with contextlib.suppress(OSError):
                (self.folder / folder).rmdir()
        new = self.objects.list(NEW)

        def fetch(name: str) -> None:
            size, digest = index.files[name]
            target, tmp = self.folder / name, self.folder / LINKS / hashlib.sha256(name.encode()).hexdigest()
            if name not in seen or [seen[name][0], self._digest(name, seen[name], target)] != [size, digest]:
                source = f"{NEW}/{digest}"
                try:
                    got = self.objects.download(source if name in index.redo and source in new else name, tmp)
                except FileNotFoundError as e:
                    raise Changed(name) from e
                if digest and got != (size, digest):
                    raise Changed(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(tmp, target)
                self._known[name] = [*_stat(target.stat()), got[1]]
            index.files[name] = [self._known[name][0], self._known[name][3]]

        try:
            each(fetch, list(index.files))
        finally:
            self._save()
        for folder in index.folders:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / LINKS, ignore_errors=True)

    def _settle(self, index: Index, listing: Iterable[str]) -> None:
        """Step 4 of a push, however far it has come; nothing where all of it is done. `listing`: what lies in .prstack."""
        left, others = set(), [n for n in listing if is_index(n) and n != index.name]
        for some in ranked(n for n in index.redo if f"{NEW}/{index.files[n][1]}" in listing):
            each(lambda n: self.objects.copy(f"{NEW}/{index.files[n][1]}", n), some)
        for name in others:
            old = Index.parse(self.objects.read(name))
            left |= set(old.files) if old else set()
        if BEGUN in listing:
            with contextlib.suppress(ValueError):  # cut off: nothing was sent after it
                left |= {n for n in json.loads(self.objects.read(BEGUN)) if is_name(n)}
        each(self.objects.delete, left - index.files.keys())
        each(self.objects.delete, (n for n in listing if n.startswith(f"{NEW}/")))
        for name in [BEGUN] * (BEGUN in listing) + others:
            self.objects.delete(name)

    def _scan(self) -> tuple[dict[str, tuple[int, int, int]], list[str]]:
        """Name → (bytes, mtime in ns, inode) of the files of the run, and its empty folders."""
        files, empty, waiting = {}, [], [""]
        while waiting:
            folder = waiting.pop()
            with os.scandir(self.folder / folder) as entries:
                inside = [e for e in entries if not e.name.startswith(".") and not e.is_symlink()]
            if folder and not inside:
                empty.append(folder)
            for entry in inside:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    waiting += [name] if name not in NOT_KEPT else []
                elif entry.is_file():
                    files[name] = _stat(entry.stat())
        return files, sorted(empty)

    def _snapshot(self, top: Index) -> tuple[dict[str, tuple[int, int, int]], list[str], dict[str, Path]]:
        """What the folder holds at one moment, and links to the files that are not in the store as they are here; their checksums are
        known then. Raises Moving."""
        for attempt in range(TRIES):
            shutil.rmtree(self.folder / LINKS, ignore_errors=True)
            (self.folder / LINKS).mkdir()
            links: dict[str, Path] = {}
            try:
                files, folders = self._scan()
                for name, stat in files.items():
                    known = self._known.get(name)
                    if not known or tuple(known[:3]) != stat or [stat[0], known[3]] != top.files.get(name):
                        links[name] = self.folder / LINKS / str(len(links))
                        os.link(self.folder / name, links[name])
                again, folders_again = self._scan()
                if (_steady(files), folders) == (_steady(again), folders_again):
                    for name, link in links.items():
                        self._digest(name, files[name], link)
                    return files, folders, links
            except OSError as e:
                if e.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                    raise UserError(f"{self.folder}: the file system has no hard links; set PRSTACK_STAGING to a folder of one that has") from e
                if not isinstance(e, FileNotFoundError | NotADirectoryError):
                    raise
            time.sleep(0.1 * 2**attempt)
        raise Moving(str(self.folder))

    def _digest(self, name: str, stat: tuple[int, int, int], file: Path) -> str:
        """The checksum of the first `stat` bytes of a file, computed when it is not known of a file of this stat."""
        known = self._known.get(name)
        if not known or tuple(known[:3]) != stat:
            with open(file, "rb") as source:
                known = self._known[name] = [*stat, copy_bytes(source, stat[0], lambda _: None)]
        return known[3]

    def _superseded(self) -> Superseded:
        return Superseded(f"{self.objects.url}: another process has gone on with this run; what was not stored yet lies in {self.folder}")

    def _save(self) -> None:
        write_text(json.dumps({"url": self.objects.url, "id": self.id, "files": self._known}), self.folder / STATE)


def _stat(s: os.stat_result) -> tuple[int, int, int]:
    return s.st_size, s.st_mtime_ns, s.st_ino


def _steady(files: dict[str, tuple[int, int, int]]) -> dict[str, Any]:
    """The files as a snapshot compares them: of those that grow, that they are there."""
    return {n: None if n.endswith((".jsonl", ".log")) or n.startswith(("wandb/", "logs/")) else stat for n, stat in files.items()}


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]
