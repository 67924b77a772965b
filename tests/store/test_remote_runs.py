"""Who may go on with a run in a store and where, what is refused, and a whole command on several machines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from prstack import cli
from prstack.errors import UserError
from prstack.store.remote import Remote, lease
from prstack.store.remote.index import HIDDEN
from prstack.store.remote.lease import Lease
from prstack.store.remote.objects import Objects
from prstack.store.rundir import RunDir
from tests.store.stores import Store, everywhere, files, machine, write


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
