"""Reading and writing in a store, whatever opens it."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from prstack.errors import UserError

OBJECT_STORES = ("s3", "gcs", "abfs")
"""pyarrow's file systems in which a folder is made by what lies in it; the first part of a path is the bucket."""
CHUNK, AT_ONCE, TRIES = 8 << 20, 8, 5


class Moving(Exception):
    """The staging folder changed while it was looked at."""


def connect(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there: pyarrow's own, or fsspec's for a scheme that pyarrow does not know. Raises UserError."""
    from pyarrow import fs

    try:
        found, path = fs.FileSystem.from_uri(url)
    except pa.ArrowInvalid as e:
        if "Unrecognized filesystem" not in str(e):
            raise UserError(f"run_dir={url}: {first_line(e)}") from e
        try:
            import fsspec

            handler, path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as problem:
            raise UserError(f"run_dir={url}: neither pyarrow nor fsspec opens it here ({first_line(problem)}); install fsspec's package for it, or name a folder, file://, s3://, gs:// or hdfs://") from e
        found = fs.PyFileSystem(fs.FSSpecHandler(handler))
    except (OSError, pa.ArrowException) as e:
        raise UserError(f"run_dir={url}: {first_line(e)}") from e
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
            return copy_bytes(source, size, out.write)

    def download(self, name: str, file: Path) -> tuple[int, str]:
        """Bytes and checksum of what arrived."""
        with self._fs.open_input_stream(self._at(name), compression=None) as source, open(file, "wb") as out:
            digest = copy_bytes(source, None, out.write)
            return out.tell(), digest

    def copy(self, name: str, to: str) -> None:
        self._folder(to)
        try:
            self._fs.copy_file(self._at(name), self._at(to))
        except NotImplementedError:  # HDFS
            with self._fs.open_input_stream(self._at(name), compression=None) as source, self._create(to) as out:
                copy_bytes(source, None, out.write)

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


def copy_bytes(source: Any, size: int | None, write: Callable[[bytes], Any]) -> str:
    """Passes on `size` bytes, or all; their checksum. Raises Moving when there are fewer."""
    digest, left = xxhash.xxh3_128(), size
    while left is None or left:
        piece = source.read(CHUNK if left is None else min(CHUNK, left))
        if not piece:
            if left is None:
                break
            raise Moving("a file has become shorter")
        digest.update(piece)
        write(piece)
        left = None if left is None else left - len(piece)
    return digest.hexdigest()


def each(act: Callable[[str], None], names: Iterable[str]) -> None:
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


def first_line(e: Exception) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0]
