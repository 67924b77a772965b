"""A store that can be cut off at any change, and machines that work on runs in it: what the tests of prstack.store.remote share."""

import io
import threading
import uuid
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from prstack.store.remote import lease, objects, run, staging
from prstack.store.remote.staging import Staging


class Killed(BaseException):
    """The process is gone: nothing that it does after this reaches the store."""


class Store(fs.FileSystemHandler):
    """A real file system of pyarrow's, that can be cut off at its n-th change. `torn`: a write that is cut off leaves its first half, as on a
    file system whose files appear before they are whole."""

    def __init__(self, inner, copies=True, cut=None, torn=False, error=Killed):
        self.inner, self.copies, self.cut, self.torn, self.error = inner, copies, cut, torn, error
        self.changes, self.reads, self.lock = 0, [], threading.Lock()

    def change(self):
        with self.lock:
            self.changes += 1
            if self.cut is not None and self.changes > self.cut:
                raise self.error("cut off")

    def open_output_stream(self, path, metadata):
        store = self

        class Out(io.BytesIO):
            def close(self):
                if not self.closed:
                    data = self.getvalue()
                    super().close()
                    try:
                        store.change()
                    except BaseException:
                        data = data[: len(data) // 2] if store.torn and store.changes == store.cut + 1 else None
                        raise
                    finally:
                        if data is not None:
                            with store.inner.open_output_stream(path, compression=None) as out:
                                out.write(data)

        return pa.PythonFile(Out(), mode="w")

    def open_input_stream(self, path):
        self.reads.append(path)
        return self.inner.open_input_stream(path, compression=None)

    def copy_file(self, src, dest):
        if not self.copies:
            raise NotImplementedError("no copies here")
        with self.open_output_stream(dest, None) as out:
            out.write(self.inner.open_input_stream(src, compression=None).read())

    def delete_file(self, path):
        self.change()
        self.inner.delete_file(path)

    def get_type_name(self):
        return "store"

    def normalize_path(self, path):
        return path

    def get_file_info(self, paths):
        return self.inner.get_file_info(paths)

    def get_file_info_selector(self, selector):
        return self.inner.get_file_info(selector)

    def create_dir(self, path, recursive):
        self.inner.create_dir(path, recursive=recursive)

    def open_input_file(self, path):
        raise NotImplementedError

    open_append_stream = move = delete_dir = delete_dir_contents = delete_root_dir_contents = open_input_file
    __eq__ = object.__eq__
    __ne__ = object.__ne__


def everywhere(monkeypatch, **values):
    """Sets constants in every module that has them."""
    for name, value in values.items():
        having = [module for module in (objects, staging, lease, run) if hasattr(module, name)]
        assert having, name
        for module in having:
            monkeypatch.setattr(module, name, value)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def tree(folder: Path) -> dict[str, str]:
    """What is of the run in a folder: its files, and its empty folders with a slash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or path.is_symlink():
            continue
        if path.is_file():
            found[name] = path.read_text()
        elif not any(path.iterdir()):
            found[name + "/"] = ""
    return found


def files(folder: Path) -> dict[str, str]:
    return {n: text for n, text in tree(folder).items() if not n.endswith("/")}


def become(folder: Path, wanted: dict[str, str]) -> None:
    """Makes a folder hold what `tree` said of another."""
    for name in tree(folder):
        (folder / name).rmdir() if name.endswith("/") else (folder / name).unlink()
    write(folder, {n: text for n, text in wanted.items() if not n.endswith("/")})
    for path in sorted((p for p in folder.rglob("*") if p.is_dir() and not p.name.startswith(".")), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    for name in wanted:
        if name.endswith("/"):
            (folder / name).mkdir(parents=True, exist_ok=True)


BEFORE = {
    "run.json": "{}",
    "metrics.jsonl": "1\n2\n",
    "synthesis/manifest.json": "partial",
    "synthesis/trajectories/part-000000.parquet": "zero",
    "sft/manifest.json": "partial",
    "sft/steps.jsonl": "1\n2\n",
    "sft/checkpoints/latest": "step-1",
    "sft/checkpoints/step-1/progress.json": "1",
    "sft/checkpoints/step-1/shard": "weights of 1",
    "sft/model/model.safetensors": "model of 1",
    "world/reviews/": "",
}
AFTER = {
    "run.json": '{"finished": true}',
    "metrics.jsonl": "1\n2\n3\n",
    "synthesis/manifest.json": "complete",
    "synthesis/trajectories/part-000000.parquet": "zero",
    "synthesis/trajectories/part-000001.parquet": "one",
    "sft/manifest.json": "complete",
    "sft/steps.jsonl": "1\n2\n3\n",
    "sft/checkpoints/latest": "step-3",
    "sft/checkpoints/step-3/progress.json": "3",
    "sft/checkpoints/step-3/shard": "weights of 3",
    "sft/model/model.safetensors": "model of 3",
    "sft/model/config.json": "{}",
    "distill/rejected/": "",
}
"""Two states of a run: a part and a checkpoint came, a checkpoint and an empty folder went, files were rewritten and grew."""


def machine(path: Path, url: str, state: dict | None = None, claim=True) -> Staging:
    """A staging folder that has taken up the run at `url`."""
    path.mkdir(exist_ok=True)
    staging = Staging(url, path)
    staging.pull(claim=claim)
    if state is not None:
        become(path, state)
    return staging


STORES = {
    "file": lambda tmp: (f"file://{tmp}/store/a", None),
    "fsspec": lambda tmp: (f"memory://{uuid.uuid4().hex}/a", None),
    "arrow's mock": lambda tmp: ("mock:///runs/a", Store(fs._MockFileSystem())),
    "no copies": lambda tmp: (f"file://{tmp}/store/a", Store(fs.LocalFileSystem(), copies=False)),
}
