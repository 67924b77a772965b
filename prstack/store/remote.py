"""A run that lies in a store (an object store, HDFS, any folder by URL) and is worked on in a staging folder here.

    s3://bucket/runs/a/                           $PRSTACK_STAGING or ~/.cache/prstack/runs, then <hash of the URL>/a/
        run.json world/ synthesis/ …  the run         run.json world/ synthesis/ …
        .prstack/index-<number>-<writer>              .store.json   whose index is this folder's; checksums of its files
        .prstack/new/<checksum>  begun  lease         .pushing/     hard links to the files of a push

An index is the list of all files of a run with their bytes and checksums, and the id of the staging folder that wrote it. The newest
whole index is the run: what lies in the store and is not in it is not of the run. Objects are written under names that no index holds:

  start  1. The lease: one process at a time.
         2. The newest index is another folder's: files that differ are pulled, files that it does not list go. It is this folder's
            own: what lies here is as new or newer, and stays.
         3. An index of this folder's own says that the run goes on here; who is still working elsewhere sees it and ends.
  push   1. A snapshot: hard links to what is new here, between two looks at the folder that saw the same (files that only grow,
            *.jsonl and wandb/, up to their length then). Hidden files, links and rl/weights stay here.
         2. `begun` lists the new names; new files go to their names, changed ones to .prstack/new/<checksum>.
         3. The next index: the push is done. `redo` in it names the changed files.
         4. Changed files are copied to their names, manifests and run.json last; what is gone here is deleted there; then
            .prstack/new, `begun` and older indexes. Whoever comes after a kill does this step anew before anything else.

Invariants: a kill at any moment of a push leaves the run as it was before or as it was to be, to the byte, and no third thing; no file
of the run is deleted or overwritten before the index that has its replacement is there; a snapshot is a state in which the folder was,
so it resumes as a run resumes that was killed then. Nothing depends on renames, appending or locks in the store.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from prstack.errors import UserError
from prstack.secrets import without_secrets
from prstack.store.parts import write_text
from prstack.store.published import checksum
from prstack.store.records import canonical_json

HIDDEN, STATE, LINKS = ".prstack", ".store.json", ".pushing"
BEGUN, NEW = f"{HIDDEN}/begun", f"{HIDDEN}/new"
NOT_KEPT = ("rl/weights",)
"""Folders that a run taken up again makes anew."""
LAST = {"latest": 1, "built": 1, "progress.json": 1, "manifest.json": 2, "run.json": 3}
"""Files that say that others are whole come after those, for whoever looks at the store without its index."""
OBJECT_STORES = ("s3", "gcs", "abfs")
"""pyarrow's file systems in which a folder is made by what lies in it; the first part of a path is the bucket."""
CHUNK, AT_ONCE, TRIES = 8 << 20, 8, 5
BEAT, STALE, LONG_AGO, SETTLE = 20.0, 180.0, 1800.0, 0.5
"""Seconds: between two signs of life; of silence after which a holder is taken for dead; after which by its own clock, without watching
it; that a second process has to overwrite a lease just written."""


class Superseded(UserError):
    """Another staging folder has gone on with the run."""


class _Moving(Exception):
    """The staging folder changed while it was looked at."""


class _Changed(Exception):
    """The store changed while it was read, or does not hold what its index says."""


# --- where ----------------------------------------------------------------------------------------------------------
def is_url(text: str) -> bool:
    return bool(re.match(r"[A-Za-z][\w+.-]*://", text))


def url_of(place: str | Path) -> str | None:
    """The URL of the run that `place` names, as a URL or by its staging folder; None for any other folder. Raises UserError for a URL with a
    secret in it."""
    if not is_url(str(place)):
        state = _read_state(Path(place))
        return state["url"] if state else None
    url = str(place)
    if without_secrets(url) != url:
        raise UserError(f"run_dir={without_secrets(url)}: a URL holds no user and no key; credentials come from the environment or the store's own files (docs/runs.md)")
    return re.sub(r"(?<![/:])/+$", "", url)


def staging_folder(url: str) -> Path:
    """Where the run at `url` is worked on here."""
    root = Path(os.environ.get("PRSTACK_STAGING") or Path.home() / ".cache" / "prstack" / "runs")
    return root / hashlib.sha256(url.encode()).hexdigest()[:16] / (re.sub(r"[^\w.-]", "_", url.partition("?")[0].rstrip("/").rpartition("/")[2]).lstrip(".") or "run")


def connect(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there: pyarrow's own, or fsspec's for a scheme that pyarrow does not know. Raises UserError."""
    from pyarrow import fs

    try:
        found, path = fs.FileSystem.from_uri(url)
    except pa.ArrowInvalid as e:
        if "Unrecognized filesystem" not in str(e):
            raise UserError(f"run_dir={url}: {_first_line(e)}") from e
        try:
            import fsspec

            handler, path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as problem:
            raise UserError(f"run_dir={url}: neither pyarrow nor fsspec opens it here ({_first_line(problem)})") from e
        found = fs.PyFileSystem(fs.FSSpecHandler(handler))
    except (OSError, pa.ArrowException) as e:
        raise UserError(f"run_dir={url}: {_first_line(e)}") from e
    if len(path.strip("/").split("/")) < 1 + (found.type_name in OBJECT_STORES) or not path.strip("/"):
        raise UserError(f"run_dir={url}: name a folder in it")
    return found, path.rstrip("/")


class Objects:
    """The objects below a URL by their names (`synthesis/manifest.json`). Raises OSError and pyarrow.ArrowException."""

    def __init__(self, url: str):
        self.url = url
        self._fs, self._root = connect(url)
        self._made: set[str] = set()

    def list(self, under: str = "") -> dict[str, int]:
        """Name → bytes of all objects, or of those in the folder `under`."""
        from pyarrow import fs

        if invalidate := getattr(getattr(getattr(self._fs, "handler", None), "fs", None), "invalidate_cache", None):
            invalidate()  # fsspec remembers listings
        found = self._fs.get_file_info(fs.FileSelector(self._at(under), recursive=True, allow_not_found=True))
        start = len(self._root.lstrip("/")) + 1
        return {i.path.lstrip("/")[start:]: i.size or 0 for i in found if i.type == fs.FileType.File}

    def read(self, name: str) -> bytes:
        with self._fs.open_input_stream(self._at(name), compression=None) as source:
            return source.read()

    def put(self, name: str, data: bytes) -> None:
        with self._create(name) as out:
            out.write(data)

    def upload(self, file: Path, size: int, name: str) -> str:
        """Sends the first `size` bytes of a file; their checksum."""
        with open(file, "rb") as source, self._create(name) as out:
            return _copy(source, size, out.write)

    def download(self, name: str, file: Path) -> tuple[int, str]:
        """Bytes and checksum of what arrived."""
        with self._fs.open_input_stream(self._at(name), compression=None) as source, open(file, "wb") as out:
            digest = _copy(source, None, out.write)
            return out.tell(), digest

    def copy(self, name: str, to: str) -> None:
        self._folder(to)
        try:
            self._fs.copy_file(self._at(name), self._at(to))
        except NotImplementedError:  # HDFS
            with self._fs.open_input_stream(self._at(name), compression=None) as source, self._create(to) as out:
                _copy(source, None, out.write)

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _create(self, name: str) -> Any:
        self._folder(name)
        return self._fs.open_output_stream(self._at(name), compression=None)

    def _folder(self, name: str) -> None:
        folder = name.rpartition("/")[0]
        if self._fs.type_name not in OBJECT_STORES and folder not in self._made:
            self._fs.create_dir(self._at(folder), recursive=True)
            self._made.add(folder)


@dataclass(slots=True)
class Index:
    """The files of a run: name → [bytes, checksum], and its empty folders. `redo`: files whose object may still be the one before, while
    .prstack/new/<checksum> is there."""

    number: int = 0
    writer: str = ""
    files: dict[str, list] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    redo: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{HIDDEN}/index-{self.number:08d}-{self.writer}"

    def data(self) -> bytes:
        body = canonical_json(asdict(self)).encode()
        return checksum(body).encode() + b"\n" + body

    @staticmethod
    def parse(data: bytes) -> Index | None:
        """None for what is not whole. Raises UserError for names that lead out of the run."""
        digest, _, body = data.partition(b"\n")
        if checksum(body).encode() != digest:
            return None
        try:
            index = Index(**json.loads(body))
        except TypeError as e:
            raise UserError(f"the index of the run is of another release of prstack ({e})") from e
        if wrong := [n for n in [*index.files, *index.folders] if not _safe(n)]:
            raise UserError(f"the index of the run names {wrong[0]!r}, which is no file of a run")
        return index


# --- the two folders ------------------------------------------------------------------------------------------------
class Staging:
    """A staging folder and its run in the store; one thread at a time. Raises UserError, OSError, pyarrow.ArrowException."""

    def __init__(self, url: str, folder: Path):
        self.objects, self.folder = Objects(url), folder
        state = _read_state(folder) or {"id": uuid.uuid4().hex[:12], "files": {}}
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
            except _Changed as e:
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
                    raise _Moving(name)

            for some in _ranked(sent):
                _each(send, some)
            if max(filter(_is_index, self.objects.list(HIDDEN)), default="") != top.name:
                raise self._superseded()
            index = Index(top.number + 1, self.id, files, folders, changed)
            self.objects.put(index.name, index.data())
            self._settle(index, self.objects.list(HIDDEN))
        finally:
            shutil.rmtree(self.folder / LINKS, ignore_errors=True)
            self._save()
        return len(sent), sum(files[n][0] for n in sent)

    def _newest(self, listing: Iterable[str]) -> Index | None:
        for name in sorted(filter(_is_index, listing), reverse=True):
            try:
                if index := Index.parse(self.objects.read(name)):
                    return index
            except FileNotFoundError as e:
                raise _Changed(name) from e
        return None

    def _adopted(self) -> Index:
        """A run that was copied into the store by other means has no index: it is what lies there."""
        return Index(files={n: [size, ""] for n, size in self.objects.list().items() if _safe(n)})

    def _take(self, index: Index) -> None:
        """Makes the folder what the index says. Raises _Changed."""
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
                    raise _Changed(name) from e
                if digest and got != (size, digest):
                    raise _Changed(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(tmp, target)
                self._known[name] = [*_stat(target.stat()), got[1]]
            index.files[name] = [self._known[name][0], self._known[name][3]]

        try:
            _each(fetch, list(index.files))
        finally:
            self._save()
        for folder in index.folders:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / LINKS, ignore_errors=True)

    def _settle(self, index: Index, listing: Iterable[str]) -> None:
        """Step 4 of a push, however far it has come; nothing where all of it is done. `listing`: what lies in .prstack."""
        left, others = set(), [n for n in listing if _is_index(n) and n != index.name]
        for some in _ranked(n for n in index.redo if f"{NEW}/{index.files[n][1]}" in listing):
            _each(lambda n: self.objects.copy(f"{NEW}/{index.files[n][1]}", n), some)
        for name in others:
            old = Index.parse(self.objects.read(name))
            left |= set(old.files) if old else set()
        if BEGUN in listing:
            with contextlib.suppress(ValueError):  # cut off: nothing was sent after it
                left |= {n for n in json.loads(self.objects.read(BEGUN)) if _safe(n)}
        _each(self.objects.delete, left - index.files.keys())
        _each(self.objects.delete, (n for n in listing if n.startswith(f"{NEW}/")))
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
        known then. Raises _Moving."""
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
        raise _Moving(str(self.folder))

    def _digest(self, name: str, stat: tuple[int, int, int], file: Path) -> str:
        """The checksum of the first `stat` bytes of a file, computed when it is not known of a file of this stat."""
        known = self._known.get(name)
        if not known or tuple(known[:3]) != stat:
            with open(file, "rb") as source:
                known = self._known[name] = [*stat, _copy(source, stat[0], lambda _: None)]
        return known[3]

    def _superseded(self) -> Superseded:
        return Superseded(f"{self.objects.url}: another process has gone on with this run; what was not stored yet lies in {self.folder}")

    def _save(self) -> None:
        write_text(json.dumps({"url": self.objects.url, "id": self.id, "files": self._known}), self.folder / STATE)


# --- one process at a time ------------------------------------------------------------------------------------------
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
        except _Moving:
            pass  # the next one will do
        except Exception as e:  # a store's client raises many kinds; the run goes on, and close() says what is not stored
            if (said := f"{type(e).__name__}: {_first_line(e)}") != self._said:
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


# --- small parts ----------------------------------------------------------------------------------------------------
def _end_command() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as e:
        raise UserError(f"run_dir={url}: {_first_line(e)}") from e


def _first_line(e: Exception) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0]


def _read_state(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as e:
        raise UserError(f"{folder / STATE}: not what prstack writes there ({e}); remove {folder}, the run lies in its store") from e


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


def _is_index(name: str) -> bool:
    return name.startswith(f"{HIDDEN}/index-")


def _safe(name: str) -> bool:
    return isinstance(name, str) and all(part and not part.startswith(".") for part in name.split("/"))


def _stat(s: os.stat_result) -> tuple[int, int, int]:
    return s.st_size, s.st_mtime_ns, s.st_ino


def _steady(files: dict[str, tuple[int, int, int]]) -> dict[str, Any]:
    """The files as a snapshot compares them: of those that grow, that they are there."""
    return {n: None if n.endswith((".jsonl", ".log")) or n.startswith(("wandb/", "logs/")) else stat for n, stat in files.items()}


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _ranked(names: Iterable[str]) -> list[list[str]]:
    by = {rank: [] for rank in range(4)}
    for name in names:
        by[LAST.get(name.rpartition("/")[2], 0)].append(name)
    return list(by.values())


def _copy(source: Any, size: int | None, write: Callable[[bytes], Any]) -> str:
    """Passes on `size` bytes, or all; their checksum. Raises _Moving when there are fewer."""
    digest, left = xxhash.xxh3_128(), size
    while left is None or left:
        piece = source.read(CHUNK if left is None else min(CHUNK, left))
        if not piece:
            if left is None:
                break
            raise _Moving("a file has become shorter")
        digest.update(piece)
        write(piece)
        left = None if left is None else left - len(piece)
    return digest.hexdigest()


def _each(act: Callable[[str], None], names: Iterable[str]) -> None:
    """Calls `act` for every name, AT_ONCE at a time. Raises the first failure, after which nothing new begins; so does Ctrl-C."""
    left, failed = deque(names), []

    def work() -> None:
        while not failed:
            try:
                name = left.popleft()
            except IndexError:
                return
            try:
                act(name)
            except BaseException as e:
                failed.append(e)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(left)) - 1)]
    try:
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
    except BaseException as e:
        failed.append(e)
        raise
    if failed:
        raise failed[0]
