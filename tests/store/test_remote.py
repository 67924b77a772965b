"""Runs in a store: what a kill at any moment of a push leaves, who may go on with a run and where, and what is refused."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from prstack import cli
from prstack.errors import UserError
from prstack.store.remote import Remote, lease, objects, run, staging
from prstack.store.remote.index import HIDDEN, Index
from prstack.store.remote.lease import Lease
from prstack.store.remote.objects import Moving, Objects
from prstack.store.remote.staging import Staging, Superseded
from prstack.store.rundir import RunDir


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


@pytest.fixture
def wired(monkeypatch):
    """`wired(store)`: what is opened from now on is this handler, whatever the URL's file system is; None: what it is."""
    real = objects.connect

    def wire(store):
        monkeypatch.setattr("prstack.store.remote.objects.connect", real if store is None else lambda url: (fs.PyFileSystem(store), real(url)[1]))
        return store

    return wire


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


@pytest.mark.parametrize("kind", STORES)
def test_what_one_machine_pushes_another_pulls_and_goes_on_with(kind, wired, tmp_path):
    url, store = STORES[kind](tmp_path)
    wired(store)
    a = machine(tmp_path / "a", url, BEFORE)
    assert a.push()[0] == len(BEFORE) - 1
    b = machine(tmp_path / "b", url)
    assert tree(tmp_path / "b") == BEFORE
    become(tmp_path / "b", AFTER)
    assert b.push()[0] == sum(BEFORE.get(n) != text for n, text in AFTER.items()) - 1 and b.push() == (0, 0)
    with pytest.raises(Superseded, match="another process has gone on"):
        a.push()
    machine(tmp_path / "a", url)
    assert tree(tmp_path / "a") == AFTER
    assert {n for n in Objects(url).list() if not n.startswith(".")} == {n for n in AFTER if not n.endswith("/")}
    assert [n for n in Objects(url).list(HIDDEN) if "index-" not in n] == []


def test_only_what_differs_is_moved(wired, tmp_path):
    url, store = f"file://{tmp_path}/store/a", wired(Store(fs.LocalFileSystem()))
    a = machine(tmp_path / "a", url, BEFORE)
    a.push()
    machine(tmp_path / "b", url)
    write(tmp_path / "a", {"new": "x"})
    a = machine(tmp_path / "a", url)  # b went on, so a takes what the store holds, which a has already
    assert not (tmp_path / "a" / "new").exists()
    store.reads.clear()
    machine(tmp_path / "b", url)
    assert not [r for r in store.reads if HIDDEN not in r] and tree(tmp_path / "b") == BEFORE
    write(tmp_path / "b", {"metrics.jsonl": "1\n2\n3\n"})
    assert Staging(url, tmp_path / "b").push() == (1, 6)


@pytest.mark.parametrize(("torn", "copies"), [(False, True), (True, False)])
def test_a_kill_at_any_moment_of_a_push_leaves_one_of_two_states(torn, copies, wired, tmp_path, monkeypatch):
    """For every change k that a push makes: it is killed there, then another machine takes the run up, is killed at one of its own changes as
    well, and a third goes on to the end; so does the first one on its own folder."""
    everywhere(monkeypatch, AT_ONCE=1)
    url, origin = f"file://{tmp_path}/store/a", tmp_path / "origin"
    wired(None)
    machine(tmp_path / "a", url, BEFORE).push()
    become(tmp_path / "a", AFTER)
    shutil.copytree(tmp_path / "a", origin / "a")
    shutil.copytree(tmp_path / "store", origin / "store")

    def reset():
        for name in ("a", "b", "c", "store"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        for name in ("a", "store"):
            shutil.copytree(origin / name, tmp_path / name)

    seen, k = [], 0
    while True:
        reset()
        cut = wired(Store(fs.LocalFileSystem(), copies, cut=k, torn=torn))
        try:
            Staging(url, tmp_path / "a").push()
            assert cut.changes == k, "it was to be killed"
            break
        except Killed:
            pass
        shutil.copytree(tmp_path / "store", tmp_path / "cut" / str(k) / "store")
        wired(Store(fs.LocalFileSystem(), copies, cut=k % 7, torn=torn))
        with contextlib.suppress(Killed):
            machine(tmp_path / "b", url)
        wired(None)
        c = machine(tmp_path / "c", url)
        seen.append(tree(tmp_path / "c"))
        assert seen[-1] in (BEFORE, AFTER), f"killed at change {k}"
        assert files(tmp_path / "store" / "a") == {n: t for n, t in seen[-1].items() if not n.endswith("/")}, f"killed at change {k}: what a reader without the index sees"
        become(tmp_path / "c", AFTER)
        c.push()
        assert files(tmp_path / "store" / "a") == files(tmp_path / "c")

        reset()
        shutil.rmtree(tmp_path / "store")
        shutil.copytree(tmp_path / "cut" / str(k) / "store", tmp_path / "store")
        again = machine(tmp_path / "a", url)
        assert tree(tmp_path / "a") == AFTER, "what was not stored yet is still here"
        again.push()
        assert files(tmp_path / "store" / "a") == files(tmp_path / "a")
        k += 1
    assert k > 25 and BEFORE in seen and AFTER in seen and seen == sorted(seen, key=lambda s: s == AFTER), "one moment divides the two"


def test_the_first_push_of_all_killed_at_any_moment(wired, tmp_path):
    url = f"file://{tmp_path}/store/a"
    for k in range(100):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        a, b = tmp_path / f"a{k}", tmp_path / f"b{k}"
        wired(Store(fs.LocalFileSystem(), cut=k, torn=True))
        try:
            machine(a, url, BEFORE).push()
            break
        except Killed:
            pass
        wired(None)
        machine(b, url, claim=False)
        assert tree(b) in ({}, BEFORE)
    assert k > 12


def test_a_reader_sees_a_run_while_it_is_pushed(tmp_path):
    """A writer that keeps the order of a stage (data, then the file that names them; older data go last) while it is pushed and pulled."""
    url, a, over = f"file://{tmp_path}/store/a", tmp_path / "a", threading.Event()
    staging = machine(a, url, {"run.json": "{}"})

    def work():
        for n in range(10**6):
            if over.is_set():
                return
            for part in range(5):
                tmp = write(a, {f"s/step-{n}/.tmp": f"{n} {part} " * 200}) / f"s/step-{n}/.tmp"
                tmp.rename(tmp.with_name(f"part-{part}"))
            write(a, {"s/.latest": str(n)})
            os.replace(a / "s/.latest", a / "s/latest")
            with open(a / "s/steps.jsonl", "a") as file:
                file.write(f"{n}\n")
            if n >= 2:
                shutil.rmtree(a / f"s/step-{n - 2}")
            time.sleep(0.02)

    writer = threading.Thread(target=work)
    writer.start()
    pushed, seen = 0, []
    try:
        deadline = time.monotonic() + 20
        while len(seen) < 12 and time.monotonic() < deadline:
            try:
                pushed += staging.push()[0] > 0
            except Moving:
                continue
            b = tmp_path / f"b{len(seen)}"
            machine(b, url, claim=False)
            latest = b / "s" / "latest"
            if latest.exists():
                n = latest.read_text()
                seen.append(int(n))
                assert [(b / f"s/step-{n}/part-{p}").read_text() for p in range(5)] == [f"{n} {p} " * 200 for p in range(5)]
                lines = (b / "s/steps.jsonl").read_text().split() if int(n) else ["0"]
                assert lines[: int(n)] == [str(i) for i in range(int(n))]
    finally:
        over.set()
        writer.join()
    assert len(set(seen)) > 5 and seen == sorted(seen)


def test_a_folder_that_changes_between_two_looks_is_looked_at_again(tmp_path, monkeypatch):
    url, scan, looks = f"file://{tmp_path}/store/a", Staging._scan, []
    a = machine(tmp_path / "a", url, {"run.json": "{}", "latest": "part-1", "part-1": "x"})
    a.push()
    write(tmp_path / "a", {"latest": "part-2", "part-2": "x"})

    def look(self):
        found = scan(self)
        looks.append(found)
        if len(looks) == 1:  # a moment later
            write(tmp_path / "a", {"part-3": "x", ".latest": "part-3"})
            os.replace(tmp_path / "a" / ".latest", tmp_path / "a" / "latest")
        return found

    monkeypatch.setattr(Staging, "_scan", look)
    a.push()
    stored = files(tmp_path / "store" / "a")
    assert stored["latest"] == "part-3" and "part-3" in stored and len(looks) == 4


def test_hidden_files_links_and_published_weights_stay_here(tmp_path):
    url = f"file://{tmp_path}/store/a"
    a = machine(tmp_path / "a", url, {"run.json": "{}", ".world-building/x": "", "s/.part-000001.tmp": "", "rl/weights/update-1/w": "", "rl/model/w": ""})
    (tmp_path / "a" / "s" / "link").symlink_to("/etc/hostname")
    a.push()
    assert set(files(tmp_path / "store" / "a")) == {"run.json", "rl/model/w"}


def test_a_file_that_is_written_while_it_is_sent_is_not_stored_half(tmp_path, monkeypatch):
    url, file = f"file://{tmp_path}/store/a", tmp_path / "a" / "big"
    a = machine(tmp_path / "a", url, {"run.json": "{}", "big": "one" * 1000})
    upload = Objects.upload

    def slowly(self, link, size, name):
        if name == "big":
            file.write_text("two" * 1000)  # in place: the link shows it
        return upload(self, link, size, name)

    monkeypatch.setattr(Objects, "upload", slowly)
    with pytest.raises(Moving):
        a.push()
    machine(tmp_path / "b", url, claim=False)
    assert tree(tmp_path / "b") == {}
    monkeypatch.undo()
    assert a.push()[0] == 2 and (tmp_path / "store" / "a" / "big").read_text() == "two" * 1000


# --- whose is newer -------------------------------------------------------------------------------------------------
def test_what_a_kill_left_unstored_is_kept_unless_the_run_went_on_elsewhere(tmp_path, capsys):
    url = f"file://{tmp_path}/store/a"
    machine(tmp_path / "a", url, BEFORE).push()
    write(tmp_path / "a", {"synthesis/trajectories/part-000001.parquet": "mine"})
    machine(tmp_path / "a", url)
    assert (tmp_path / "a" / "synthesis/trajectories/part-000001.parquet").exists()
    machine(tmp_path / "b", url)
    machine(tmp_path / "a", url)
    assert tree(tmp_path / "a") == BEFORE and "1 files that only" in capsys.readouterr().out


def test_an_emptied_folder_is_filled_again_and_an_emptied_store_is_not_guessed_at(tmp_path):
    url = f"file://{tmp_path}/store/a"
    machine(tmp_path / "a", url, BEFORE).push()
    become(tmp_path / "a", {})
    machine(tmp_path / "a", url).push()
    assert tree(tmp_path / "a") == BEFORE and set(files(tmp_path / "store" / "a")) == {n for n in BEFORE if not n.endswith("/")}
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(UserError, match=r"is empty, while .*remove that folder"):
        machine(tmp_path / "a", url)
    assert tree(tmp_path / "a") == BEFORE


def test_a_run_that_was_copied_into_the_store_is_taken_up(tmp_path):
    url = f"file://{tmp_path}/store/a"
    write(tmp_path / "store" / "a", {n: t for n, t in BEFORE.items() if not n.endswith("/")} | {".lock": ""})
    b = machine(tmp_path / "b", url)
    assert files(tmp_path / "b") == {n: t for n, t in BEFORE.items() if not n.endswith("/")} and b.push() == (0, 0)


def test_a_store_whose_objects_are_not_what_the_index_says_is_refused(tmp_path, monkeypatch):
    url = f"file://{tmp_path}/store/a"
    everywhere(monkeypatch, SETTLE=0.01)
    machine(tmp_path / "a", url, BEFORE).push()
    (tmp_path / "store" / "a" / "sft" / "model" / "model.safetensors").write_text("model of 7")
    with pytest.raises(UserError, match=r"sft/model/model.safetensors: not what the index"):
        machine(tmp_path / "b", url)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".lock", "a//b", ""])
def test_an_index_cannot_lead_out_of_the_run(name, tmp_path):
    url = f"file://{tmp_path}/store/a"
    index = Index(3, "other", {name: [1, "0"]})
    Objects(url).put(index.name, index.data())
    with pytest.raises(UserError, match="which is no file of a run"):
        machine(tmp_path / "b", url)


# --- one process at a time ------------------------------------------------------------------------------------------
@pytest.fixture
def quick(monkeypatch):
    everywhere(monkeypatch, SETTLE=0.05, BEAT=0.2, STALE=1.0)


def elsewhere(objects: Objects, **says) -> Lease:
    lease = Lease(objects)
    lease._says |= {"machine": "another", "host": "node7", **says}
    return lease


def test_two_processes_of_one_machine_do_not_meet(quick, tmp_path):
    objects = Objects(f"file://{tmp_path}/store/a")
    first = Lease(objects)
    first.take()
    with pytest.raises(UserError, match=rf"another prstack process is writing there \(process {os.getpid()} on"):
        Lease(objects).take()
    first.release()
    Lease(objects).take()


def test_a_lease_of_a_process_that_died_here_is_taken_at_once(tmp_path):
    objects = Objects(f"file://{tmp_path}/store/a")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for says in ({"pid": gone.pid}, {"started": 1.0}):  # also when its number is another's now
        dead = Lease(objects)
        dead._says |= says
        dead.beat()
        start = time.monotonic()
        Lease(objects).take()
        assert time.monotonic() - start < 3


def test_a_lease_of_another_machine_is_taken_when_it_falls_silent(quick, tmp_path, capsys):
    objects = Objects(f"file://{tmp_path}/store/a")
    other = elsewhere(objects)
    other.beat()
    start = time.monotonic()
    mine = Lease(objects)
    mine.take()
    assert time.monotonic() - start >= lease.STALE and "node7" in capsys.readouterr().out
    assert mine.ours() and not other.ours()
    other.release()
    assert mine._read()


def test_a_lease_of_another_machine_that_beats_is_refused(quick, tmp_path, monkeypatch):
    everywhere(monkeypatch, STALE=30.0)
    objects, over = Objects(f"file://{tmp_path}/store/a"), threading.Event()
    other = elsewhere(objects)
    other.beat()

    def beating():
        while not over.wait(lease.BEAT):
            other.beat()

    thread = threading.Thread(target=beating)
    thread.start()
    try:
        with pytest.raises(UserError, match="on node7"):
            Lease(objects).take()
    finally:
        over.set()
        thread.join()


def test_a_process_that_was_thought_dead_ends_when_it_sees_its_successor(quick, tmp_path, monkeypatch, capsys):
    url, ended = f"file://{tmp_path}/store/a", threading.Event()
    monkeypatch.setattr("prstack.store.remote.run._end_command", ended.set)
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", {})
    run = Remote(url, tmp_path / "a", every=60)
    write(tmp_path / "a", {"run.json": "{}"})
    elsewhere(Objects(url)).beat()
    machine(tmp_path / "b", url)
    assert ended.wait(5) and "taken over" in capsys.readouterr().err
    assert not run.close() and "run.json" not in Objects(url).list()
    assert "lies in" in capsys.readouterr().err


# --- run directories ------------------------------------------------------------------------------------------------
def opened(tmp_path, where, on, monkeypatch):
    monkeypatch.setenv("PRSTACK_STAGING", str(tmp_path / f"disk-{on}"))
    return RunDir.open(where, str(tmp_path / f"runs-{on}"), "n", "run", {"seed": 0}, store_every=0.2)


def test_a_run_dir_at_a_url_goes_from_machine_to_machine(quick, tmp_path, monkeypatch):
    url = f"file://{tmp_path}/store/my%20runs/first"
    run, resumed = opened(tmp_path, url + "/", "a", monkeypatch)
    assert not resumed and run.url == url and run.path.name == "first" and run.path.is_relative_to(tmp_path / "disk-a")
    stage = run.stage("world", {"seed": 1}, {})
    write(stage.folder, {"products/part": "x"})
    stage.finish({}, "hash")
    there = tmp_path / "store" / "my runs" / "first"
    deadline = time.monotonic() + 10
    while "complete" not in files(there).get("world/manifest.json", "") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "complete" in files(there)["world/manifest.json"], "it is stored while the run goes on"
    with pytest.raises(UserError, match="another prstack process is writing there"):
        opened(tmp_path, url, "b", monkeypatch)
    run.finish()
    assert run.close()
    again, resumed = opened(tmp_path, url, "b", monkeypatch)
    assert resumed and again.stage("world", {"seed": 1}, {}).done and again.info["finished"] is False
    assert again.close()
    latest, resumed = RunDir.open(str(RunDir.latest(str(tmp_path / "runs-b"))), str(tmp_path / "runs-b"), "n", "run", {})
    assert latest.url == url and resumed, "`latest` is the run in the store, not a folder of its own"
    assert latest.close()


def test_reading_commands_bring_a_run_here_and_leave_it_free(quick, tmp_path, monkeypatch):
    url = f"file://{tmp_path}/store/a"
    run, _ = opened(tmp_path, url, "a", monkeypatch)
    write(run.path, {"x": "1"})
    run.close()
    before = files(tmp_path / "store"), Objects(url).list(HIDDEN)
    monkeypatch.setenv("PRSTACK_STAGING", str(tmp_path / "disk-b"))
    for target, run_dir in ((url, None), (None, url), (Path("nowhere"), url)):
        place = RunDir.find(target, run_dir, "runs")
        assert (place.is_relative_to(tmp_path / "disk-b") and files(place)["x"] == "1") or target == Path("nowhere")
    assert (files(tmp_path / "store"), Objects(url).list(HIDDEN)) == before
    with pytest.raises(UserError, match="there is no run"):
        RunDir.find(url + "x", None, "runs")


def test_a_store_that_fails_does_not_end_the_run_and_the_next_start_stores_it(quick, tmp_path, monkeypatch, wired, capsys):
    url = f"file://{tmp_path}/store/a"
    everywhere(monkeypatch, TRIES=2)
    store = wired(Store(fs.LocalFileSystem(), error=OSError))
    run, _ = opened(tmp_path, url, "a", monkeypatch)
    store.cut = store.changes
    write(run.path, {"x": "1"})
    assert not run.close()
    said = capsys.readouterr().err
    assert said.count("could not be written (OSError: cut off)") == 1 and str(run.path) in said
    store.cut = None
    Objects(url).delete(Lease.NAME)  # its process would be gone by now
    run, resumed = opened(tmp_path, url, "a", monkeypatch)
    assert resumed and run.close() and files(tmp_path / "store" / "a")["x"] == "1"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://AKIAKEY:nobodyskey@bucket/runs/a", "holds no user and no key"),
        ("s3://bucket/runs/a?access_key=AKIAKEY&secret_key=nobodyskey", "holds no user and no key"),
        ("abfs://acc.blob.core.windows.net/c/a?sas_token=nobodyskey", "holds no user and no key"),
        ("hdfs://nobodyskey@host/runs/a", "holds no user and no key"),
        ("s3://bucket/runs/a?colour=blue", "Unexpected query parameter"),
        ("gopher://host/runs/a", "neither pyarrow nor fsspec opens it here"),
        ("file://runs/a", "hostname"),
        ("file:///runs of mine", "Cannot parse URI"),
        ("memory://", "name a folder in it"),
    ],
)
def test_urls_that_are_refused(url, says, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=says) as e:
        opened(tmp_path, url, "a", monkeypatch)
    assert "nobodyskey" not in str(e.value) and "run_dir=" in str(e.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and "nobodyskey" in p.read_text()]


def test_the_folder_of_runs_is_no_url(tmp_path, capsys):
    assert cli.main(["world", "runs=s3://bucket/runs"]) == 2 and "run_dir=URL" in capsys.readouterr().err


# --- a whole command ------------------------------------------------------------------------------------------------
def episodes(folder: Path) -> list[str]:
    return [i for f in sorted(folder.glob("synthesis/trajectories/part-*.parquet")) for i in pq.read_table(f, columns=["id"]).column("id").to_pylist()]


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.long
def test_a_synthesis_wanders_over_four_machines(tmp_path):
    """The first is asked to stop, the second is killed, the third ends it, the fourth distils; every episode is there once."""
    url, store = f"file://{tmp_path}/store/a", tmp_path / "store" / "a"
    settings = ["preset=smoke", "synthesis.episodes=300", "synthesis.part_episodes=5", "tracking.wandb=disabled", f"run_dir={url}", "store_every=0.5"]

    def start(command, on):
        (tmp_path / on).mkdir()
        return subprocess.Popen(
            [sys.executable, "-m", "prstack.cli", command, *settings],
            cwd=tmp_path / on,
            env=os.environ | {"PRSTACK_STAGING": str(tmp_path / on / "disk")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def await_parts(n, process):
        deadline = time.monotonic() + 120
        while len(list(store.glob("synthesis/trajectories/part-*.parquet"))) < n and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()[0][-3000:]

    a = start("synthesize", "a")
    await_parts(2, a)
    a.send_signal(signal.SIGTERM)
    said = a.communicate(timeout=120)[0]
    assert a.returncode == 143 and f"stored: {url}" in said, said[-3000:]
    first = episodes(store)
    assert sorted(first) == sorted(episodes(next((tmp_path / "a" / "disk").glob("*/a")))), "what was committed is stored"
    shutil.rmtree(tmp_path / "a" / "disk")

    b = start("synthesize", "b")
    await_parts(len(list(store.glob("synthesis/trajectories/part-*.parquet"))) + 3, b)
    os.killpg(b.pid, signal.SIGKILL)
    b.communicate()
    shutil.rmtree(tmp_path / "b" / "disk")

    c = start("synthesize", "c")
    said = c.communicate(timeout=240)[0]
    assert c.returncode == 0 and "taking up again" in said, said[-3000:]
    found = episodes(store)
    assert len(found) == 300 == len(set(found)) and set(first) < set(found) and 10 <= len(first) < 300

    d = start("distill", "d")
    said = d.communicate(timeout=240)[0]
    assert d.returncode == 0, said[-3000:]
    counts = json.loads((store / "distill" / "manifest.json").read_text())["counts"]
    assert counts["read"] == 300 == counts["kept"] + counts["rejected"]
