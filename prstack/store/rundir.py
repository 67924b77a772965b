"""Run directories: a folder a stage, each with a manifest; one writer at a time.

    runs/2026-11-22_21-40-00-laptop/
        run.json            name, command, configuration
        world/ synthesis/ distill/ …   each with manifest.json
        metrics.jsonl  wandb/

A run may lie in a store (`run_dir=s3://…`): this process works on it in a staging folder, which `prstack.store.remote` keeps in step.

A stage is skipped when its manifest says `complete` under the same inputs (`fingerprint`), resumed when it is
partial under the same inputs, and refused with the differing key when the inputs changed. Without `run_dir=`, an
unfinished run of the same command and configuration that `runs/latest` points to is taken up again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.secrets import without_secrets
from prstack.store import remote
from prstack.store.parts import write_text
from prstack.store.records import canonical_json
from prstack.types import SCHEMA_VERSION


@dataclass(slots=True)
class Manifest:
    """What a stage made, from what, with which configuration and code."""

    stage: str
    status: str
    """`partial` or `complete`."""
    fingerprint: dict[str, Any]
    """The part of the configuration, and the content hashes of the inputs, that decide what is made."""
    config: dict[str, Any]
    schema_version: int = SCHEMA_VERSION
    counts: dict[str, Any] = field(default_factory=dict)
    content_hash: str = ""
    git_revision: str = ""
    started: str = ""
    seconds: float = 0.0
    """Over all sessions that worked on the stage."""
    summary: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def load(folder: Path) -> Manifest | None:
        path = folder / "manifest.json"
        if not path.exists():
            return None
        try:
            return Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as e:
            raise UserError(f"{path}: not a manifest of this prstack ({e})") from e

    def save(self, folder: Path) -> None:
        write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", folder / "manifest.json")


def git_revision() -> str:
    """The commit of the source tree that runs, with `+` when it has uncommitted changes; empty outside git."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return ""
    try:
        git = lambda *a: subprocess.run(["git", "-C", str(here), *a], capture_output=True, text=True, timeout=10, check=True).stdout.strip()  # noqa: E731
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


class Stage:
    """One stage's folder while it is worked on. Use `RunDir.stage`. `finished` is called when the stage is complete."""

    def __init__(self, folder: Path, name: str, fingerprint: dict, config: dict, finished: Callable[[], None] = lambda: None):
        self.folder, self.name, self._finished = folder, name, finished
        # A secret does not decide what is made, and no manifest holds one.
        fingerprint, config = json.loads(canonical_json(without_secrets(fingerprint))), without_secrets(config)
        found = Manifest.load(folder)
        if found and found.fingerprint != fingerprint:
            raise UserError(
                f"{folder} was made with other inputs: {_first_difference(found.fingerprint, fingerprint)}. "
                f"Give another run_dir=, or remove {folder} to make it again."
            )
        if found and found.schema_version != SCHEMA_VERSION:
            raise UserError(f"{folder} has schema version {found.schema_version}, this prstack writes {SCHEMA_VERSION}; give another run_dir=")
        self.done = bool(found and found.status == "complete")
        self.resumed = bool(found) and not self.done
        self.manifest = found or Manifest(name, "partial", fingerprint, config, started=_now())
        self.manifest.config = config
        self._clock = time.monotonic()
        if not self.done:
            self.manifest.git_revision = git_revision()
            folder.mkdir(parents=True, exist_ok=True)
            self.manifest.save(folder)

    def reopen(self) -> None:
        """Takes up a complete stage again, to add to it (more episodes)."""
        self.done, self.resumed = False, True
        self.manifest.status = "partial"
        self.manifest.save(self.folder)

    def finish(self, counts: dict, content_hash: str, summary: dict | None = None) -> Manifest:
        m = self.manifest
        m.status, m.counts, m.content_hash, m.summary = "complete", counts, content_hash, summary or {}
        m.seconds = round(m.seconds + time.monotonic() - self._clock, 1)
        m.save(self.folder)
        self.done = True
        self._finished()
        return m


class RunDir:
    """A run directory that this process may write; the lock goes with the process, however it ends.

    `url`: where the run lies when `path` is its staging folder; it is brought there every `store_every` seconds, when a stage is finished,
    and by `close`.
    """

    def __init__(self, path: Path, info: dict, url: str | None = None, store_every: float = 60.0):
        self.path, self.url = path.resolve(), url
        self._remote: remote.Remote | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "a+")  # noqa: SIM115 - held until the process ends
        except OSError as e:
            raise UserError(f"{self.path}: cannot be a run directory ({e.strerror}); give another run_dir=") from e
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise UserError(f"{self.path}: another prstack process is writing there") from e
        if url:
            self._remote = remote.Remote(url, self.path, store_every)
        self.info_file = self.path / "run.json"
        self.resumed = self.info_file.exists()
        try:
            self.info = _read_info(self.info_file) | info
            write_text(json.dumps(self.info, indent=1) + "\n", self.info_file)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def open(run_dir: str | None, root: str, name: str, command: str, key: dict, store_every: float = 60.0) -> tuple[RunDir, bool]:
        """The run directory of a command, and whether it was taken up from an earlier, unfinished attempt.

        `key` is the configuration that decides what the run makes. `run_dir` may be a URL. Raises UserError for a place where no run can
        be, or where another process is at work.
        """
        if remote.is_url(root):
            raise UserError(f"runs={without_secrets(root)}: a folder of this machine; name a run in a store by run_dir=URL")
        digest = hashlib.sha256(canonical_json([command, key]).encode()).hexdigest()[:16]
        info = {"name": name, "command": command, "key": digest, "finished": False}
        runs, resumed, url = Path(root), False, remote.url_of(run_dir) if run_dir else None
        if run_dir:
            path = remote.staging_folder(url) if url else Path(run_dir)
        else:
            path = RunDir.latest(root)
            old = _read_info(path / "run.json") if path else {}
            resumed = bool(path) and old.get("key") == digest and not old.get("finished") and not _locked(path)
            if not resumed:
                path = _fresh(runs / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{name}")
            url = remote.url_of(path)
        run = RunDir(path, info, url, store_every)
        _point_latest(runs, run.path)
        return run, run.resumed

    @staticmethod
    def latest(root: str) -> Path | None:
        """What `runs/latest` points to, if it is there."""
        link = Path(root) / "latest"
        return link.resolve() if link.exists() else None

    @staticmethod
    def find(target: str | Path | None, run_dir: str | None, root: str) -> Path | None:
        """The place that a command is to read: `target`, as a path, a URL or the name of a run under `root`; else run_dir; else the
        latest run, if there is one. It need not exist. What lies at a URL is brought here first. Raises UserError."""
        if remote.is_url(named := str(target or run_dir or "")):
            return remote.pulled(remote.url_of(named))
        if target is None:
            return Path(run_dir) if run_dir else RunDir.latest(root)
        named = Path(root) / target
        return named if not Path(target).exists() and named.exists() else Path(target)

    def stage(self, name: str, fingerprint: dict, config: dict) -> Stage:
        return Stage(self.path / name, name, fingerprint, config, self._remote.wake if self._remote else lambda: None)

    def finish(self) -> None:
        self.info["finished"] = True
        write_text(json.dumps(self.info, indent=1) + "\n", self.info_file)

    def close(self) -> bool:
        """Gives the run free; whether all of it is where it is to lie."""
        stored = self._remote.close() if self._remote else True
        self._remote = None
        self._lock.close()
        return stored


def _read_info(file: Path) -> dict[str, Any]:
    """What run.json says; nothing when it is not there."""
    if not file.exists():
        return {}
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as e:
        raise UserError(f"{file}: not the run.json of a run ({e}); give another run_dir=, or remove it") from e
    if not isinstance(info, dict):
        raise UserError(f"{file}: not the run.json of a run; give another run_dir=, or remove it")
    return info


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _fresh(path: Path) -> Path:
    candidate, n = path, 2
    while candidate.exists():
        candidate, n = path.with_name(f"{path.name}-{n}"), n + 1
    return candidate


def _locked(path: Path) -> bool:
    try:
        with open(path / ".lock", "a+") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except OSError:
        return True


def _point_latest(root: Path, target: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    link, tmp = root / "latest", root / f".latest-{os.getpid()}"
    if link.exists() and not link.is_symlink():
        raise UserError(f"{link} is not a link; move it away, prstack keeps it pointing to the newest run")
    tmp.unlink(missing_ok=True)
    tmp.symlink_to(os.path.relpath(target, root.resolve()))
    os.replace(tmp, link)


def _first_difference(old: Any, new: Any, path: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for k in sorted(set(old) | set(new)):
            if old.get(k) != new.get(k):
                return _first_difference(old.get(k), new.get(k), f"{path}.{k}" if path else k)
    return f"{path} was {old!r}, is {new!r}"
